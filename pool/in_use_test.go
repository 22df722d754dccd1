package pool

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A pool in use is not detached, the refusal names who uses it, and it stays
// attached and usable; without them it is detached.
func TestDetachNamesItsUsers(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	mp := s.dir.MountPoint("p")
	for name, c := range map[string]struct {
		use  func(t *testing.T) (want string) // until the test ends
		hint string
	}{
		"bind mount": {func(t *testing.T) string { return "mounted at " + bound(t, filepath.Join(mp, "containers")) }, "umount /"},
		"two mounts": {func(t *testing.T) string { bound(t, mp); return "; it is mounted at " + bound(t, mp) }, "poolctl pool umount p "},
		"other namespace": {func(t *testing.T) string {
			elsewhere(t, "true")
			return "mounted at " + mp + " in the mount namespace of process "
		}, "nsenter -t "},
		"mount elsewhere": {inOther("mount --bind $1/images $2; umount $1", mp, " in the mount namespace of process "), "nsenter -t "},
		"lazy unmount":    {lazily(mp), "end what uses it"},
		"cwd":             {inOther("cd $1/images", mp, "working directory "+mp+"/images"), "close"},
		"open file":       {inOther("exec 5>$1/images/open", mp, "(sh, open file "+mp+"/images/open)"), "close"},
		"mount on it":     {func(t *testing.T) string { at := filepath.Join(mp, "custom"); onto(t, at); return "a mount at " + at }, "close"},
		"loop device":     {disk(mp), "close"},
		"swap file":       {swap(mp), "close"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("used", func(t *testing.T) {
				want := c.use(t)
				err := s.DetachPool(ctx, "p")
				if err == nil || !strings.HasPrefix(err.Error(), "cannot detach pool p: ") || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q", err, want)
				}
				if !strings.Contains(hint(err), c.hint) {
					t.Errorf("hint %q, want %q", hint(err), c.hint)
				}
				info, err := s.PoolInfo(ctx, "p")
				if err != nil || !info.Attached || len(info.Loop) != 1 {
					t.Errorf("it should be attached still: %+v, %v", info, err)
				}
				if err := os.WriteFile(filepath.Join(mp, "custom/works"), nil, 0o600); err != nil && name != "mount on it" {
					t.Error(err)
				}
			})
			if err := s.DetachPool(ctx, "p"); err != nil {
				t.Error(err)
			}
			if err := s.AttachPool(ctx, "p"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// inOther runs a shell command, with the pool's mount point and an empty
// directory as its arguments, in this mount namespace unless it says umount.
func inOther(command, mp, want string) func(t *testing.T) string {
	return func(t *testing.T) string {
		dir := t.TempDir()
		script := "set -- " + mp + " " + dir + "; " + command
		if strings.Contains(command, "umount") {
			elsewhere(t, script)
		} else {
			beside(t, script)
		}
		return want
	}
}

// lazily leaves an open file behind a lazy unmount of a bind mount.
func lazily(mp string) func(t *testing.T) string {
	return func(t *testing.T) string {
		at := t.TempDir()
		if err := unix.Mount(mp, at, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		beside(t, "exec 5<"+at+"/images")
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
		return "(sh, open file "
	}
}

// onto mounts a tmpfs at dir until the test ends.
func onto(t *testing.T, dir string) {
	t.Helper()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
}

// disk attaches a file in the pool to a loop device.
func disk(mp string) func(t *testing.T) string {
	return func(t *testing.T) string {
		path := filepath.Join(mp, "custom", "disk")
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<20)); err != nil {
			t.Fatal(err)
		}
		return losetup(t, path) + " on " + path
	}
}

// swap swaps to a file in the pool.
func swap(mp string) func(t *testing.T) string {
	return func(t *testing.T) string {
		path := filepath.Join(mp, "custom", "swap")
		for _, args := range [][]string{
			{"rm", "-f", path},
			{"truncate", "-s", "0", path},
			{"chattr", "+C", path},
			{"chmod", "600", path},
			{"fallocate", "-l", "4M", path},
			{"mkswap", "-q", path},
			{"swapon", path},
		} {
			if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %v: %s", args, err, out)
			}
		}
		t.Cleanup(func() {
			if out, err := exec.Command("swapoff", path).CombinedOutput(); err != nil {
				t.Errorf("swapoff: %v: %s", err, out)
			}
		})
		return "swapping to " + path
	}
}

// ReleasePool leaves the pool one that commands attach.
func TestReleasePool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	createPool(t, s, "away", nil)
	if err := errors.Join(s.ReleasePool(ctx, "p"), s.DetachPool(ctx, "away")); err != nil {
		t.Fatal(err)
	}
	if err := s.ReleasePool(ctx, "p"); err != nil {
		t.Errorf("again: %v", err)
	}
	names, err := s.PoolsToAttach()
	if err != nil || fmt.Sprint(names) != "[p]" {
		t.Errorf("pools to attach: %v, %v", names, err)
	}
	if err := os.WriteFile(filepath.Join(s.dir.Pools(), "torn.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	names, err = s.PoolsToAttach()
	if err != nil || fmt.Sprint(names) != "[p torn]" {
		t.Errorf("with a damaged record: %v, %v", names, err)
	}
	if err := s.AttachPool(ctx, "torn"); err == nil {
		t.Error("a pool with a damaged record was attached")
	}
	if err := os.Remove(filepath.Join(s.dir.Pools(), "torn.json")); err != nil {
		t.Fatal(err)
	}
}
