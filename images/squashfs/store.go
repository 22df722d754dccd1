package squashfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// store keeps a squashfs, of which head has been read, in an anonymous file in
// dir. The file may be padded, up to limit bytes.
func store(ctx context.Context, head []byte, r io.Reader, dir string, s Super, limit int64) (_ *os.File, err error) {
	f, err := tempFile(dir)
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
	size, err := copyAll(ctx, f, r, limit)
	if err != nil {
		return nil, err
	}
	if size += int64(len(head)); uint64(size) < s.BytesUsed {
		return nil, fmt.Errorf("it is cut short: %d of %d bytes", size, s.BytesUsed)
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
				return total, &LimitError{What: "bytes", Limit: limit}
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
