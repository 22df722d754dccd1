package restore

import "golang.org/x/sys/unix"

// WritebackStride is how many bytes of a large file, in whatever order they come, are
// written before StartWriteback is due: a file may have hundreds of megabytes, and be
// the last.
const WritebackStride = 4 << 20

// StartWriteback begins to write what there is of a file of size bytes to the disk and does
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
