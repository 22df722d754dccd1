package pool

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Running out of room on the host makes btrfs give up the pool's file system:
// an image that may not fit there once it is unpacked is refused before that.
func TestHostSpaceIsAskedFor(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	host := t.TempDir()
	if err := unix.Mount("tmpfs", host, "tmpfs", 0, "size=160m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.DeletePool(context.Background(), "p", true); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(host, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	createPool(t, s, "p", map[string]string{"size": "1GiB", "source": filepath.Join(host, "p.img")})
	rec, err := s.dir.LoadPool("p")
	if err != nil {
		t.Fatal(err)
	}
	const compressed = 3 << 20
	if err := s.checkSpace(ctx, rec, compressed); err != nil {
		t.Errorf("with room for it: %v", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(host, &st); err != nil {
		t.Fatal(err)
	}
	fill, err := os.Create(filepath.Join(host, "fill"))
	if err == nil {
		err = unix.Fallocate(int(fill.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-2*compressed)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fill.Close() }()
	if err := s.checkSpace(ctx, rec, compressed); err == nil || !strings.Contains(err.Error(), "on the host") {
		t.Errorf("with room for the compressed files only: %v", err)
	}
}
