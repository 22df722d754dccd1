package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain: with BTRFS_TEST_MKFS this binary is a child that makes a file system on that file.
func TestMain(m *testing.M) {
	if image := os.Getenv("BTRFS_TEST_MKFS"); image != "" {
		fmt.Println(Mkfs(context.Background(), image, nil, MkfsOptions{}))
		os.Exit(1)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "btrfs: the tests make and mount real file systems: run them as root")
		os.Exit(1)
	}
	if err := Check(); err != nil {
		fmt.Fprintln(os.Stderr, "btrfs:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// newImage makes a sparse file with a file system. It is in memory: what else
// the machine writes would delay every commit.
func newImage(t testing.TB, size int64, o MkfsOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "memory")
	must(t, os.Mkdir(dir, 0o700))
	must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=2g,mode=0700"))
	t.Cleanup(func() { unmount(t, dir) })
	path := filepath.Join(dir, "fs.img")
	if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
		t.Fatal(err)
	}
	if err := Mkfs(context.Background(), path, nil, o); err != nil {
		t.Fatal(err)
	}
	return path
}

// mountImage mounts a file system image until the test ends.
func mountImage(t testing.TB, image string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	run(t, "mount", "-t", "btrfs", "-o", "loop,user_subvol_rm_allowed", image, dir)
	t.Cleanup(func() { unmount(t, dir) })
	return dir
}

func unmount(t testing.TB, dir string) {
	var err error
	for range 300 {
		if err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW); !errors.Is(err, unix.EBUSY) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		t.Errorf("cannot unmount %s: %v", dir, err)
	}
}

// newFS mounts a new file system.
func newFS(t testing.TB) string {
	t.Helper()
	return mountImage(t, newImage(t, 1<<30, MkfsOptions{}))
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

func exists(t testing.TB, path string) bool {
	t.Helper()
	_, err := os.Lstat(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// wantErr checks that an error is of a kind.
func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}
