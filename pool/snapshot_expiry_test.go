package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestSnapshotExpiry: when a snapshot expires can be changed, also of one that has no
// entry of its own yet, and nothing else of it changes.
func TestSnapshotExpiry(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	withPrecious(t, s)
	_, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s1", Expiry: "3d"})
	ok(t, err)
	before, err := s.SnapshotConfig(ctx, "c1", "s0")
	ok(t, err)
	for _, expiry := range []string{"2w", "2099-01-02", ""} {
		ok(t, s.SetSnapshotExpiry(ctx, "c1", "s0", expiry))
		now, err := s.SnapshotConfig(ctx, "c1", "s0")
		ok(t, err)
		want, err := parseExpiry(expiry, time.Now())
		ok(t, err)
		if d := now.ExpiresAt.Sub(want).Abs(); d > time.Minute {
			t.Errorf("%q: it expires at %v", expiry, now.ExpiresAt)
		}
		raw, err := os.ReadFile(filepath.Join(s.dir.MountPoint("p"), "containers/c1/backup.yaml"))
		if ok(t, err); expiry == "2099-01-02" && !strings.Contains(string(raw), `"expires_at":"2099-01-0`) {
			t.Errorf("the record does not say so: %s", raw)
		}
		if !now.CreatedAt.Equal(before.CreatedAt) || len(now.Config) != len(before.Config) || now.LastUsedAt.After(before.CreatedAt) {
			t.Errorf("it was %+v, and is %+v", before, now)
		}
	}
	other, err := s.SnapshotConfig(ctx, "c1", "s1")
	if ok(t, err); time.Until(other.ExpiresAt) < 48*time.Hour {
		t.Errorf("the other expires at %v", other.ExpiresAt)
	}
	if err := s.SetSnapshotExpiry(ctx, "c1", "s0", "2001-01-01"); err == nil || !strings.Contains(err.Error(), "over already") {
		t.Errorf("a date that is over: %v", err)
	}
	if err := s.SetSnapshotExpiry(ctx, "c1", "none", "3d"); !errors.Is(err, ErrNotFound) || err.Error() != "cannot change when c1/none expires: not found" {
		t.Errorf("no such snapshot: %v", err)
	}
	isPrecious(t, s)
}
