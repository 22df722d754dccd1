package pool

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
)

// contentOf is the SHA-256 of a file.
func contentOf(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return string(h.Sum(nil))
}

// copyPool copies a pool's file as it is at this moment.
func copyPool(t *testing.T, from, to string) string {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", "--sparse=always", from, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return to
}

// filledPool makes the pool p with the instance c1, its snapshot s1 and the
// custom volume v, and returns its file. What is in the root is said by the file
// "mark": "old" in the snapshot, "new" in the instance.
func filledPool(t *testing.T, s *System) string {
	t.Helper()
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "256MiB", "user.a": "b"})
	addInstance(t, s, "p", "c1")
	mark := filepath.Join(s.dir.MountPoint("p"), "containers/c1/rootfs/mark")
	if err := errors.Join(os.MkdirAll(filepath.Dir(mark), 0o755), os.WriteFile(mark, []byte("old"), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s1"}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(mark, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := btrfs.CreateSubvolume(filepath.Join(s.dir.MountPoint("p"), "custom/default_v")); err != nil {
		t.Fatal(err)
	}
	return s.dir.DiskFile("p")
}

// withoutTraces fails when a loop device is on the file, or the file system mounted.
func withoutTraces(t *testing.T, file string) {
	t.Helper()
	if err := waitLoopGone(context.Background(), file); err != nil {
		t.Error(err)
	}
	if loops, err := loopdev.Find(file); err != nil || len(loops) > 0 {
		t.Errorf("left on %s: %+v, %v", file, loops, err)
	}
}

// A pool is looked into while not one byte of its file changes, also when it was
// not unmounted: a log that is not replayed is told of.
func TestInspectChangesNothing(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	file := filledPool(t, s)
	mnt := s.dir.MountPoint("p")
	if err := btrfs.Sync(mnt); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(mnt, "containers/c1/rootfs/logged"))
	if err == nil {
		_, err = f.WriteString("x")
	}
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
	dirty := copyPool(t, file, filepath.Join(t.TempDir(), "dirty.img"))
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	other := newSystem(t)
	for name, tc := range map[string]struct {
		file string
		log  bool
	}{"unmounted": {file, false}, "not unmounted": {dirty, true}} {
		t.Run(name, func(t *testing.T) {
			before := contentOf(t, tc.file)
			var told string
			other.notice = func(l string) { told += l + "\n" }
			in, err := other.Inspect(ctx, tc.file)
			if err != nil {
				t.Fatal(err)
			}
			if in.Log != tc.log || strings.Contains(told, "is in its log") != tc.log {
				t.Errorf("log %v, told %q; want %v", in.Log, told, tc.log)
			}
			if in.Name != "p" || in.Origin != "poolctl" || in.Label != "p" || in.Config["user.a"] != "b" || in.Pool != "" || in.Size != 256<<20 || in.Used == 0 {
				t.Errorf("the pool: %+v", in)
			}
			if len(in.Instances) != 1 || in.Instances[0].Name != "c1" || len(in.Instances[0].Snapshots) != 1 || in.Instances[0].Snapshots[0].Name != "s1" {
				t.Errorf("instances: %+v", in.Instances)
			}
			if len(in.Volumes) != 1 || in.Volumes[0].Name != "v" {
				t.Errorf("volumes: %+v", in.Volumes)
			}
			dir := t.TempDir()
			lookAt(t, other, tc.file, "c1", dir, "new")
			made, err := other.InspectMount(ctx, tc.file, "c1/s1", "") // beside the other look
			if err != nil {
				t.Fatal(err)
			}
			if got, err := os.ReadFile(made + "/mark"); err != nil || string(got) != "old" {
				t.Errorf("the snapshot's mark: %q, %v", got, err)
			}
			if _, err := other.Inspect(ctx, tc.file); err != nil {
				t.Errorf("while it is looked into: %v", err)
			}
			if _, err := other.AdoptPool(ctx, tc.file, AdoptOptions{Name: ""}); !errors.Is(err, ErrInUse) || !strings.Contains(hint(err), "poolctl umount "+dir) {
				t.Errorf("adopted while it is looked into: %v, %q", err, hint(err))
			}
			if tc.file == file {
				err := s.AttachPool(ctx, "p")
				if err == nil || !strings.Contains(hint(err), "poolctl umount "+dir) || !strings.Contains(hint(err), "poolctl umount "+made) || strings.Contains(hint(err), "losetup") {
					t.Errorf("attached while it is looked into: %v, %q", err, hint(err))
				}
			}
			for _, d := range []string{dir, made} {
				if err := other.Unmount(ctx, d); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := os.Lstat(made); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the directory that was made is left: %v", err)
			}
			withoutTraces(t, tc.file)
			if contentOf(t, tc.file) != before {
				t.Error("the file has changed")
			}
		})
	}
}

// lookAt looks into an instance in a file, and checks what is to be seen.
func lookAt(t *testing.T, s *System, file, ref, dir, want string) {
	t.Helper()
	if _, err := s.InspectMount(t.Context(), file, ref, dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(dir + "/mark"); err != nil || string(got) != want {
		t.Errorf("mark = %q, %v", got, err)
	}
	if _, err := os.Lstat(dir + "/logged"); !errors.Is(err, os.ErrNotExist) && want == "new" {
		if log, _ := btrfs.ReadSuper(file); log.LogRoot != 0 {
			t.Errorf("the log was replayed: %v", err)
		}
	}
	if err := os.WriteFile(dir+"/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("it can be written to: %v", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || st.Flags&unix.ST_NOSUID == 0 || st.Flags&unix.ST_NODEV == 0 || st.Flags&unix.ST_RDONLY == 0 {
		t.Errorf("mount flags %x, %v", st.Flags, err)
	}
}

// Also a block device is inspected, a subvolume, and a pool that is attached here.
func TestInspectKinds(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	file := filledPool(t, s)
	told := ""
	s.notice = func(l string) { told += l }
	in, err := s.Inspect(ctx, file)
	if err != nil || in.Pool != "p" || len(in.Instances) != 1 || !strings.Contains(told, "is pool p, which is attached") {
		t.Errorf("of an attached pool: %+v, %v; told %q", in, err, told)
	}
	dir := t.TempDir()
	lookAt(t, s, file, "c1", dir, "new")
	if err := s.Unmount(ctx, dir); err != nil {
		t.Error(err)
	}
	lookAt(t, s, s.dir.MountPoint("p"), "c1/s1", dir, "old") // the top of it is a subvolume
	if err := s.Unmount(ctx, dir); err != nil {
		t.Error(err)
	}
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	before := contentOf(t, file)
	dev := losetup(t, file)
	in, err = newSystem(t).Inspect(ctx, dev)
	if err != nil || len(in.Instances) != 1 || in.File != dev {
		t.Errorf("of a block device: %+v, %v", in, err)
	}
	lookAt(t, s, dev, "c1", dir, "new")
	if err := s.Unmount(ctx, dir); err != nil {
		t.Error(err)
	}
	if contentOf(t, file) != before {
		t.Error("the device has changed")
	}
}

// What is no pool, or cannot be looked into safely, is refused, and says why.
func TestInspectRefuses(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	file := filledPool(t, s)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	twin := copyPool(t, file, in("twin.img")) // of the pool, which is attached
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	damaged := copyPool(t, file, in("damaged.img"))
	truncated := copyPool(t, file, in("truncated.img"))
	plain, empty, fifo := in("plain"), in("empty.img"), in("fifo")
	bare, linked := bareBtrfs(t, in("bare.img"), nil), bareBtrfs(t, in("linked.img"), func(mnt string) error {
		return errors.Join(os.Symlink("/etc", mnt+"/containers"), os.Mkdir(mnt+"/images", 0o700))
	})
	if err := errors.Join(
		os.WriteFile(plain, []byte("hello"), 0o600), os.WriteFile(empty, nil, 0o600), unix.Mkfifo(fifo, 0o600), os.Truncate(truncated, 128<<20),
		writeAt(damaged, 64<<10+200, "damage"), s.AttachPool(ctx, "p"),
	); err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct{ file, want string }{
		"nothing":        {in("no"), "no such file"},
		"directory":      {dir, "a directory, and no subvolume"},
		"plain file":     {plain, "no btrfs file system"},
		"empty file":     {empty, "no btrfs file system"},
		"fifo":           {fifo, "neither a file, nor a block device"},
		"truncated":      {truncated, "it is truncated"},
		"damaged":        {damaged, "is wrong: the file system is damaged"},
		"no pool":        {bare, "no pool of poolctl, LXD or Incus"},
		"hostile":        {linked, "containers is not a directory"},
		"twin, mounted":  {twin, "a copy of this pool is mounted"},
		"null device":    {"/dev/null", "neither a file, nor a block device"},
		"a long way off": {strings.Repeat("x", 5000), "file name too long"},
	} {
		for what, do := range map[string]func() error{
			"inspect": func() error { _, err := s.Inspect(ctx, tc.file); return err },
			"mount":   func() error { _, err := s.InspectMount(ctx, tc.file, "c1", ""); return err },
			"adopt":   func() error { _, err := s.AdoptPool(ctx, tc.file, AdoptOptions{Name: "q"}); return err },
		} {
			want := tc.want
			if what == "adopt" && tc.file == twin {
				want = "it is a copy of pool p"
			}
			if err := do(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s of %s: %v; want %q", what, name, err, want)
			}
		}
		if info, err := os.Stat(tc.file); err == nil && info.Mode().IsRegular() {
			withoutTraces(t, tc.file)
		}
	}
	for _, ref := range []string{"no", "c1/no", "../images", "c1/..", "", "/", "c1/s1/x"} {
		if where, err := s.InspectMount(ctx, file, ref, ""); !errors.Is(err, ErrNotFound) {
			t.Errorf("InspectMount of %q: %q, %v", ref, where, err)
		}
	}
	if entries, err := os.ReadDir(filepath.Join(s.dir.Root, "mnt")); err == nil && len(entries) > 0 {
		t.Errorf("left: %v", entries)
	}
	if pools, err := s.Pools(ctx); err != nil || len(pools) != 1 {
		t.Errorf("pools: %+v, %v", pools, err)
	}
}

// bareBtrfs makes a file system that is no pool.
func bareBtrfs(t *testing.T, path string, fill func(mnt string) error) string {
	t.Helper()
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 128<<20), btrfs.Mkfs(t.Context(), path, nil, btrfs.MkfsOptions{})); err != nil {
		t.Fatal(err)
	}
	if fill == nil {
		return path
	}
	dev := losetup(t, path)
	mnt := mountDevice(t, dev, 0)
	if err := errors.Join(fill(mnt), unix.Unmount(mnt, 0), exec.CommandContext(t.Context(), "losetup", "-d", dev).Run()); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeAt(path string, at int64, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), at)
	return errors.Join(err, f.Close())
}

// What LXD's killed operations left is told of, and no instance.
func TestInspectLeftovers(t *testing.T) {
	s := newSystem(t)
	file := filledPool(t, s)
	mnt := s.dir.MountPoint("p")
	left := []string{"containers/c2.incustmp", "custom/default_v.lxdtmp", "images/" + strings.Repeat("ab", 32)}
	for _, l := range left {
		if err := btrfs.CreateSubvolume(filepath.Join(mnt, l)); err != nil {
			t.Fatal(err)
		}
	}
	if err := btrfs.CreateSubvolume(filepath.Join(mnt, "virtual-machines/vm1")); err != nil {
		t.Fatal(err)
	}
	in, err := s.Inspect(t.Context(), file)
	if err != nil || !slices.Equal(in.Leftovers, left) {
		t.Errorf("leftovers %v, %v; want %v", in.Leftovers, err, left)
	}
	if len(in.Instances) != 2 || in.Instances[1].Name != "vm1" || in.Instances[1].Type != typeMachine || in.Instances[1].Problem == "" || len(in.Images) != 1 || len(in.Volumes) != 1 {
		t.Errorf("%+v", in)
	}
	if all, err := s.Instances(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("instances: %+v, %v", all, err)
	}
}
