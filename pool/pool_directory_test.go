package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/journal"
	"poolctl/pool/state"
)

// ownersFS mounts a btrfs file system that is not poolctl's. Make it before the
// System, which ends first then.
func ownersFS(t *testing.T) string {
	t.Helper()
	dev, _ := newDevice(t, 300<<20)
	run(t, "mkfs.btrfs", "-q", dev)
	dir := filepath.Join(t.TempDir(), "owner's\tfile system\n")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(dev, dir, "btrfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("the owner cannot unmount: %v", err)
		}
	})
	return dir
}

// names lists a directory.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return strings.Join(out, " ")
}

func TestDirectoryPoolLife(t *testing.T) {
	fs := ownersFS(t)
	if err := errors.Join(os.WriteFile(filepath.Join(fs, "mine"), []byte("precious"), 0o600), os.Mkdir(filepath.Join(fs, "plain"), 0o750), btrfs.CreateSubvolume(filepath.Join(fs, "sub vol"))); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t)
	ctx := t.Context()
	for _, c := range []struct {
		source string
		own    bool
		after  string // what is in the file system when the pool is deleted
	}{
		{filepath.Join(fs, "new pool\nü"), true, "mine plain sub vol"},
		{filepath.Join(fs, "dotted.d") + "/", true, "mine plain sub vol"},
		{filepath.Join(fs, "sub vol"), false, "mine plain sub vol"},
		{filepath.Join(fs, "plain"), true, "mine sub vol"},
	} {
		createPool(t, s, "x", map[string]string{"source": c.source})
		source := strings.TrimSuffix(c.source, "/")
		rec, err := s.loadPool("x")
		if err != nil || rec.Kind != state.PoolDirectory || rec.OwnSubvolume != c.own || rec.Source != source || rec.SubvolumeID < 256 {
			t.Fatalf("%q: %+v, %v", c.source, rec, err)
		}
		if is, err := btrfs.IsSubvolume(source); err != nil || !is {
			t.Errorf("%q is no subvolume: %v", c.source, err)
		}
		info, err := s.PoolInfo(ctx, "x")
		if err != nil || !info.Attached || info.Kind != "directory" || info.Directory == nil || info.Directory.Path != source || info.File != nil {
			t.Errorf("%+v, %v", info, err)
		}
		addInstance(t, s, "x", "c1")
		checkLooks(t, s, rec)
		if err := s.DetachPool(ctx, "x"); err != nil {
			t.Fatal(err)
		}
		if pools, err := s.Pools(ctx); err != nil || pools[0].Status != "Detached" {
			t.Errorf("%+v, %v", pools, err)
		}
		if err := errors.Join(s.AttachPool(ctx, "x"), s.AttachPool(ctx, "x")); err != nil {
			t.Fatal(err)
		}
		if err := s.DeletePool(ctx, "x", false); !errors.Is(err, ErrInUse) {
			t.Errorf("deleted with an instance in it: %v", err)
		}
		if err := s.DeletePool(ctx, "x", true); err != nil {
			t.Fatal(err)
		}
		noLeftovers(t, s, "deleted")
		if got := names(t, fs); got != c.after {
			t.Errorf("%q deleted: %q is left, want %q", c.source, got, c.after)
		}
	}
	if got := names(t, filepath.Join(fs, "sub vol")); got != "" {
		t.Errorf("in the owner's subvolume is left: %q", got)
	}
}

// checkLooks mounts the pool and an instance in it elsewhere.
func checkLooks(t *testing.T, s *System, rec state.PoolRecord) {
	t.Helper()
	ctx := t.Context()
	whole, inside := t.TempDir(), t.TempDir()
	if err := os.Mkdir(filepath.Join(s.dir.MountPoint("x"), "containers/c1/rootfs"), 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		t.Fatal(err)
	}
	if _, err := s.MountPool(ctx, "x", whole); err != nil {
		t.Fatal(err)
	}
	if _, err := s.MountInstance(ctx, "c1", inside, MountOptions{}); err != nil {
		t.Fatal(err)
	}
	if looks, err := s.looks(); err != nil || len(looks) != 1 || looks[0].ref != "c1" || looks[0].dir != inside {
		t.Errorf("looks: %+v, %v", looks, err)
	}
	if err := s.DetachPool(ctx, "x"); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), inside) {
		t.Errorf("detached while c1 is mounted: %v", err)
	}
	if err := s.Unmount(ctx, "c1"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeletePool(ctx, "x", true); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), whole) {
		t.Errorf("deleted while it is mounted: %v", err)
	}
	if err := s.UnmountPool(ctx, "x", ""); err == nil || !strings.Contains(err.Error(), "owner") {
		t.Errorf("unmounted without saying where: %v", err)
	}
	if err := s.UnmountPool(ctx, "x", whole); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(rec.Source); err != nil {
		t.Error(err)
	}
}

// The whole of a file system that somebody else mounts can be a pool.
func TestWholeFileSystemAsDirectory(t *testing.T) {
	fs := ownersFS(t)
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "x", map[string]string{"source": fs})
	addInstance(t, s, "x", "c1")
	if err := os.WriteFile(filepath.Join(fs, "mine"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.DetachPool(ctx, "x"), s.AttachPool(ctx, "x"), s.UnmountPool(ctx, "x", "")); err != nil {
		t.Fatal(err)
	}
	if err := s.DeletePool(ctx, "x", true); err != nil {
		t.Fatal(err)
	}
	if got := names(t, fs); got != "mine" {
		t.Errorf("left: %q", got)
	}
}

// What others put into a subvolume of the pool's own stays, and the subvolume with it.
func TestDeleteDirectoryLeavesOthersFiles(t *testing.T) {
	fs := ownersFS(t)
	s := newSystem(t)
	source := filepath.Join(fs, "pool")
	createPool(t, s, "x", map[string]string{"source": source})
	if err := errors.Join(os.WriteFile(filepath.Join(source, "mine"), []byte("precious"), 0o600), btrfs.CreateSubvolume(filepath.Join(source, "other"))); err != nil {
		t.Fatal(err)
	}
	if err := s.DeletePool(t.Context(), "x", false); err != nil {
		t.Fatal(err)
	}
	if got := names(t, source); got != "mine other" {
		t.Errorf("left: %q", got)
	}
}

func TestCreateRefusesDirectories(t *testing.T) {
	fs := ownersFS(t)
	s := newSystem(t)
	plain := t.TempDir()
	full, ro := filepath.Join(fs, "full"), filepath.Join(fs, "ro")
	if err := errors.Join(btrfs.CreateSubvolume(full), os.Mkdir(filepath.Join(full, "data"), 0o755), btrfs.CreateSubvolume(ro), btrfs.SetReadOnly(ro, true), os.Symlink("/nowhere", filepath.Join(fs, "dangling"))); err != nil {
		t.Fatal(err)
	}
	createPool(t, s, "inner", map[string]string{"source": filepath.Join(fs, "inner")})
	before := names(t, fs)
	for name, config := range map[string]map[string]string{
		"not on btrfs":           {"source": plain},
		"not on btrfs, new":      {"source": plain + "/new/"},
		"not empty":              {"source": full},
		"parent of another":      {"source": fs},
		"read-only":              {"source": ro},
		"size":                   {"source": full + "/data", "size": "1GiB"},
		"mount options":          {"source": full + "/data", "btrfs.mount_options": "noatime"},
		"compress":               {"source": full + "/data", "compress": "zstd"},
		"wipe":                   {"source": full + "/data", "source.wipe": full + "/data"},
		"symlink to nothing":     {"source": filepath.Join(fs, "dangling")},
		"no parent":              {"source": filepath.Join(fs, "no/such")},
		"another pool's":         {"source": filepath.Join(fs, "inner")},
		"within another pool":    {"source": filepath.Join(fs, "inner/containers/x")},
		"within a mounted pool":  {"source": s.dir.MountPoint("inner") + "/x"},
		"a file within a pool":   {"source": s.dir.MountPoint("inner") + "/x.img", "size": "200MiB"},
		"where pools are":        {"source": filepath.Dir(s.dir.MountPoint("inner"))},
		"name of 300 characters": {"source": filepath.Join(fs, strings.Repeat("n", 300))},
		"a NUL":                  {"source": fs + "/a\x00b"},
	} {
		if err := s.CreatePool(t.Context(), CreatePoolOptions{Name: "x", Config: config}); err == nil || !strings.HasPrefix(err.Error(), "cannot create pool") {
			t.Errorf("%s: %v", name, err)
		}
		noLeftovers(t, s, name)
	}
	if got := names(t, fs); got != before {
		t.Errorf("after refusals: %q; before %q", got, before)
	}
}

// A pool's subvolume is not taken for another one: the file system's UUID is the
// same for all that are on it.
func TestDirectoryIdentity(t *testing.T) {
	fs := ownersFS(t)
	s := newSystem(t)
	ctx := t.Context()
	a, b := filepath.Join(fs, "a"), filepath.Join(fs, "b")
	createPool(t, s, "a", map[string]string{"source": a})
	createPool(t, s, "b", map[string]string{"source": b})
	addInstance(t, s, "a", "c1")
	if err := s.DetachPool(ctx, "b"); err != nil { // while the other is attached
		t.Fatal(err)
	}
	if pools, err := s.Pools(ctx); err != nil || pools[0].Status != "Created" || pools[1].Status != "Detached" || len(pools[0].UsedBy) != 2 || len(pools[1].UsedBy) != 0 {
		t.Errorf("%+v, %v", pools, err)
	}
	if err := errors.Join(os.Rename(b, b+".away"), btrfs.CreateSubvolume(b), os.WriteFile(filepath.Join(b, "mine"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachPool(ctx, "b"); err == nil || !strings.Contains(err.Error(), "another subvolume") {
		t.Errorf("attached another subvolume: %v", err)
	}
	if pools, err := s.Pools(ctx); err != nil || pools[1].Status != "Unavailable" {
		t.Errorf("%+v, %v", pools, err)
	}
	if err := s.DeletePool(ctx, "b", true); err != nil {
		t.Fatal(err)
	}
	if got := names(t, b); got != "mine" {
		t.Errorf("another's subvolume was changed: %q", got)
	}
	if err := errors.Join(s.DetachPool(ctx, "a"), os.Rename(a, a+" moved")); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachPool(ctx, "a"); err == nil || !strings.Contains(err.Error(), "gone") {
		t.Errorf("attached what was moved: %v", err)
	}
	if err := os.Rename(a+" moved", a); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachPool(ctx, "a"); err != nil {
		t.Error(err)
	}
}

// A subvolume that another state directory has attached is refused.
func TestDirectoryOfAnotherStateDirectory(t *testing.T) {
	fs := ownersFS(t)
	mine, other := newSystem(t), newSystem(t)
	createPool(t, mine, "x", map[string]string{"source": filepath.Join(fs, "x")})
	rec, err := mine.loadPool("x")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.dir.SavePool(rec); err != nil {
		t.Fatal(err)
	}
	if err := other.AttachPool(t.Context(), "x"); err == nil || !strings.Contains(err.Error(), "another state directory") {
		t.Errorf("attached twice: %v", err)
	}
	if err := other.dir.DeletePool("x"); err != nil {
		t.Fatal(err)
	}
}

// What a killed creation left is undone, the empty directory put back.
func TestDirectoryRecovery(t *testing.T) {
	fs := ownersFS(t)
	s := newSystem(t)
	info, err := btrfs.FSInfo(fs)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(fs, "x")
	recover := func(in creating) {
		t.Helper()
		e, err := journal.Begin(t.Context(), s.journalDir(), "pool-create", in)
		if err == nil {
			err = e.Close()
		}
		if err == nil {
			_, err = Open(t.Context(), Options{Root: s.dir.Root, Notice: func(l string) { t.Error(l) }})
		}
		if err != nil {
			t.Fatal(err)
		}
		noLeftovers(t, s, "recovered")
	}
	in := creating{Name: "x", Kind: state.PoolDirectory, Path: path, UUID: info.UUID, Subvolume: subvolumeIntent{Own: true, Staged: ".poolctl-1", Replaced: true, Mode: 0o750, UID: 5, GID: 6}}
	if err := errors.Join(os.Mkdir(path, 0o750), btrfs.CreateSubvolume(filepath.Join(fs, ".poolctl-1"))); err != nil {
		t.Fatal(err)
	}
	recover(in) // killed before it was known
	if got := names(t, fs); got != "x" {
		t.Errorf("left: %q", got)
	}
	if err := errors.Join(os.Remove(path), btrfs.CreateSubvolume(path), layOut(path)); err != nil {
		t.Fatal(err)
	}
	recover(in) // another one's subvolume
	if got := names(t, path); got == "" {
		t.Error("another's subvolume was emptied")
	}
	sub, err := btrfs.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	in.Subvolume.ID, in.Subvolume.UUID = sub.ID, sub.UUID
	recover(in)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Mode&0o7777 != 0o750 || st.Uid != 5 || st.Gid != 6 || st.Ino == 256 {
		t.Errorf("the directory that was there before: %o %d:%d, %v", st.Mode, st.Uid, st.Gid, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	recover(in) // killed while it was undone
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}

// On a btrfs file system a pool can be a file as well: its name has an ending,
// or it has a size.
func TestFileOnBtrfs(t *testing.T) {
	fs := ownersFS(t)
	s := newSystem(t)
	createPool(t, s, "a", map[string]string{"source": filepath.Join(fs, "a.img"), "size": "110MiB"})
	createPool(t, s, "b", map[string]string{"source": filepath.Join(fs, "b"), "size": "110MiB"})
	for _, n := range []string{"a", "b"} {
		if rec, err := s.loadPool(n); err != nil || rec.Kind != state.PoolFile {
			t.Errorf("%+v, %v", rec, err)
		}
	}
}
