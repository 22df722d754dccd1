package pool

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/loopdev"
)

// losetup attaches the file behind poolctl's back, as a person would, until the
// test ends, and returns the device.
func losetup(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "losetup", append([]string{"-f", "--show"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "losetup", "-d", dev).Run() }) // the test may have done it
	return dev
}

// runProgram runs a program to its end.
func runProgram(t *testing.T, name string, args ...string) (output string, err error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	return string(out), err
}

// mountDevice mounts a device until the test ends.
func mountDevice(t *testing.T, dev string, flags uintptr) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount(dev, dir, "btrfs", flags, ""); err != nil {
		t.Fatalf("cannot mount %s: %v", dev, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, 0) }) // the test may have done it
	return dir
}

// bound shows dir at another place, until the test ends.
func bound(t *testing.T, dir string) string {
	t.Helper()
	at := t.TempDir()
	if err := unix.Mount(dir, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, 0) })
	return at
}

// hint is the hint of an error; "" when it has none.
func hint(err error) string {
	var hinted interface{ Hint() string }
	if errors.As(err, &hinted) {
		return hinted.Hint()
	}
	return ""
}

// A second loop device on a pool's file, which poolctl did not make, is reported
// by whatever name of the file it was attached, and whatever part it shows.
func TestStrangersAreReported(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	img := s.dir.DiskFile("p")
	soft, hard := filepath.Join(t.TempDir(), "soft"), filepath.Join(s.dir.Disks(), "hard.img")
	if err := errors.Join(os.Symlink(img, soft), os.Link(img, hard)); err != nil {
		t.Fatal(err)
	}
	other := bound(t, s.dir.Disks())
	for name, args := range map[string][]string{
		"same name": {img}, "symbolic link": {soft}, "hard link": {hard}, "bind mount": {filepath.Join(other, "p.img")},
		"part": {"-o", "1048576", img}, "limited": {"--sizelimit", "64M", img}, "read-only": {"-r", img},
	} {
		t.Run(name, func(t *testing.T) {
			dev := losetup(t, args...)
			var told string
			s.notice = func(l string) { told += l }
			if err := s.AttachPool(ctx, "p"); err != nil {
				t.Error(err)
			}
			if !strings.Contains(told, dev) || !strings.Contains(told, "losetup -d "+dev) {
				t.Errorf("told of %s: %q", dev, told)
			}
			info, err := s.PoolInfo(ctx, "p")
			if err != nil || len(info.Loop) != 2 || len(info.Strangers) != 1 || info.Strangers[0].Device != dev || info.Strangers[0].Harmful {
				t.Errorf("info: %+v, %v", info, err)
			}
			if err := exec.Command("losetup", "-d", dev).Run(); err != nil {
				t.Error(err)
			}
			if info, err := s.PoolInfo(ctx, "p"); err != nil || len(info.Strangers) != 0 {
				t.Errorf("info without it: %+v, %v", info, err)
			}
		})
	}
}

// What a stranger's device is used for is told, and decides whether it destroys
// the pool. Linux 6.7 and later mount the second device under another UUID
// without a word.
func TestStrangersInUse(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	rec, err := s.loadPool("p")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("mounted", func(t *testing.T) {
		dev := losetup(t, rec.Source)
		at := mountDevice(t, dev, 0)
		err := s.refuseStrangers(rec)
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dev) || !strings.Contains(err.Error(), "mounted at "+at) {
			t.Errorf("while it is mounted: %v", err)
		}
		if h := hint(err); h != "umount "+at+" && losetup -d "+dev {
			t.Errorf("hint %q", h)
		}
		if err := s.DeletePool(t.Context(), "p", true); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dev) {
			t.Errorf("delete while it is mounted: %v", err)
		}
	})
	t.Run("mounted in another namespace", func(t *testing.T) {
		dev, at := losetup(t, rec.Source), t.TempDir()
		elsewhere(t, `mount `+dev+` `+at)
		err := s.refuseStrangers(rec)
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), at+" in the mount namespace of process ") || !strings.Contains(hint(err), "nsenter -t ") {
			t.Errorf("while it is mounted elsewhere: %v, hint %q", err, hint(err))
		}
	})
	t.Run("open for writing", func(t *testing.T) {
		dev := losetup(t, rec.Source)
		elsewhere(t, `exec 3<>`+dev)
		if err := s.refuseStrangers(rec); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "open for writing by process ") {
			t.Errorf("while it is open: %v", err)
		}
	})
	t.Run("open for reading", func(t *testing.T) {
		dev := losetup(t, rec.Source)
		elsewhere(t, `exec 3<`+dev)
		if err := s.refuseStrangers(rec); err != nil {
			t.Errorf("while it is open for reading: %v", err)
		}
	})
	t.Run("mounted read-only", func(t *testing.T) {
		dev := losetup(t, "-r", rec.Source)
		at := mountDevice(t, dev, unix.MS_RDONLY)
		var told string
		s.notice = func(l string) { told += l }
		if err := s.refuseStrangers(rec); err != nil {
			t.Errorf("while it is mounted read-only: %v", err)
		}
		if !strings.Contains(told, "mounted read-only at "+at) {
			t.Errorf("told: %q", told)
		}
	})
	if err := s.refuseStrangers(rec); err != nil {
		t.Errorf("without any: %v", err)
	}
}

// elsewhere runs a shell command in a mount namespace of its own, which stays
// until the test ends.
func elsewhere(t *testing.T, command string) {
	t.Helper()
	background(t, command, "unshare", "-m", "--propagation", "private")
}

// beside runs a shell command that stays until the test ends.
func beside(t *testing.T, command string) {
	t.Helper()
	background(t, command)
}

func background(t *testing.T, command string, prefix ...string) {
	t.Helper()
	argv := append(prefix, "sh", "-ec", command+"; echo ready; read x")
	cmd := exec.CommandContext(context.Background(), argv[0], argv[1:]...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait() // read(1) fails at the end of its input
	})
	if _, err := out.Read(make([]byte, 16)); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
}

// A stranger that has the file mounted writable keeps the pool from being
// attached with another device; the device itself may be used.
func TestAttachWithStrangers(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	img := s.dir.DiskFile("p")
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	idle, used := losetup(t, img), losetup(t, img)
	at := mountDevice(t, used, 0)
	if err := s.AttachPool(ctx, "p"); err != nil {
		t.Fatalf("attach beside a mount of it: %v", err)
	}
	info, err := s.PoolInfo(ctx, "p")
	if err != nil || len(info.Strangers) != 1 || info.Strangers[0].Device != idle {
		t.Errorf("it should use %s, which is mounted: %+v, %v", used, info.Strangers, err)
	}
	if err := errors.Join(unix.Unmount(at, 0), s.DetachPool(ctx, "p")); err != nil {
		t.Fatal(err)
	}

	// Both devices free: one of them is used, and the other gets a mount of its own.
	at = mountDevice(t, idle, 0)
	second := mountDevice(t, used, 0)
	err = s.AttachPool(ctx, "p")
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), second) {
		t.Errorf("attach beside two mounts of the file: %v", err)
	}
	if err := errors.Join(unix.Unmount(at, 0), unix.Unmount(second, 0)); err != nil {
		t.Fatal(err)
	}
}

// A stranger's device that shows only a part of the file is not the pool.
func TestPartOfFileIsRefused(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	for _, args := range [][]string{{"-o", "4096"}, {"--sizelimit", "64M"}, {"-r"}} {
		if err := s.DetachPool(ctx, "p"); err != nil {
			t.Fatal(err)
		}
		dev := losetup(t, append(args, s.dir.DiskFile("p"))...)
		err := s.AttachPool(ctx, "p")
		if err == nil || !strings.Contains(err.Error(), dev) || !strings.Contains(err.Error(), "part") && !strings.Contains(err.Error(), "read-only") {
			t.Errorf("losetup %v: %v", args, err)
		}
		loops, err := loopdev.Find(s.dir.DiskFile("p"))
		if err != nil || len(loops) != 1 {
			t.Fatalf("%+v, %v", loops, err)
		}
		if err := loopdev.Detach(loops[0].Number); err != nil {
			t.Error(err)
		}
		if err := s.AttachPool(ctx, "p"); err != nil {
			t.Error(err)
		}
	}
}
