package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"poolctl/fixtures/testfs"
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

// newImage makes a sparse file with a file system, in memory.
func newImage(t testing.TB, size int64, o MkfsOptions) string {
	t.Helper()
	path := testfs.Image(t, size)
	must(t, Mkfs(context.Background(), path, nil, o))
	return path
}

// mountImage mounts a file system image until the test ends.
func mountImage(t testing.TB, image string) string {
	t.Helper()
	return testfs.Mount(t, image, "user_subvol_rm_allowed")
}

// newFS mounts a new file system.
func newFS(t testing.TB) string {
	t.Helper()
	return mountImage(t, newImage(t, 1<<30, MkfsOptions{}))
}

func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	return testfs.Run(t, name, args...)
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
