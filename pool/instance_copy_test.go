package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
)

const machineID = "0123456789abcdef0123456789abcdef"

// fullInstance makes the instance c1 in pool a, whose root has one of everything, with two snapshots.
func fullInstance(t *testing.T, s *System) {
	t.Helper()
	_, err := s.Create(t.Context(), CreateOptions{Name: "c1", Template: EmptyTemplate, Pool: "a", Config: map[string]string{"user.a": "1"}})
	ok(t, err)
	root := diskRoot(t, s, "c1")
	ok(t, os.MkdirAll(root+"/etc", 0o755), os.MkdirAll(root+"/var/lib/dbus", 0o750), os.WriteFile(root+"/etc/machine-id", []byte(machineID+"\n"), 0o444),
		os.WriteFile(root+"/var/lib/dbus/machine-id", []byte(machineID+"\n"), 0o644), os.WriteFile(root+"/etc/big", []byte(strings.Repeat("big\n", 1<<18)), 0o640),
		os.WriteFile(root+"/su", []byte("x"), 0o755), os.Lchown(root+"/su", 1000, 5000), os.Chmod(root+"/su", 0o755|os.ModeSetuid),
		os.Link(root+"/etc/big", root+"/other name"), os.Symlink("/etc/passwd", root+"/link"), unix.Mknod(root+"/null", unix.S_IFCHR|0o666, 1<<8|3),
		unix.Mkfifo(root+"/fifo", 0o600), unix.Setxattr(root+"/su", "user.mine", []byte("a\x00b"), 0), unix.Setxattr(root+"/su", "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0),
		os.Chtimes(root+"/etc", time.Unix(1, 5), time.Unix(2, 7)),
		btrfs.CreateSubvolume(root+"/nested one"), os.WriteFile(root+"/nested one/file", []byte("nested"), 0o600),
	)
	f, err := os.OpenFile(root+"/sparse", os.O_CREATE|os.O_WRONLY, 0o600)
	ok(t, err)
	ok(t, f.Truncate(1<<20), f.Close())
	snapshotInstance(t, s, "c1", "s0")
	ok(t, os.WriteFile(root+"/etc/after-s0", []byte("s0"), 0o600), os.Remove(root+"/fifo"))
	snapshotInstance(t, s, "c1", "s1")
	ok(t, os.WriteFile(root+"/etc/after-s1", []byte("s1"), 0o600))
}

func snapshotInstance(t *testing.T, s *System, name, snap string) {
	t.Helper()
	_, err := s.CreateSnapshot(t.Context(), SnapshotOptions{Instance: name, Name: snap})
	ok(t, err)
}

// diskRoot is the root of an instance, or of a snapshot NAME/SNAP, on disk.
func diskRoot(t *testing.T, s *System, ref string) string {
	t.Helper()
	name, snap, _ := strings.Cut(ref, "/")
	p, _, err := s.findInstance(t.Context(), name)
	ok(t, err)
	defer func() { ok(t, p.close()) }()
	path := p.InstancePath(name)
	if snap != "" {
		path, err = p.SnapshotPath(name, snap)
		ok(t, err)
	}
	return filepath.Join(path, "rootfs")
}

// sameTrees compares instances or snapshots of them.
func sameTrees(t *testing.T, s *System, a, b string, except ...string) {
	t.Helper()
	if diff := cmp.Diff(testfs.Describe(t, diskRoot(t, s, a), except...), testfs.Describe(t, diskRoot(t, s, b), except...)); diff != "" {
		t.Errorf("%s and %s (-%s +%s):\n%s", a, b, a, b, diff)
	}
}

func snapshotsOf(t *testing.T, s *System, name string) []string {
	t.Helper()
	all, err := s.Snapshots(t.Context(), name)
	ok(t, err)
	var names []string
	for _, sn := range all {
		names = append(names, sn.Name)
	}
	return names
}

var ofMachine = []string{"etc/machine-id", "var/lib/dbus/machine-id"}

// TestCopyTrees: a copy, in the same pool and in another one, is what its source is, and can be told from it.
func TestCopyTrees(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	fullInstance(t, s)
	source := recordOf(t, s, "c1")
	for _, pool := range []string{"a", "b"} {
		name := "in-" + pool
		_, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: name, Pool: pool})
		ok(t, err)
		sameTrees(t, s, "c1", name, ofMachine...)
		sameTrees(t, s, "c1/s0", name+"/s0")
		sameTrees(t, s, "c1/s1", name+"/s1")
		checkOwnIdentity(t, s, name)
		rec := recordOf(t, s, name)
		if rec.Config["volatile.uuid"] == source.Config["volatile.uuid"] || rec.ExpandedDevices["root"]["pool"] != pool || rec.Pool.Name != pool || rec.Config["user.a"] != "1" {
			t.Errorf("in %s: %+v", pool, rec)
		}
		for i, sn := range rec.Snapshots {
			if !sn.CreatedAt.Equal(source.Snapshots[i].CreatedAt) || sn.ExpandedDevices["root"]["pool"] != pool || sn.Config["volatile.uuid"] == source.Config["volatile.uuid"] {
				t.Errorf("in %s: %+v", pool, sn)
			}
		}
		_, err = s.Copy(ctx, CopyOptions{Source: "c1", Snapshot: "s0", Name: "of-s0-" + pool, Pool: pool})
		ok(t, err)
		sameTrees(t, s, "c1/s0", "of-s0-"+pool, ofMachine...)
		_, err = s.Copy(ctx, CopyOptions{Source: "c1", InstanceOnly: true, Name: "only-" + pool, Pool: pool})
		ok(t, err)
		if names := append(snapshotsOf(t, s, "of-s0-"+pool), snapshotsOf(t, s, "only-"+pool)...); len(names) != 0 {
			t.Errorf("in %s, without snapshots: %q", pool, names)
		}
	}
}

func checkOwnIdentity(t *testing.T, s *System, name string) {
	t.Helper()
	var ids []string
	for _, file := range ofMachine {
		raw, err := os.ReadFile(filepath.Join(diskRoot(t, s, name), file))
		id := strings.TrimSpace(string(raw))
		if err != nil || id == machineID || !machineIDForm().MatchString(id) {
			t.Errorf("%s: %s is %q, %v", name, file, raw, err)
		}
		ids = append(ids, id)
	}
	if ids[0] != ids[1] {
		t.Errorf("%s has two machine ids: %q", name, ids)
	}
	if raw, err := os.ReadFile(filepath.Join(diskRoot(t, s, "c1"), ofMachine[0])); strings.TrimSpace(string(raw)) != machineID || err != nil {
		t.Errorf("the source has another one now: %q, %v", raw, err)
	}
}

// TestMachineID: nothing but a file with a machine id is written to, whatever is in its place.
func TestMachineID(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	ok(t, os.WriteFile(outside, []byte(machineID), 0o600))
	for name, make := range map[string]func(file string) error{
		"link":      func(file string) error { return os.Symlink(outside, file) },
		"empty":     func(file string) error { return os.WriteFile(file, nil, 0o600) },
		"no id":     func(file string) error { return os.WriteFile(file, []byte("uninitialized\n"), 0o600) },
		"large":     func(file string) error { return os.WriteFile(file, []byte(strings.Repeat(machineID, 9)), 0o600) },
		"fifo":      func(file string) error { return unix.Mkfifo(file, 0o600) },
		"node":      func(file string) error { return unix.Mknod(file, unix.S_IFCHR|0o600, 1<<8|1) },
		"directory": func(file string) error { return os.Mkdir(file, 0o700) },
		"linked etc": func(file string) error {
			return errors.Join(os.Remove(filepath.Dir(file)), os.Symlink(dir, filepath.Dir(file)))
		},
		"etc is none": func(file string) error {
			return errors.Join(os.Remove(filepath.Dir(file)), os.WriteFile(filepath.Dir(file), nil, 0o600))
		},
	} {
		volume := filepath.Join(dir, "v "+name)
		file := filepath.Join(volume, "rootfs/etc/machine-id")
		ok(t, os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(filepath.Join(dir, "machine-id"), []byte(machineID), 0o600), make(file))
		before := testfs.Describe(t, dir)
		ok(t, renewMachineID(volume, newMachineID()))
		if diff := cmp.Diff(before, testfs.Describe(t, dir)); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		ok(t, os.RemoveAll(volume))
	}
	if err := renewMachineID(filepath.Join(dir, "none"), newMachineID()); err != nil {
		t.Error(err)
	}
}

// TestCopyImmutableMachineID: an instance whose machine id is immutable can be copied. The copy has one of its own, which is, too.
func TestCopyImmutableMachineID(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "a", nil)
	fullInstance(t, s)
	f, err := os.Open(filepath.Join(diskRoot(t, s, "c1"), ofMachine[0]))
	ok(t, err)
	flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	const immutable = 0x10 // FS_IMMUTABLE_FL of linux/fs.h
	ok(t, err, unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flags|immutable), f.Close())
	for _, refresh := range []bool{false, true} {
		_, err = s.Copy(t.Context(), CopyOptions{Source: "c1", Name: "c2", Refresh: refresh})
		ok(t, err)
		checkOwnIdentity(t, s, "c2")
		f, err = os.Open(filepath.Join(diskRoot(t, s, "c2"), ofMachine[0]))
		ok(t, err)
		flags, err = unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
		if ok(t, err, f.Close()); flags&immutable == 0 {
			t.Errorf("refresh %v: it is not immutable any more", refresh)
		}
	}
}

// TestRefreshCopy: a copy becomes what its source is now, in the same pool and in another one, and stays what it is known by.
func TestRefreshCopy(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	fullInstance(t, s)
	for _, pool := range []string{"a", "b"} {
		name := "in-" + pool
		o := CopyOptions{Source: "c1", Name: name, Pool: pool, Refresh: true}
		_, err := s.Copy(ctx, o) // made, as there is none
		ok(t, err)
		ok(t, s.SetInstanceConfig(ctx, name, map[string]string{"user.own": "1"}))
		id, err := os.ReadFile(diskRoot(t, s, name) + "/etc/machine-id")
		ok(t, err)
		snapshotInstance(t, s, name, "own")
		before := recordOf(t, s, name)
		root := diskRoot(t, s, "c1")
		ok(t, os.WriteFile(root+"/etc/new in "+pool, []byte("new"), 0o600), os.RemoveAll(root+"/var/lib/"+pool))
		snapshotInstance(t, s, "c1", "s-"+pool)
		ok(t, os.WriteFile(root+"/etc/newer in "+pool, []byte("newer"), 0o600))
		_, err = s.Copy(ctx, o)
		ok(t, err)
		sameTrees(t, s, "c1", name, ofMachine...)
		for _, sn := range snapshotsOf(t, s, "c1") {
			sameTrees(t, s, "c1/"+sn, name+"/"+sn)
		}
		if got, want := snapshotsOf(t, s, name), snapshotsOf(t, s, "c1"); !slices.Equal(got, want) {
			t.Errorf("in %s: snapshots %q, want %q", pool, got, want)
		}
		if now, err := os.ReadFile(diskRoot(t, s, name) + "/etc/machine-id"); string(now) != string(id) || err != nil {
			t.Errorf("in %s: the machine id was %q and is %q, %v", pool, id, now, err)
		}
		before.Snapshots = nil
		after := recordOf(t, s, name)
		after.Snapshots = nil
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("in %s the record has changed:\n%s", pool, diff)
		}
	}
	_, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: "in-b", Pool: "a", Refresh: true})
	if err == nil || !strings.Contains(err.Error(), "it is in pool b") {
		t.Errorf("in another pool: %v", err)
	}
}

// TestRefreshOfSnapshot: what a snapshot differs from what the copy has is sent, and the snapshots of the copy stay.
func TestRefreshOfSnapshot(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	fullInstance(t, s)
	root := diskRoot(t, s, "c1")
	for i, name := range []string{"large", "larger", "largest"} {
		randomFile(t, filepath.Join(root, "etc", name), 4<<20)
		snapshotInstance(t, s, "c1", fmt.Sprintf("l%d", i))
	}
	_, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: "c2", Pool: "b"})
	ok(t, err, s.DeleteSnapshot(ctx, "c2", "l2"))
	for snap, most := range map[string]int64{"l0": 1 << 20, "l1": 1 << 20, "l2": 5 << 20} {
		var sent int64
		_, err = s.Copy(ctx, CopyOptions{Source: "c1", Snapshot: snap, Name: "c2", Refresh: true, Progress: func(p Progress) { sent = p.Done }})
		ok(t, err)
		sameTrees(t, s, "c1/"+snap, "c2", ofMachine...)
		if sent == 0 || sent > most {
			t.Errorf("of %s %d bytes were sent", snap, sent)
		}
	}
	if got := snapshotsOf(t, s, "c2"); !slices.Equal(got, []string{"s0", "s1", "l0", "l1"}) {
		t.Errorf("it has the snapshots %q", got)
	}
}

// TestRefreshExcludeOlderRenamed: a snapshot that the copy has under another name is not missing in it.
func TestRefreshExcludeOlderRenamed(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	fullInstance(t, s)
	for _, pool := range []string{"a", "b"} {
		_, err := s.Copy(t.Context(), CopyOptions{Source: "c1", Name: "in-" + pool, Pool: pool})
		ok(t, err)
	}
	ok(t, s.RenameSnapshot(t.Context(), "c1", "s0", "renamed"))
	for _, name := range []string{"in-a", "in-b"} {
		_, err := s.Copy(t.Context(), CopyOptions{Source: "c1", Name: name, Refresh: true, RefreshExcludeOlder: true})
		if ok(t, err); !slices.Equal(snapshotsOf(t, s, name), []string{"renamed", "s1"}) {
			t.Errorf("%s has the snapshots %q", name, snapshotsOf(t, s, name))
		}
	}
}

// TestMoveInstance: what is moved to another pool is what it was.
func TestMoveInstance(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	fullInstance(t, s)
	_, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: "was"})
	ok(t, err)
	before := recordOf(t, s, "c1")
	for _, o := range []MoveOptions{{Source: "c1", Pool: "b"}, {Source: "c1", Name: "c2", Pool: "a"}, {Source: "c2", Name: "c1"}, {Source: "c1", Name: "c1", Pool: "b"}} {
		ok(t, s.MoveInstance(ctx, o))
		name := o.Name
		if name == "" {
			name = o.Source
		}
		sameTrees(t, s, "was", name, ofMachine...)
		sameTrees(t, s, "was/s0", name+"/s0")
		sameTrees(t, s, "was/s1", name+"/s1")
		if raw, err := os.ReadFile(diskRoot(t, s, name) + "/etc/machine-id"); string(raw) != machineID+"\n" || err != nil {
			t.Errorf("%+v: machine id %q, %v", o, raw, err)
		}
		if all, err := s.Instances(ctx); err != nil || len(all) != 2 {
			t.Errorf("%+v: %d instances, %v", o, len(all), err)
		}
	}
	after := recordOf(t, s, "c1")
	if after.Config["volatile.uuid"] != before.Config["volatile.uuid"] || !after.CreatedAt.Equal(before.CreatedAt) || after.ExpandedDevices["root"]["pool"] != "b" || after.Pool.Name != "b" {
		t.Errorf("%+v\nwas %+v", after, before)
	}
	if err := s.MoveInstance(ctx, MoveOptions{Source: "c1", Name: "was", Pool: "a"}); err == nil || err.Error() != "cannot move c1 to was in pool a: already exists" {
		t.Errorf("to a name that is taken: %v", err)
	}
	for _, o := range []MoveOptions{{Source: "c1", Pool: "b"}, {Source: "c1"}, {Source: "c1", Name: "was", Pool: "a"}, {Source: "c1", Pool: "none"}, {Source: "none", Pool: "b"}, {Source: "c1", Name: "-x", Pool: "a"}} {
		if err := s.MoveInstance(ctx, o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}
