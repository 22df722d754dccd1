package btrfs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fstrimRange is struct fstrim_range (include/uapi/linux/fs.h).
type fstrimRange struct{ Start, Len, MinLen uint64 }

const iocTrim = iocWrite | iocRead | 'X'<<8 | 121 | unsafe.Sizeof(fstrimRange{})<<16 // FITRIM

// ErrNoDiscard says that a device cannot be told which of its blocks are free.
var ErrNoDiscard = errors.New("its device cannot discard blocks")

// Trim tells the devices of the file system at path which of their blocks are
// free (FITRIM), and returns how many bytes that were. A loop device punches
// holes for them into its file. Blocks that were told free already may count
// again. It is ErrNoDiscard where no device has a use for it.
//
// The kernel looks for a signal that kills and for nothing else, so ctx is looked
// at before the call only.
func Trim(ctx context.Context, path string) (uint64, error) {
	a := fstrimRange{Len: math.MaxUint64}
	err := ctx.Err()
	if err == nil {
		err = withDir(path, func(f *os.File) error { return ioctl(int(f.Fd()), iocTrim, &a) })
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = ErrNoDiscard
	}
	if err != nil {
		return 0, fmt.Errorf("cannot trim %s: %w", path, err)
	}
	return a.Len, nil
}

// WaitDeleted waits until the subvolumes that were deleted in the file system at
// path are freed, and the transactions that did it are committed.
func WaitDeleted(ctx context.Context, path string) error {
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 500*time.Millisecond) {
		if err := Sync(path); err != nil { // it wakes the cleaner, too
			return err
		}
		some, err := Deleting(path)
		if err != nil {
			return err
		}
		if !some { // perhaps only since that commit
			return Sync(path)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait):
		}
	}
}
