package loopdev

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOpenHolds(t *testing.T) {
	path := tempFile(t, 1<<20)
	d := mustAttach(t, path, AttachOptions{})
	second, err := Open(d.Number())
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if i, err := second.Info(); err != nil || i.BackingFile != path {
		t.Errorf("not held: %+v, %v", i, err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	noDevice(t, path)
}

func TestNotAttached(t *testing.T) {
	n := freshNumber(t)
	if d, err := Open(n); !errors.Is(err, ErrNotAttached) {
		t.Errorf("Open of a free device: %v, %v", d, err)
	}
	if err := Detach(n); !errors.Is(err, ErrNotAttached) {
		t.Errorf("Detach of a free device: %v", err)
	}
	if err := SetCapacity(n); !errors.Is(err, ErrNotAttached) {
		t.Errorf("SetCapacity of a free device: %v", err)
	}
	if _, err := Open(1 << 19); !errors.Is(err, ErrNotAttached) {
		t.Errorf("Open of a device that does not exist: %v", err)
	}
	if _, err := Open(-1); !errors.Is(err, unix.EINVAL) {
		t.Errorf("Open(-1): %v", err)
	}
}

// freshNumber makes a loop device far from the numbers that the kernel names to
// others, and removes it after the test.
func freshNumber(t *testing.T) int {
	t.Helper()
	control, err := openControl()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = control.Close() })
	fd := int(control.Fd())
	for n := 5000 + os.Getpid()%5000; ; n++ {
		err := unix.IoctlSetInt(fd, unix.LOOP_CTL_ADD, n)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.IoctlSetInt(fd, unix.LOOP_CTL_REMOVE, n); err != nil {
				t.Errorf("cannot remove loop device %d: %v", n, err)
			}
		})
		return n
	}
}

// A /dev that is no devtmpfs lacks the nodes of new devices.
func TestMissingNodeIsMade(t *testing.T) {
	n := freshNumber(t)
	node := filepath.Join(t.TempDir(), "loop"+strconv.Itoa(n))
	f, err := openNode(node, os.O_RDONLY, unix.S_IFBLK, sysPath(n, "dev"))
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	var made, real unix.Stat_t
	if err := errors.Join(unix.Stat(node, &made), unix.Stat(devicePath(n), &real)); err != nil {
		t.Fatal(err)
	}
	if made.Mode != unix.S_IFBLK|0o640 && made.Mode != unix.S_IFBLK|0o660 || made.Rdev != real.Rdev {
		t.Errorf("made mode %o device %#x, want device %#x", made.Mode, made.Rdev, real.Rdev)
	}
	if _, err := openNode(node+"x", os.O_RDONLY, unix.S_IFBLK, sysPath(1<<19, "dev")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a device that the kernel does not have: %v", err)
	}
}

func TestDetachWhileInUse(t *testing.T) {
	path := tempFile(t, 1<<20)
	d := mustAttach(t, path, AttachOptions{})
	if err := Detach(d.Number()); err != nil {
		t.Fatalf("Detach of a device in use: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	noDevice(t, path)
}

func TestDetach(t *testing.T) {
	path := tempFile(t, 1<<20)
	attachStranger(t, path) // stays without a user: no autoclear
	found, err := Find(path)
	if err != nil || len(found) != 1 {
		t.Fatalf("Find: %v, %v", found, err)
	}
	if err := Detach(found[0].Number); err != nil {
		t.Fatal(err)
	}
	noDevice(t, path)
}

func TestSetCapacity(t *testing.T) {
	path := tempFile(t, 1<<20)
	d := mustAttach(t, path, AttachOptions{})
	for _, size := range []int64{4 << 20, 2 << 20} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if err := SetCapacity(d.Number()); err != nil {
			t.Fatal(err)
		}
		if i := mustInfo(t, d); i.Size != uint64(size) {
			t.Errorf("the device has %d bytes, the file %d", i.Size, size)
		}
	}
}

func TestFindNothing(t *testing.T) {
	path := tempFile(t, 1<<20)
	if found, err := Find(path); err != nil || len(found) != 0 {
		t.Errorf("Find of a free file: %v, %v", found, err)
	}
	if _, err := Find(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Find of no file: %v", err)
	}
}

// A deleted backing file is still identified.
func TestDeletedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	d := mustAttach(t, path, AttachOptions{})
	before := mustInfo(t, d)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	after := mustInfo(t, d)
	if after.id() != before.id() || after.BackingFile != path+" (deleted)" {
		t.Errorf("after the removal: %+v", after)
	}
}

func FuzzParseDevNumber(f *testing.F) {
	for _, s := range []string{"7:3\n", "10:237\n", "7", ":", "a:b", "-1:2", "4294967296:0", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parseDevNumber(text)
		if err == nil && unix.Mkdev(unix.Major(n), unix.Minor(n)) != n {
			t.Errorf("%q gives %#x, which is no device number", text, n)
		}
	})
}

func BenchmarkAttach(b *testing.B) {
	path := filepath.Join(b.TempDir(), "disk.img")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<30)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		d, _, err := Hold(context.Background(), path, AttachOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFind(b *testing.B) {
	for b.Loop() {
		if _, err := Find("/proc/self/exe"); err != nil {
			b.Fatal(err)
		}
	}
}
