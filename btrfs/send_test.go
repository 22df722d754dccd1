package btrfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"testing"
)

// TestSendReceive sends a subvolume and what changed in it to another file system.
func TestSendReceive(t *testing.T) {
	from, to := newFS(t), newFS(t)
	ok := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	ok(CreateSubvolume(from+"/v"), os.WriteFile(from+"/v/f", []byte("one"), 0o600), CreateSubvolume(from+"/v/a b"), Snapshot(from+"/v", from+"/s1", true))
	ok(os.WriteFile(from+"/v/f", []byte("two"), 0o600), Snapshot(from+"/v", from+"/s2", true))
	one, err := Stat(from + "/s1")
	ok(err)
	two, err := Stat(from + "/s2")
	ok(err)
	var full, diff bytes.Buffer
	ok(Send(t.Context(), from, one.ID, 0, &full), Send(t.Context(), from, two.ID, one.ID, &diff))
	ok(os.Mkdir(to+"/in", 0o700))
	// Another subvolume with the same received UUID, out of reach, is not taken for the parent.
	ok(os.Mkdir(to+"/other", 0o700), Receive(t.Context(), to+"/other", "r", nil, bytes.NewReader(full.Bytes())))
	ok(Receive(t.Context(), to+"/in", "r 1", nil, &full))
	if err := Receive(t.Context(), to+"/in", "r 2", nil, bytes.NewReader(diff.Bytes())); !errors.Is(err, ErrNoParent) {
		t.Errorf("without its parent: %v", err)
	}
	ok(Snapshot(to+"/in/r 1", to+"/other/copy", false), CopyReceived(to+"/in/r 1", to+"/other/copy"), SetReadOnly(to+"/other/copy", true))
	received, err := Stat(to + "/in/r 1")
	ok(err)
	if copied, err := Stat(to + "/other/copy"); err != nil || copied.ReceivedUUID != one.UUID || received.StreamUUID() != one.UUID {
		t.Errorf("received %+v, copied %+v, %v; want the received UUID %s", received, copied, err, one.UUID)
	}
	ok(Receive(t.Context(), to+"/in", "r 2", map[string]string{one.UUID: received.UUID}, &diff))
	for name, want := range map[string]string{"r 1": "one", "r 2": "two"} {
		if got, err := os.ReadFile(to + "/in/" + name + "/f"); err != nil || string(got) != want {
			t.Errorf("%s: %q, %v; want %q", name, got, err, want)
		}
		if ro, err := IsReadOnly(to + "/in/" + name); !ro || err != nil {
			t.Errorf("%s: read-only=%v, %v", name, ro, err)
		}
	}
	ok(Snapshot(to+"/in/r 2", to+"/v", false), os.Mkdir(to+"/v/d", 0o700), os.Symlink("/", to+"/v/link"))
	ok(Nest(to+"/in/r 1", to+"/v", "d/a b"))
	if got, err := os.ReadFile(to + "/v/d/a b/f"); err != nil || string(got) != "one" {
		t.Errorf("nested: %q, %v", got, err)
	}
	for _, at := range []string{"", "..", "../x", "link/x", "/x", "d/../x", "none/x", "d/a b"} {
		if err := Nest(to+"/in/r 1", to+"/v", at); err == nil {
			t.Errorf("nested at %q", at)
		}
	}
}

// cancelling cancels when it is written to.
type cancelling struct{ cancel func() }

func (c cancelling) Write(b []byte) (int, error) { c.cancel(); return len(b), nil }

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, fs.ErrPermission }

// TestSendFails: a stream that ends early leaves nothing.
func TestSendFails(t *testing.T) {
	mnt := newFS(t)
	if err := errors.Join(CreateSubvolume(mnt+"/v"), os.WriteFile(mnt+"/v/f", make([]byte, 1<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	v, err := Stat(mnt + "/v")
	if err != nil {
		t.Fatal(err)
	}
	if err := Send(t.Context(), mnt, v.ID, 0, io.Discard); !errors.Is(err, fs.ErrPermission) { // EPERM: it is writable
		t.Errorf("sent what is writable: %v", err)
	}
	if err := SetReadOnly(mnt+"/v", true); err != nil {
		t.Fatal(err)
	}
	if err := Send(t.Context(), mnt, v.ID, 0, failing{}); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("the error of the writer is lost: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Send(ctx, mnt, v.ID, 0, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	err = Send(ctx, mnt, v.ID, 0, cancelling{cancel})
	if want := fmt.Sprintf("cannot send subvolume %d of %s: context canceled", v.ID, mnt); err == nil || err.Error() != want {
		t.Errorf("cancelled on the way: %v; want %s", err, want)
	}
	if err := Send(t.Context(), mnt, 99999, 0, io.Discard); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such subvolume: %v", err)
	}
	var b bytes.Buffer
	if err := Send(t.Context(), mnt, v.ID, 0, &b); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(mnt+"/in", 0o700); err != nil {
		t.Fatal(err)
	}
	for what, data := range map[string][]byte{"torn": b.Bytes()[:b.Len()/2], "empty": nil, "junk": []byte("hello")} {
		if err := Receive(t.Context(), mnt+"/in", "r", nil, bytes.NewReader(data)); err == nil {
			t.Errorf("%s: no error", what)
		}
		if left, err := os.ReadDir(mnt + "/in"); len(left) != 0 || err != nil {
			t.Errorf("%s: left: %v, %v", what, left, err)
		}
	}
}

func noSetIDs(string) (*setIDs, error) { return &setIDs{}, nil }

// FuzzStreamReader: no stream, however damaged, makes it fail other than with an error, or write more than it reads.
func FuzzStreamReader(f *testing.F) {
	command := func(number byte, attrs ...byte) []byte {
		c := append([]byte{byte(len(attrs)), 0, 0, 0, number, 0, 0, 0, 0, 0}, attrs...)
		binary.LittleEndian.PutUint32(c[6:], commandCRC(c))
		return c
	}
	uuid := bytes.Repeat([]byte{7}, 16)
	head := append([]byte(streamMagic), 1, 0, 0, 0)
	snapshot := command(cmdSnapshot, append(append([]byte{1, 0, 16, 0}, make([]byte, 16)...), append([]byte{20, 0, 16, 0}, uuid...)...)...)
	f.Add(slices.Concat(head, snapshot, command(21)))
	f.Add(slices.Concat(head, command(1, 15, 0, 1, 0, 'x'), command(15, 19, 0, 2, 0, 'a', 'b'), command(21)))
	f.Add(slices.Concat(head, command(cmdClone, 20, 0, 200)))
	parents := map[string]string{formatUUID([16]byte(uuid)): formatUUID([16]byte(bytes.Repeat([]byte{8}, 16)))}
	f.Fuzz(func(t *testing.T, raw []byte) {
		out, err := io.ReadAll(newStreamReader(bytes.NewReader(raw), parents, noSetIDs))
		if len(out) > len(raw) || err == nil && len(out) != len(raw) {
			t.Errorf("%d bytes became %d, %v", len(raw), len(out), err)
		}
	})
}
