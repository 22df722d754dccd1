package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Store keeps a file, of which head has been read, in a file without a name in
// dir, which ends with its descriptor. More than limit bytes are a *LimitError. Errors
// of r and pass come out unchanged.
func Store(ctx context.Context, head []byte, r io.Reader, dir string, limit int64, pass Pass) (_ *os.File, err error) {
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
	return f, copyAll(ctx, f, r, limit-int64(len(head)), limit, pass)
}

// copyAll copies r to its end; reading ahead is left to the pipe or socket that r
// reads from.
func copyAll(ctx context.Context, f *os.File, r io.Reader, room, limit int64, pass Pass) error {
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf)
		if n > 0 {
			if room -= int64(n); room < 0 {
				return &LimitError{What: "bytes", Limit: limit}
			}
			if perr := pass.Before(n); perr != nil {
				return perr
			}
			if _, werr := f.Write(buf[:n]); werr != nil {
				return fmt.Errorf("cannot store it: %w", werr)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// tempFile opens a file that has no name, and so disappears with its descriptor
// whatever happens (open(2), O_TMPFILE); on file systems without that, one whose
// name is removed at once.
func tempFile(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), dir+"/(temporary)"), nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, fmt.Errorf("cannot make a temporary file in %s: %w", dir, err)
	}
	f, err := os.CreateTemp(dir, ".image-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a temporary file in %s: %w", dir, err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot make a temporary file in %s: %w", dir, err), f.Close())
	}
	return f, nil
}
