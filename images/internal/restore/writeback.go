package restore

import "golang.org/x/sys/unix"

// writebackStride is how much of a large file begins to go to the disk at a time.
const writebackStride = 4 << 20

// StartWriteback begins to write a complete file of size bytes to the disk and does
// not wait for it (sync_file_range(2)). The kernel would leave it in memory for half
// a minute: then the sync that an image is committed with has all of the image to
// write, after the last byte has come. A file of less than a block is part of the
// file system's own tables and waits for these.
//
// It promises nothing, so a failure means nothing: the sync does it all.
func StartWriteback(fd int, size int64) {
	if size >= block {
		_ = unix.SyncFileRange(fd, 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	}
}

// WritebackBehind is StartWriteback for the part of a file that ends at an offset, each
// time that this has come to a multiple of 4 MiB: a file may have hundreds of them, and
// be the last. What is written later than what follows it waits for StartWriteback.
func WritebackBehind(fd int, end int64) {
	if end%writebackStride == 0 {
		_ = unix.SyncFileRange(fd, end-writebackStride, writebackStride, unix.SYNC_FILE_RANGE_WRITE)
	}
}
