package diff

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "diff: the tests make and mount real file systems: run them as root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// newFS mounts a new file system, in memory, until the test ends.
func newFS(t testing.TB, options string) string {
	t.Helper()
	path := testfs.Image(t, 1<<30)
	must(t, btrfs.Mkfs(context.Background(), path, nil, btrfs.MkfsOptions{}))
	return testfs.Mount(t, path, options)
}

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}
