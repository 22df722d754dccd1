package pool

import (
	"crypto/sha256"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
)

// sum is the SHA-256 of a file.
func sum(t *testing.T, path string) [32]byte {
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
	return [32]byte(h.Sum(nil))
}

// overwrite writes n bytes of b at an offset.
func overwrite(t *testing.T, path string, at int64, b byte, n int) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = b
	}
	_, err = f.WriteAt(data, at)
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// A pool whose file is damaged in whatever way is refused with what is wrong, the
// file stays as it is, nothing is left attached, and the other pools work. With
// the file put right everything in it is there.
func TestDamagedFiles(t *testing.T) {
	for name, c := range map[string]struct {
		damage func(t *testing.T, img string)
		want   string // in what attach says
	}{
		"superblock": {func(t *testing.T, img string) { overwrite(t, img, 64<<10+200, 'x', 16) }, "its checksum is wrong"},
		"no magic":   {func(t *testing.T, img string) { overwrite(t, img, 64<<10, 0, 4096) }, "no btrfs file system"},
		"trees":      {func(t *testing.T, img string) { overwrite(t, img, 128<<10, 0, 255<<20) }, "cannot mount"},
		"half":       {truncated(128 << 20), "truncated: 128MiB of 256MiB"},
		"last block": {truncated(256<<20 - 4096), "truncated: "},
		"short":      {truncated(66 << 10), "no btrfs file system"},
		"empty":      {truncated(0), "no btrfs file system"},
		"text":       {func(t *testing.T, img string) { replaceFile(t, img, []byte("a letter to somebody\n")) }, "no btrfs file system"},
		"directory":  {func(t *testing.T, img string) { replaceFile(t, img, nil) }, "neither a file nor a block device"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			ctx := t.Context()
			createPool(t, s, "p", nil)
			createPool(t, s, "other", nil)
			addInstance(t, s, "p", "c1")
			img, good := s.dir.DiskFile("p"), filepath.Join(s.dir.Root, "good")
			if err := s.ReleasePool(ctx, "p"); err != nil {
				t.Fatal(err)
			}
			copyFile(t, img, good)
			c.damage(t, img)
			var before [32]byte
			if name != "directory" {
				before = sum(t, img)
			}
			err := s.AttachPool(ctx, "p")
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "cannot attach pool p: ") {
				t.Errorf("attach: %v, want %q", err, c.want)
			}
			if hint(err) == "" {
				t.Errorf("attach gives no hint: %v", err)
			}
			if name != "directory" && sum(t, img) != before {
				t.Error("the file was changed")
			}
			nothingAttached(t, s, img)
			if info, err := s.PoolInfo(ctx, "p"); err != nil || info.Attached {
				t.Errorf("info: %+v, %v", info, err)
			}
			if pools, err := s.Pools(ctx); err != nil || len(pools) != 2 {
				t.Errorf("list: %+v, %v", pools, err)
			}
			found := diagnosis(t, s, true)
			if len(found) != 1 || found[0].Severity != SeverityError || found[0].Remedy == "" {
				t.Errorf("doctor: %s", printed(found))
			}
			if _, err := s.Instances(ctx); err != nil {
				t.Errorf("instances of the other pool: %v", err)
			}
			if err := s.DeletePool(ctx, "p", false); err == nil {
				t.Error("it was deleted without force")
			}
			if err := errors.Join(os.RemoveAll(img), os.Rename(good, img), s.AttachPool(ctx, "p")); err != nil {
				t.Fatal(err)
			}
			if in, err := s.Instance(ctx, "c1"); err != nil || in.Pool != "p" {
				t.Errorf("with the file put right: %+v, %v", in, err)
			}
		})
	}
}

func truncated(size int64) func(t *testing.T, img string) {
	return func(t *testing.T, img string) {
		if err := os.Truncate(img, size); err != nil {
			t.Fatal(err)
		}
	}
}

// replaceFile puts a file with that content in the place of img; nil makes it a
// directory.
func replaceFile(t *testing.T, img string, content []byte) {
	t.Helper()
	err := os.Remove(img)
	if content == nil {
		err = errors.Join(err, os.Mkdir(img, 0o700))
	} else {
		err = errors.Join(err, os.WriteFile(img, content, 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// nothingAttached checks that no loop device has the file, and nothing is mounted
// at its pool's place.
func nothingAttached(t *testing.T, s *System, img string) {
	t.Helper()
	if loops, err := loopdev.Find(img); err != nil || len(loops) != 0 {
		t.Errorf("loop devices: %+v, %v", loops, err)
	}
	if mounted, err := isMountPoint(s.dir.MountPoint("p")); err != nil || mounted {
		t.Errorf("mounted: %v, %v", mounted, err)
	}
	if _, err := os.Lstat(s.dir.MountPoint("p")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its mount point is left: %v", err)
	}
}

// A file that is truncated under an attached pool is told of.
func TestTruncatedWhileAttached(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	if err := os.Truncate(s.dir.DiskFile("p"), 200<<20); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"error", "pool p", "truncated: 200MiB of 256MiB", "", ""})
	text := told(s)
	if pools, err := s.Pools(t.Context()); err != nil || pools[0].Status != "Truncated" || !strings.Contains(*text, "truncate -s 268435456 "+s.dir.DiskFile("p")) {
		t.Errorf("list: %+v, %v, told %q", pools, err, *text)
	}
	if info, err := s.PoolInfo(t.Context(), "p"); err != nil || info.Pool.Status != "Truncated" || !strings.HasSuffix(info.File.Problem, "truncated: 200MiB of 256MiB") || !strings.Contains(info.File.Remedy, "truncate -s") {
		t.Errorf("info: %+v, %+v, %v", info.File, info, err)
	}
	if err := s.DetachPool(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	if err := s.AttachPool(t.Context(), "p"); !strings.Contains(hint(err), "truncate -s 268435456 "+s.dir.DiskFile("p")) {
		t.Errorf("attach: %v, hint %q", err, hint(err))
	}
	if err := errors.Join(os.Truncate(s.dir.DiskFile("p"), 256<<20), s.AttachPool(t.Context(), "p")); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true)
}

// A copy that is only attached does not disturb: the pool's own file is mounted,
// under its own UUID, whichever of the two the kernel has seen last.
func TestAttachBesideIdleCopy(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	img, copied := s.dir.DiskFile("p"), filepath.Join(s.dir.Root, "copy.img")
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	copyFile(t, img, copied)
	dev := losetup(t, copied)
	at := mountDevice(t, dev, 0) // so that the copy is the newer one
	if err := errors.Join(os.WriteFile(filepath.Join(at, "newer"), nil, 0o600), unix.Unmount(at, 0)); err != nil {
		t.Fatal(err)
	}
	scan(t, dev)
	if err := s.AttachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	isOwn(t, s)
	// A copy that is mounted beside it gets another UUID (Linux 6.7), or is refused by the kernel.
	also := t.TempDir()
	if err := unix.Mount(dev, also, "btrfs", 0, ""); err == nil {
		t.Cleanup(func() { _ = unix.Unmount(also, 0) })
		isOwn(t, s)
		if err := s.DetachPool(ctx, "p"); err != nil {
			t.Fatal(err)
		}
		err := s.AttachPool(ctx, "p")
		if err == nil || !strings.Contains(err.Error(), "a copy of this pool is mounted from "+dev+" at "+also) {
			t.Errorf("attach beside a mounted copy: %v", err)
		}
		nothingAttached(t, s, img)
		if err := errors.Join(unix.Unmount(also, 0), s.AttachPool(ctx, "p")); err != nil {
			t.Fatal(err)
		}
		isOwn(t, s)
	}
	if _, err := os.Lstat(filepath.Join(s.dir.MountPoint("p"), "newer")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the copy is mounted: %v", err)
	}
}

// scan has btrfs look at a device, as udev does.
func scan(t *testing.T, dev string) {
	t.Helper()
	control, err := os.OpenFile("/dev/btrfs-control", os.O_RDWR, 0)
	if err != nil {
		t.Logf("no scan: %v", err)
		return
	}
	defer func() { _ = control.Close() }()
	if out, err := runProgram(t, "btrfs", "device", "scan", dev); err != nil {
		t.Fatalf("scan: %v: %s", err, out)
	}
}

// isOwn checks that what is mounted is the pool's file under the pool's UUID.
func isOwn(t *testing.T, s *System) {
	t.Helper()
	rec, err := s.loadPool("p")
	if err != nil {
		t.Fatal(err)
	}
	info, err := btrfs.FSInfo(s.dir.MountPoint("p"))
	if err != nil {
		t.Fatal(err)
	}
	loops, err := loopdev.Find(rec.Source)
	if err != nil || len(loops) != 1 || info.UUID != rec.UUID || len(info.Devices) != 1 || info.Devices[0].Path != loops[0].Path {
		t.Errorf("mounted: %+v, of %s from %+v, %v", info, rec.UUID, loops, err)
	}
}

// A copy that is mounted in another mount namespace is seen.
func TestAttachRefusesCopyElsewhere(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	img, copied := s.dir.DiskFile("p"), filepath.Join(s.dir.Root, "copy.img")
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	copyFile(t, img, copied)
	dev, at := losetup(t, copied), t.TempDir()
	elsewhere(t, "mount "+dev+" "+at)
	err := s.AttachPool(ctx, "p")
	if err == nil || !strings.Contains(err.Error(), "a copy of this pool is mounted from "+dev+" at "+at+" in the mount namespace of process ") || !strings.Contains(hint(err), "nsenter -t ") {
		t.Errorf("attach: %v, hint %q", err, hint(err))
	}
	nothingAttached(t, s, img)
}
