package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/loopdev"
	"poolctl/pool/state"
)

// A copy of a detached pool's file that the user has mounted is never taken for the
// pool: no command tells of it as the pool's file moved, makes it the pool, or
// ends its mount.
func TestMountedCopyIsNotThePool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	img, copied := s.dir.DiskFile("p"), filepath.Join(s.dir.Root, "copy.img")
	copyFile(t, img, copied)
	at := mountDevice(t, losetup(t, copied), 0)
	text := told(s)
	if pools, err := s.Pools(ctx); err != nil || *text != "" || pools[0].Status != "Detached" {
		t.Errorf("list: %+v, %v, told %q", pools, err, *text)
	}
	if info, err := s.PoolInfo(ctx, "p"); err != nil || info.File.Problem != "" || info.File.Path != img || len(info.Loop) != 0 || len(info.Strangers) != 0 {
		t.Errorf("info: %+v, %+v, %v", info.File, info, err)
	}
	err := s.AttachPoolFrom(ctx, "p", copied)
	if err == nil || !strings.Contains(err.Error(), "from "+copied+": it is a copy: the pool is still at "+img) || !strings.Contains(hint(err), "poolctl pool forget p") {
		t.Errorf("attach --source: %v, hint %q", err, hint(err))
	}
	if rec, err := s.loadPool("p"); err != nil || rec.Source != img {
		t.Errorf("the record: %+v, %v", rec, err)
	}
	if err := s.AttachPool(ctx, "p"); err == nil || !strings.Contains(err.Error(), "a copy of this pool is mounted") {
		t.Errorf("attach: %v", err)
	}
	if err := errors.Join(s.DetachPool(ctx, "p"), s.UnmountPool(ctx, "p", "")); err != nil {
		t.Errorf("detach of what is detached, and unmount: %v", err)
	}
	if mounted, err := isMountPoint(at); err != nil || !mounted {
		t.Fatalf("the user's mount: %v, %v", mounted, err)
	}
	if source, err := s.ForgetPool(ctx, "p"); err != nil || source != img {
		t.Errorf("forget: %q, %v", source, err)
	}
	if err := unix.Access(img, unix.F_OK); err != nil {
		t.Errorf("the pool's file: %v", err)
	}
}

// What `pool attach` says of a copy works: with the original renamed away the copy
// is the pool.
func TestCopyBecomesThePool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	img, copied := s.dir.DiskFile("p"), filepath.Join(s.dir.Root, "copy.img")
	copyFile(t, img, copied)
	dev := losetup(t, copied)
	at := mountDevice(t, dev, 0)
	if err := errors.Join(os.Rename(img, img+".away"), s.AttachPoolFrom(ctx, "p", copied)); err != nil {
		t.Fatal(err)
	}
	if info, err := s.PoolInfo(ctx, "p"); err != nil || !info.Attached || info.File.Path != copied || info.File.Problem != "" {
		t.Errorf("info: %+v, %v", info, err)
	}
	if err := errors.Join(unix.Unmount(at, 0), s.DetachPool(ctx, "p")); err != nil {
		t.Error(err)
	}
	if err := unix.Access(img+".away", unix.F_OK); err != nil {
		t.Error(err)
	}
}

// A second device of the pool's file, mounted beside it, has a temporary UUID
// (Linux 6.7), also when the pool is detached then: attaching it does not take that
// device for its own, and leaves nothing.
func TestAttachBesideTemporaryMount(t *testing.T) {
	for _, flags := range []uintptr{0, unix.MS_RDONLY} {
		s := newSystem(t)
		ctx := t.Context()
		createPool(t, s, "p", nil)
		img := s.dir.DiskFile("p")
		dev := losetup(t, img)
		at := mountDevice(t, dev, flags)
		if err := s.DetachPool(ctx, "p"); err != nil {
			t.Fatal(err)
		}
		err := s.AttachPool(ctx, "p")
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dev) || !strings.Contains(err.Error(), " at "+at) || hint(err) != "umount "+at+" && losetup -d "+dev {
			t.Errorf("attach: %v, hint %q", err, hint(err))
		}
		if loops, err := loopdev.Find(img); err != nil || len(loops) != 1 {
			t.Errorf("loop devices: %+v, %v", loops, err)
		}
		if mounted, err := isMountPoint(s.dir.MountPoint("p")); err != nil || mounted {
			t.Errorf("it is left mounted: %v", err)
		}
		// A mount that a failed or killed attach left at the pool's place is taken away.
		mp := s.dir.MountPoint("p")
		if err := errors.Join(os.MkdirAll(mp, 0o700), unix.Mount(dev, mp, "btrfs", flags, ""), unix.Unmount(at, 0)); err != nil {
			t.Fatal(err)
		}
		if err := s.AttachPool(ctx, "p"); err != nil {
			t.Errorf("after its umount: %v", err)
		}
		if attached, err := s.isAttached(mustLoad(t, s, "p")); err != nil || !attached {
			t.Errorf("attached: %v, %v", attached, err)
		}
		if err := s.DetachPool(ctx, "p"); err != nil {
			t.Error(err)
		}
	}
}

func mustLoad(t *testing.T, s *System, name string) state.PoolRecord {
	t.Helper()
	rec, err := s.loadPool(name)
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// A pool on a block device that is a loop device is no copy of itself, attached or
// not, by whichever name.
func TestDoctorDevicePool(t *testing.T) {
	dev, _ := newDevice(t, 256<<20)
	link := filepath.Join(t.TempDir(), "by-id")
	if err := os.Symlink(dev, link); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"source": link})
	finds(t, s, true)
	if err := s.DetachPool(t.Context(), "p"); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true)
	overwrite(t, dev, 128<<10, 0, 255<<20)
	finds(t, s, true, want{"error", "pool p", "it cannot be attached: btrfs refuses it", "poolctl pool check p", ""})
}

// A copy that mount(8) attached goes with its mount: the doctor's remedy works.
func TestDoctorCopyRemedy(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	copied, at := filepath.Join(s.dir.Root, "copy.img"), t.TempDir()
	copyFile(t, s.dir.DiskFile("p"), copied)
	run(t, "mount", "-o", "loop", copied, at)
	t.Cleanup(func() { _ = unix.Unmount(at, 0) })
	found := diagnosis(t, s, false)
	if len(found) != 1 || !strings.Contains(found[0].Problem, "has a copy of it: "+copied) {
		t.Fatalf("found %s", printed(found))
	}
	run(t, "sh", "-ec", found[0].Remedy)
	finds(t, s, false)
}
