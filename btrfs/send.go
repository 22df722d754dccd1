package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
)

// Send writes the subvolume of that id, which must be read-only, to w as a send
// stream of version 1 (btrfs-send(8), BTRFS_IOC_SEND); path is any directory of
// the file system. With a parent, another read-only subvolume's id, only what
// differs from that one is written. Subvolumes nested in it are not part of the
// stream. When ctx ends, or w fails, the stream ends in the middle.
func Send(ctx context.Context, path string, id, parent uint64, w io.Writer) error {
	if err := send(ctx, path, id, parent, w); err != nil {
		return fmt.Errorf("cannot send subvolume %d of %s: %w", id, path, err)
	}
	return nil
}

func send(ctx context.Context, path string, id, parent uint64, w io.Writer) error {
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	root, err := newSearcher(dir).openRoot(id)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	r, pipe, err := os.Pipe() // the kernel writes to a descriptor
	if err != nil {
		return err
	}
	copied := make(chan error, 1)
	go func() {
		_, err := io.Copy(w, r)
		// Without a reader the kernel stops (EPIPE).
		copied <- errors.Join(err, r.Close())
	}()
	stop := context.AfterFunc(ctx, func() { _ = r.Close() })
	args := sendArgs{FD: int64(pipe.Fd()), ParentRoot: parent}
	err = ioctl(int(root.Fd()), iocSend, &args)
	err = errors.Join(err, pipe.Close())
	cerr := <-copied
	if !stop() {
		return ctx.Err() // of which the others are consequences
	}
	if cerr != nil {
		return cerr // the cause of an EPIPE
	}
	return err
}
