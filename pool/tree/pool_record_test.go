package tree

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestPoolRecord writes what a pool says of itself, and reads it again; what it says already is not written.
func TestPoolRecord(t *testing.T) {
	tr := &Tree{mnt: t.TempDir()}
	if _, err := tr.Pool(); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a pool that says nothing: %v", err)
	}
	if err := os.Mkdir(filepath.Join(tr.mnt, dirOwn), 0o700); err != nil {
		t.Fatal(err)
	}
	want := PoolRecord{
		Name: "p", Driver: "btrfs", Description: "mine", Config: map[string]string{"size": "2GiB", "user.a": "b"},
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC),
	}
	if err := tr.SavePool(want); err != nil {
		t.Fatal(err)
	}
	got, err := tr.Pool()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal(diff)
	}
	path := filepath.Join(tr.mnt, dirOwn, poolRecordFile)
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.SavePool(want); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the same was written again: %v", err)
	}
	for _, damaged := range []string{"", "{", "[]", `{"name":1}`} {
		if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := tr.Pool(); err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q was read: %v", damaged, err)
		}
	}
}

// FuzzPoolRecord: whatever is read can be written, and says the same then.
func FuzzPoolRecord(f *testing.F) {
	f.Add([]byte(`{"name":"p","config":{"size":"2GiB"},"created_at":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec, err := parsePoolRecord(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(rec)
		if err != nil {
			return // a date that JSON has no form for
		}
		second, err := parsePoolRecord(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(rec, second); diff != "" {
			t.Fatal(diff)
		}
	})
}
