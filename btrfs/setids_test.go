package btrfs

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// modes are the modes and owners of the files of a volume.
func modes(t *testing.T, root string) map[string][3]uint32 {
	t.Helper()
	out := map[string][3]uint32{}
	for _, name := range []string{"su", "dir/sg", "moved/deep/both", "moved/deep/link", "second", "dropped", "new", "was/file", "came", "swapped"} {
		var st unix.Stat_t
		if err := unix.Lstat(root+"/"+name, &st); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		out[name] = [3]uint32{st.Mode & 0o7777, st.Uid, st.Gid}
	}
	return out
}

// TestReceiveSetIDs: set-id programs that get another owner, and another place, keep their bits, as the stream says nothing of
// them; those that lose them lose them.
func TestReceiveSetIDs(t *testing.T) {
	from, to := newFS(t), newFS(t)
	ok := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	v := from + "/v/"
	ok(CreateSubvolume(from+"/v"), os.MkdirAll(v+"dir", 0o755), os.MkdirAll(v+"old/deep", 0o755), os.MkdirAll(v+"was", 0o755))
	for name, mode := range map[string]uint32{
		"su": 0o4755, "dir/sg": 0o2755, "old/deep/both": 0o6711, "first": 0o4750, "dropped": 0o4755, "was/file": 0o4700, "plain": 0o755, "a": 0o4701, "b": 0o702,
	} {
		ok(os.WriteFile(v+name, []byte(name), 0o600), unix.Chmod(v+name, mode))
	}
	ok(Snapshot(from+"/v", from+"/s1", true))
	chown := func(name string, mode uint32) {
		t.Helper()
		ok(unix.Lchown(v+name, 1000, 1001), unix.Chmod(v+name, mode))
	}
	chown("su", 0o4755)
	chown("dir/sg", 0o2755)
	ok(os.Rename(v+"old", v+"moved"), unix.Link(v+"moved/deep/both", v+"moved/deep/link"))
	chown("moved/deep/both", 0o6711)
	ok(os.Rename(v+"first", v+"second"))
	chown("second", 0o4750)
	chown("dropped", 0o755)
	ok(os.Remove(v+"was/file"), os.WriteFile(v+"was/file", nil, 0o600))
	chown("was/file", 0o700)
	ok(os.WriteFile(v+"new", nil, 0o600))
	chown("new", 0o4711)
	ok(os.Rename(v+"plain", v+"came"))
	chown("came", 0o755)
	ok(os.Remove(v+"a"), os.Rename(v+"b", v+"swapped"), os.Symlink("su", v+"a"))
	chown("swapped", 0o702)
	ok(unix.Lchown(v+"a", 5, 5), Snapshot(from+"/v", from+"/s2", true))
	one, err := Stat(from + "/s1")
	ok(err)
	two, err := Stat(from + "/s2")
	ok(err)
	var full, diff bytes.Buffer
	ok(Send(t.Context(), from, one.ID, 0, &full), Send(t.Context(), from, two.ID, one.ID, &diff))
	if strings.Count(diff.String(), "dir/sg") < 2 {
		t.Fatal("the stream does not say whose the file is")
	}
	ok(os.Mkdir(to+"/in", 0o700), Receive(t.Context(), to+"/in", "r1", nil, &full))
	received, err := Stat(to + "/in/r1")
	ok(err, Receive(t.Context(), to+"/in", "r2", map[string]string{one.UUID: received.UUID}, &diff))
	if diff := cmp.Diff(modes(t, from+"/s2"), modes(t, to+"/in/r2")); diff != "" {
		t.Errorf("(-sent +received)\n%s", diff)
	}
	if sub, err := Stat(to + "/in/r2"); err != nil || sub.ReceivedUUID != two.UUID || !sub.ReadOnly {
		t.Errorf("%+v, %v", sub, err)
	}
}

// TestSetIDMoves: the moves of a stream are followed, however many there are.
func TestSetIDMoves(t *testing.T) {
	k := setIDKeeper{read: func() (*setIDs, error) {
		all := &setIDs{}
		all.put("a/b/c", &setIDs{mode: 0o104755})
		all.put("d", &setIDs{mode: 0o102755})
		return all, nil
	}}
	see := func(number uint16, path, to string) {
		t.Helper()
		if err := k.see(number, path, to); err != nil {
			t.Fatal(err)
		}
	}
	asks := func(path string, next uint16) bool {
		t.Helper()
		see(cmdChown, path, "")
		raw, err := k.restore(next, path)
		if err != nil {
			t.Fatal(err)
		}
		return raw != nil
	}
	see(cmdRename, "a/b", "x")
	see(cmdLink, "y", "x/c")
	see(cmdUnlink, "x/c", "")
	see(cmdRename, "d", "a/d")
	for range maxMoves {
		see(cmdRename, "n", "m")
	}
	if len(k.moves) >= maxMoves {
		t.Errorf("%d moves are kept", len(k.moves))
	}
	see(cmdChmod, "a", "")
	for path, want := range map[string]bool{"y": true, "x/c": false, "a/b/c": false, "a/d": true, "d": false, "a": false, "": false} {
		if asks(path, cmdChown) != want {
			t.Errorf("%q: not %v", path, want)
		}
		if asks(path, cmdChmod) {
			t.Errorf("%q: its mode comes", path)
		}
	}
	see(cmdChmod, "y", "")
	if asks("y", 21) {
		t.Error("the mode that the stream gave it is lost")
	}
}
