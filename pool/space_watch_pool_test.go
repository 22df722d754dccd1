package pool

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// TestImportThatFillsThePool: what has no end, and an archive that is much larger than it seems, are given up while there
// is room, and what they took is free at once.
func TestImportThatFillsThePool(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	mp := s.dir.MountPoint("p1")
	before, err := btrfs.GetUsage(mp)
	ok(t, err)
	f := newImageFiles(t)
	bomb := f.made(t, "bomb.tar.zst", "(mkdir -p d && (yes pattern | head -c 1G) > d/big && tar -c -C d big | zstd -q -c; rm -r d)")
	endless := readerOf(func(b []byte) (int, error) { return len(b), nil })
	for _, files := range [][]string{{"-"}, {f.meta, bomb}} {
		_, err := s.ImportImage(t.Context(), ImportImageOptions{Files: files, Stdin: endless})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "it was given up") {
			t.Errorf("%q: %v", files, err)
		}
		after, err := btrfs.GetUsage(mp)
		ok(t, err)
		if after.Free+(8<<20) < before.Free {
			t.Errorf("%q: %d bytes are free, and %d were", files, after.Free, before.Free)
		}
		if left, err := filepath.Glob(mp + "/.poolctl/staging/*"); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
		if len(files) == 2 {
			addInstance(t, s, "p1", "c1")
		}
	}
	if _, err := s.ImportImage(t.Context(), ImportImageOptions{Files: []string{"/dev/zero"}}); err == nil || !strings.Contains(err.Error(), "/dev/zero is a device") {
		t.Errorf("a device: %v", err)
	}
}
