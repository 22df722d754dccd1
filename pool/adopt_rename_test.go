package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/pool/tree"
)

// clashing is a state directory with an instance c1, and the file of a pool that has one too, with a snapshot.
func clashing(t *testing.T) (s *System, file string) {
	t.Helper()
	s = newSystem(t)
	createPool(t, s, "p", nil)
	withPrecious(t, s)
	file, err := s.ForgetPool(t.Context(), "p")
	ok(t, err)
	createPool(t, s, "a", nil)
	addInstance(t, s, "a", "c1")
	return s, file
}

// isRenamed checks that c1 of the adopted pool is called old, and works, and the other one is still c1.
func isRenamed(t *testing.T, s *System) {
	t.Helper()
	for name, pool := range map[string]string{"c1": "a", "old": "p"} {
		p, in, err := s.findInstance(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if p.rec.Name != pool || in.Broken != nil || name == "old" && (in.Pool == nil || in.Pool.Name != pool) {
			t.Errorf("%s: in %s, %+v", name, p.rec.Name, in)
		}
		ok(t, p.close())
	}
	mp := s.dir.MountPoint("p")
	for _, dir := range []string{"containers/old", "containers-snapshots/old/s0"} {
		if raw, err := os.ReadFile(filepath.Join(mp, dir, "rootfs/precious")); string(raw) != "all of it" {
			t.Errorf("%s: %q, %v", dir, raw, err)
		}
	}
	raw, err := os.ReadFile(filepath.Join(mp, "containers/old/backup.yaml"))
	if err != nil || !strings.Contains(string(raw), `"name": "old"`) && !strings.Contains(string(raw), `"name":"old"`) {
		t.Errorf("backup.yaml: %s, %v", raw, err)
	}
	ok(t, s.RestoreSnapshot(t.Context(), RestoreOptions{Instance: "old", Snapshot: "s0"}), s.Delete(t.Context(), "old", false))
}

// Instances whose names are taken are refused, and taken in under other names when they are given some.
func TestAdoptRename(t *testing.T) {
	s, file := clashing(t)
	ctx := t.Context()
	for _, c := range []struct {
		rename     map[string]string
		want, hint string
	}{
		{nil, "instances of the same name are here: c1 (in pool a): already exists", "--rename c1=NEWNAME"},
		{map[string]string{"c2": "x"}, "cannot rename instance c2: it is not in it: not found", "pool inspect"},
		{map[string]string{"c1": "_x"}, `cannot rename instance c1 to "_x": `, ""},
	} {
		_, err := s.AdoptPool(ctx, file, AdoptOptions{Rename: c.rename})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(hintOf(err), c.hint) {
			t.Errorf("%v: %v (%s)", c.rename, err, hintOf(err))
		}
		if _, err := s.dir.LoadPool("p"); err == nil {
			t.Fatal("it is adopted")
		}
	}
	_, err := s.AdoptPool(ctx, file, AdoptOptions{Rename: map[string]string{"c1": "old"}})
	ok(t, err)
	isRenamed(t, s)
}

// What a command that was killed has not renamed, the next one does.
func TestAdoptRenameIsFinished(t *testing.T) {
	s, file := clashing(t)
	_, err := s.AdoptPool(t.Context(), file, AdoptOptions{Rename: map[string]string{"c1": "old"}})
	mp := s.dir.MountPoint("p")
	ok(t, err, os.Rename(filepath.Join(mp, "containers/old"), filepath.Join(mp, "containers/c1")))
	lostEntry(t, s, opAdopt, adopting{Name: "p", Path: file, Former: "p", Rename: map[string]string{"c1": "old"}})
	again, err := Open(t.Context(), Options{Root: s.dir.Root, Notice: func(l string) { t.Log(l) }})
	ok(t, err)
	isRenamed(t, again)
}

// Two instances cannot get one name.
func TestCheckRename(t *testing.T) {
	a := about{}
	for _, n := range []string{"c1", "c2", "pro_ject"} {
		a.instances = append(a.instances, tree.Instance{Name: n})
	}
	for _, c := range []struct {
		rename map[string]string
		want   error
	}{
		{map[string]string{"c1": "c2"}, ErrExists},
		{map[string]string{"c1": "x", "c2": "x"}, ErrExists},
		{map[string]string{"c1": "c2", "c2": "c1"}, ErrExists},
		{map[string]string{"c1": "c1"}, nil},
		{map[string]string{"pro_ject": "c3"}, nil},
	} {
		if err := checkRename(a, c.rename); !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.rename, err, c.want)
		}
	}
}
