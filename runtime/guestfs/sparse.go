package guestfs

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// CopyContent copies a regular file from its beginning to its end, until ctx ends. Its
// holes become holes (man lseek, SEEK_DATA) in an empty regular file, to: else a
// guest's file of many terabytes, which costs it nothing, fills the host.
func CopyContent(ctx context.Context, to, from *os.File) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	end := info.Size()
	if end == 0 { // also what proc and sysfs say of files that have a content
		_, err := io.Copy(to, UntilDone(ctx, from))
		return err
	}
	for at := int64(0); at < end; {
		data, err := from.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // a hole to the end
			break
		}
		if err != nil {
			return err
		}
		hole, err := from.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := from.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := to.Seek(data, io.SeekStart); err != nil {
			return err
		}
		n, err := io.Copy(to, io.LimitReader(UntilDone(ctx, from), hole-data))
		if err != nil {
			return err
		}
		if n < hole-data { // it became shorter meanwhile
			end = data + n
			break
		}
		at = hole
	}
	return to.Truncate(end)
}

// fill is CopyContent of what may be no regular file.
func fill(ctx context.Context, to *os.File, from io.Reader) error {
	if f, ok := from.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			return CopyContent(ctx, to, f)
		}
	}
	_, err := io.Copy(to, UntilDone(ctx, from))
	return err
}

// UntilDone reads from a reader until ctx ends, whose error it returns then.
func UntilDone(ctx context.Context, from io.Reader) io.Reader { return &untilDone{ctx, from} }

type untilDone struct {
	ctx  context.Context
	from io.Reader
}

func (u *untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.from.Read(p)
}
