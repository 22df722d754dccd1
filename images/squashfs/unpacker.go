package squashfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Unpacker writes the tree of the squashfs file r below the open directory dir,
// which exists and is empty; the file system's root becomes dir itself. It reads
// r to its end and then calls received, before it trusts what it read as far as
// its way of working allows; an error of received ends it.
type Unpacker interface {
	Unpack(ctx context.Context, r io.Reader, dir *os.File, received func() error) error
}

// Limits bound what a squashfs may ask for; zero fields mean no limit.
type Limits struct {
	Inodes int64 // files, directories, links
	Bytes  int64 // the squashfs file itself, and each file in it (apparent size)
}

// LimitError says which limit a squashfs exceeds.
type LimitError struct {
	What  string
	Limit int64
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("it exceeds the limit of %d %s", e.Limit, e.What)
}

// receive stores r in an anonymous file in tempDir, with its superblock checked
// as soon as that has come in, and returns it ready for reading.
func receive(ctx context.Context, r io.Reader, tempDir string, l Limits) (_ *os.File, err error) {
	head := make([]byte, SuperSize)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	super, err := ParseSuper(head[:n])
	if err != nil {
		return nil, err
	}
	if l.Inodes > 0 && int64(super.Inodes) > l.Inodes {
		return nil, &LimitError{"inodes", l.Inodes}
	}
	if l.Bytes > 0 && super.BytesUsed > uint64(l.Bytes) {
		return nil, &LimitError{"bytes", l.Bytes}
	}
	f, err := tempFile(tempDir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if _, err := f.Write(head); err != nil {
		return nil, fmt.Errorf("cannot store it: %w", err)
	}
	size, err := copyAll(ctx, f, r, l.Bytes)
	if err != nil {
		return nil, err
	}
	if size += SuperSize; uint64(size) < super.BytesUsed {
		return nil, fmt.Errorf("it is cut short: %d of %d bytes", size, super.BytesUsed)
	}
	return f, nil
}

// copyAll copies r to its end; reading ahead is left to the pipe or socket that r
// reads from. An error of r comes out unchanged.
func copyAll(ctx context.Context, f *os.File, r io.Reader, limit int64) (total int64, err error) {
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := f.Write(buf[:n]); werr != nil {
				return total, fmt.Errorf("cannot store it: %w", werr)
			}
			if total += int64(n); limit > 0 && total > limit {
				return total, &LimitError{"bytes", limit}
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// tempFile opens a file that has no name, and so disappears with its descriptor
// whatever happens (open(2), O_TMPFILE); on file systems without that, one whose
// name is removed at once.
func tempFile(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(squashfs)"), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, fmt.Errorf("cannot make a temporary file in %s: %w", dir, err)
	}
	f, err := os.CreateTemp(dir, ".squashfs-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a temporary file in %s: %w", dir, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make a temporary file in %s: %w", dir, err), f.Close())
	}
	return f, nil
}
