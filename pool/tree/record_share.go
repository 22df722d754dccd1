package tree

import (
	"bytes"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// shareUnit is the most that btrfs compresses as one extent: of what is compressed, less is not worth sharing
// (BTRFS_MAX_UNCOMPRESSED in the kernel's fs/btrfs/compression.h).
const shareUnit = 128 << 10

// sharingWriter writes a record that begins as the one that is there, such as one with one more snapshot at the end of its list.
// What they have in common is not written but shared (FICLONERANGE, ioctl_ficlonerange(2)), in whole units; what cannot be
// shared is written.
type sharingWriter struct {
	to io.Writer
	// file is to, where it can share; from is the record that is there, with raw in it.
	file, from *os.File
	raw        []byte
	// same is how much was the same so far and is not written; -1 from the first difference on.
	same int
}

// newSharingWriter is a writer to a file that may share what the document old has, if it is from the file at path and that still
// is the same.
func newSharingWriter(to io.Writer, old document, path string) *sharingWriter {
	w := &sharingWriter{to: to, same: -1}
	file, ok := to.(*os.File)
	if !ok || len(old.raw) < shareUnit {
		return w
	}
	from, err := openFile(path)
	if err != nil { // then all is written
		return w
	}
	if is, err := identityOf(from); err != nil || is != old.is {
		_ = from.Close() // it was not even read
		return w
	}
	w.file, w.from, w.raw, w.same = file, from, old.raw, 0
	return w
}

func (w *sharingWriter) Write(p []byte) (int, error) {
	if w.same >= 0 {
		if rest := w.raw[w.same:]; len(rest) >= len(p) && bytes.Equal(rest[:len(p)], p) {
			w.same += len(p)
			return len(p), nil
		}
		if err := w.differ(); err != nil {
			return 0, err
		}
	}
	return w.to.Write(p)
}

// differ puts what was the same into the file; from then on all is written.
func (w *sharingWriter) differ() error {
	if w.same < 0 {
		return nil
	}
	held := w.raw[:w.same]
	w.same = -1
	if n := sharedUnits(int64(len(held))); n > 0 && shareBeginning(w.file, w.from, n) == nil {
		held = held[n:]
	}
	_, err := w.to.Write(held)
	return err
}

// Close writes what is left. It does not close the file.
func (w *sharingWriter) Close() error {
	err := w.differ()
	if w.from != nil {
		err = errors.Join(err, w.from.Close())
	}
	return err
}

// sharedUnits is how much of the first size bytes can be shared.
func sharedUnits(size int64) int64 { return size / shareUnit * shareUnit }

// shareBeginning has the empty file to share its first size bytes, whole units, with another one, and goes on behind them. After an
// error, nothing is shared.
func shareBeginning(to, from *os.File, size int64) error {
	err := unix.IoctlFileCloneRange(int(to.Fd()), &unix.FileCloneRange{Src_fd: int64(from.Fd()), Src_length: uint64(size)})
	if err == nil {
		_, err = to.Seek(size, io.SeekStart)
	}
	if err != nil {
		return errors.Join(err, to.Truncate(0))
	}
	return nil
}
