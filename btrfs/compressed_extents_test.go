package btrfs

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCompressedExtents: btrfs compresses 128 KiB at a time.
func TestCompressedExtents(t *testing.T) {
	mnt := newFS(t)
	for compression, want := range map[string]int{"none": 0, "zstd": 8} {
		f, err := os.Create(mnt + "/" + compression)
		must(t, err)
		must(t, unix.Fsetxattr(int(f.Fd()), "btrfs.compression", []byte(compression), 0))
		_, err = f.Write(make([]byte, 1<<20))
		must(t, err)
		must(t, WriteOut(f))
		for part := range int64(2) {
			if got, err := CompressedExtents(f, 1<<19<<part); err != nil || got != want>>(1-part) {
				t.Errorf("%s: %d in %d bytes, %v", compression, got, 1<<19<<part, err)
			}
		}
		must(t, f.Close())
		if _, err := CompressedExtents(f, 1); err == nil {
			t.Error("a closed file has some")
		}
	}
}
