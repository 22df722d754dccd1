package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// TestCopyInstance copies an instance with nested subvolumes and snapshots, and deletes the source: the copy is whole.
func TestCopyInstance(t *testing.T) {
	p := newPool(t)
	must(t, makeInstance(p.Tree), nest(p.InstancePath("c1")))
	must(t, setMark(p.Tree, "c1", "s1"), snapshot(p.Tree, "s1"), setMark(p.Tree, "c1", "s2"))
	must(t, p.CreateSnapshot(t.Context(), "c1", "s2", SnapshotOptions{ExpiresAt: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}))
	must(t, setMark(p.Tree, "c1", "now"))
	source, err := p.Instance("c1")
	must(t, err)
	must(t, os.Mkdir(p.snapshotDir("c2"), 0o700)) // as LXD leaves it
	time.Sleep(10 * time.Millisecond)             // the dates of new subvolumes are others
	must(t, copyInstance(p.Tree, "c2", CopyOptions{Source: Source{Name: "c1", Snapshots: true}}))
	must(t, p.DeleteInstance(t.Context(), "c1"), p.DeleteImage(t.Context(), fingerprint))

	in, err := p.Instance("c2")
	must(t, err)
	if in.Config["user.v"] != "copy" || in.Broken != nil || readMark(t, p.InstancePath("c2")) != "now" {
		t.Errorf("%+v", in)
	}
	for i := range source.Snapshots {
		source.Snapshots[i].Config["user.v"] = "copied 1"
	}
	if diff := cmp.Diff(source.Snapshots, in.Snapshots, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".ExpandedConfig" }, cmp.Ignore())); diff != "" {
		t.Errorf("snapshots (-source +copy):\n%s", diff)
	}
	if info, err := os.Stat(p.InstancePath("c2")); err != nil || info.Mode().Perm() != 0o100 {
		t.Errorf("%v, %v", info, err)
	}
	for _, name := range []string{"s1", "s2"} {
		checkSnapshotCopy(t, p, name)
	}
	// A restore gives the copy the snapshot's state, and not its source's configuration.
	must(t, p.RestoreSnapshot(t.Context(), "c2", "s1", RestoreOptions{}))
	if in, err := p.Instance("c2"); err != nil || in.Config["user.v"] != "copied 1" || readMark(t, p.InstancePath("c2")) != "s1" {
		t.Errorf("restored: %+v, %v", in, err)
	}
	must(t, p.DeleteInstance(t.Context(), "c2"))
	checkEmpty(t, p)
}

// checkSnapshotCopy checks a snapshot of c2 that came with the copy.
func checkSnapshotCopy(t *testing.T, p *testPool, name string) {
	t.Helper()
	path, err := p.SnapshotPath("c2", name)
	must(t, err)
	if got := readMark(t, path); got != name {
		t.Errorf("%s: mark %q", name, got)
	}
	if raw, err := os.ReadFile(path + "/rootfs/a b/file"); string(raw) != "nested" || err != nil {
		t.Errorf("%s: %q, %v", name, raw, err)
	}
	for _, sub := range []string{"", "/rootfs/a b", "/rootfs/a b/c"} {
		if ro, err := btrfs.IsReadOnly(path + sub); !ro || err != nil {
			t.Errorf("%s%s: read-only %v, %v", name, sub, ro, err)
		}
	}
	at, err := p.InstanceAt("c2", name)
	if err != nil || at.Name != "c2" || at.Config["user.v"] != "copied 1" {
		t.Errorf("at %s: %+v, %v", name, at, err)
	}
}

func TestCopyWithoutSnapshots(t *testing.T) {
	p := newPool(t)
	must(t, makeInstance(p.Tree), snapshot(p.Tree, "s1"), setMark(p.Tree, "c1", "now"))
	must(t, copyInstance(p.Tree, "c2", CopyOptions{Source: Source{Name: "c1"}}))
	must(t, copyInstance(p.Tree, "c3", CopyOptions{Source: Source{Name: "c1", Snapshot: "s1", Snapshots: true}}))
	for name, mark := range map[string]string{"c2": "now", "c3": "image"} {
		in, err := p.Instance(name)
		if err != nil || len(in.Snapshots) != 0 || in.Config["user.v"] != "copy" || readMark(t, p.InstancePath(name)) != mark {
			t.Errorf("%s: %+v, %v, mark %q", name, in, err, readMark(t, p.InstancePath(name)))
		}
		if ro, err := btrfs.IsReadOnly(p.InstancePath(name)); ro || err != nil {
			t.Errorf("%s: read-only %v, %v", name, ro, err)
		}
	}
}

// TestCopyRefused: nothing is left of a copy that cannot be made.
func TestCopyRefused(t *testing.T) {
	p := newPool(t)
	must(t, makeInstance(p.Tree), snapshot(p.Tree, "s1"))
	must(t, p.CreateInstance(t.Context(), newInstance("broken"), fingerprint), os.Remove(p.InstancePath("broken")+"/backup.yaml"))
	before := dump(t, p.Tree)
	for _, test := range []struct {
		name string
		o    CopyOptions
		want error
	}{
		{"c1", CopyOptions{Source: Source{Name: "c1", Snapshots: true}}, fs.ErrExist},
		{"broken", CopyOptions{Source: Source{Name: "c1", Snapshots: true}}, fs.ErrExist},
		{"c2", CopyOptions{Source: Source{Name: "none"}}, fs.ErrNotExist},
		{"c2", CopyOptions{Source: Source{Name: "../images"}}, fs.ErrNotExist},
		{"c2", CopyOptions{Source: Source{Name: "none", Snapshot: "s1"}}, fs.ErrNotExist},
		{"c2", CopyOptions{Source: Source{Name: "c1", Snapshot: "s2"}}, fs.ErrNotExist},
		{"c2", CopyOptions{Source: Source{Name: "c1", Snapshot: "../c1/s1"}}, fs.ErrNotExist},
		{"../c2", CopyOptions{Source: Source{Name: "c1"}}, ErrInvalidName},
		{"c2", CopyOptions{Source: Source{Name: "broken"}}, fs.ErrNotExist}, // the record's
	} {
		if err := copyInstance(p.Tree, test.name, test.o); !errors.Is(err, test.want) {
			t.Errorf("%s to %s: %v, want %v", test.o.Ref(), test.name, err, test.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	// Cancelled when the first of the snapshots is there.
	err := p.CopyInstance(ctx, newInstance("c2"), CopyOptions{Source: Source{Name: "c1", Snapshots: true}, Adapt: func(map[string]string, map[string]map[string]string) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if diff := cmp.Diff(before, dump(t, p.Tree)); diff != "" {
		t.Errorf("something has changed:\n%s", diff)
	}
}

// TestCopyUndone lets the last step of a copy fail, when its snapshots are in their place.
func TestCopyUndone(t *testing.T) {
	p := newPool(t)
	must(t, makeInstance(p.Tree), snapshot(p.Tree, "s1"))
	before := dump(t, p.Tree)
	in := newInstance("c2")
	from, err := p.copyOrigin(CopyOptions{Source: Source{Name: "c1", Snapshots: true}}, "c2")
	must(t, err)
	take := from.takeSnapshot
	from.takeSnapshot = func(ctx context.Context, snap, path string) error {
		return errors.Join(take(ctx, snap, path), os.Mkdir(p.InstancePath("c2"), 0o700)) // who knows who
	}
	if err := p.create(t.Context(), in, from); !errors.Is(err, unix.EEXIST) {
		t.Errorf("over a directory: %v", err)
	}
	must(t, os.Remove(p.InstancePath("c2")))
	if diff := cmp.Diff(before, dump(t, p.Tree)); diff != "" {
		t.Errorf("something has changed:\n%s", diff)
	}
}

// TestInstanceAt reads the record of an instance as it was.
func TestInstanceAt(t *testing.T) {
	p := newPool(t)
	must(t, makeInstance(p.Tree), snapshot(p.Tree, "s1"))
	_, err := p.UpdateInstance("c1", func(in *Instance) error { in.Config["user.v"] = "2"; return nil })
	must(t, err)
	check := func(want string) {
		t.Helper()
		if in, err := p.InstanceAt("c1", "s1"); err != nil || in.Broken != nil || in.Config["user.v"] != want {
			t.Errorf("want %s: %+v, %v", want, in, err)
		}
	}
	check("1")
	record := p.InstancePath("c1") + "/backup.yaml"
	raw, err := os.ReadFile(record)
	must(t, err, os.Remove(record))
	check("1")
	own := p.snapshotPath("c1", "s1")
	must(t, btrfs.SetReadOnly(own, false), os.Remove(own+"/backup.yaml"), btrfs.SetReadOnly(own, true))
	if in, err := p.InstanceAt("c1", "s1"); err != nil || in.Broken == nil {
		t.Errorf("without any record: %+v, %v", in, err)
	}
	must(t, os.WriteFile(record, raw, 0o400))
	check("1") // the entry in the instance's record
	for _, ref := range [][2]string{{"c1", "s2"}, {"c2", "s1"}, {"c1", ".."}} {
		if _, err := p.InstanceAt(ref[0], ref[1]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%v: %v", ref, err)
		}
	}
}
