package btrfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of the tree of devices (include/uapi/linux/btrfs_tree.h): where on a device
// block groups lie.
const (
	devTreeID    = 4
	devExtentKey = 204
)

const iocResize = iocWrite | magic | 3 | unsafe.Sizeof(volArgs{})<<16

// ErrNoRoom says that a file system does not fit into the size that it was to
// be shrunk to. It is as large as it was.
var ErrNoRoom = errors.New("what is in it does not fit")

// Resize makes the file system at path use the first size bytes of its device
// of that id (BTRFS_IOC_RESIZE); size is rounded down to whole sectors by the
// kernel. The device has to be that large already. Shrinking moves what lies
// beyond and takes as long as that: see Beyond for how much is left.
//
// When ctx ends, shrinking is cancelled and the error is ctx's; the file system
// then is as large as before, or in the rare case that it was just done, as
// small as asked. ErrNoRoom, too, leaves it as it was.
func Resize(ctx context.Context, path string, device, size uint64) error {
	return resize(ctx, path, device, strconv.FormatUint(size, 10))
}

// ResizeMax makes the file system at path use all of its device of that id.
func ResizeMax(ctx context.Context, path string, device uint64) error {
	return resize(ctx, path, device, "max")
}

func resize(ctx context.Context, path string, device uint64, size string) error {
	requested := false
	err := withDir(path, func(f *os.File) error {
		var a volArgs
		copy(a.Name[:], strconv.FormatUint(device, 10)+":"+size)
		cancel := func() bool {
			requested = requested || cancelResize(path)
			return requested
		}
		return cancellable(ctx, cancel, func() error { return exclusive(f, iocResize, &a) })
	})
	if requested && !errors.Is(err, unix.ECANCELED) {
		dropCancel(path, device)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ECANCELED) && ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, unix.ENOSPC):
		err = fmt.Errorf("%w: %w", ErrNoRoom, os.NewSyscallError("BTRFS_IOC_RESIZE", err))
	case errors.Is(err, unix.ETXTBSY):
		err = fmt.Errorf("an active swap file is in the way: %w", err)
	}
	return fmt.Errorf("cannot resize the file system at %s: %w", path, err)
}

// exclusiveRunning is BTRFS_ERROR_DEV_EXCL_RUN_IN_PROGRESS (enum
// btrfs_err_code), which the kernel returns as a positive result.
const exclusiveRunning = 8

// ErrBusy says that another operation which moves block groups runs: a balance,
// a resize, a device that is added, removed or replaced.
var ErrBusy = errors.New("another operation that moves block groups is running")

// exclusive calls an ioctl of which the kernel runs one at a time.
func exclusive[T any](f *os.File, request uintptr, arg *T) error {
	result, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(arg)))
	switch {
	case errno == unix.EINPROGRESS, errno == 0 && result == exclusiveRunning:
		return ErrBusy
	case errno != 0:
		return errno
	}
	return nil
}

// cancelResize asks the kernel to stop a shrink (since Linux 5.14), and says
// whether one was running that will see the request.
func cancelResize(path string) bool {
	err := withDir(path, func(f *os.File) error {
		var a volArgs
		copy(a.Name[:], "cancel")
		return ioctl(int(f.Fd()), iocResize, &a)
	})
	return err == nil || errors.Is(err, unix.ECANCELED)
}

// dropCancel uses a request to cancel up that came when nothing was left to
// cancel. The kernel keeps it for the next block group that a shrink moves, and
// until then refuses every balance (EINVAL). So a shrink is begun that would have
// to move the last block group: it is cancelled before it has done anything.
func dropCancel(path string, device uint64) {
	extents, err := DevExtents(path, device)
	if err != nil || len(extents) == 0 {
		return
	}
	last := extents[len(extents)-1]
	_ = withDir(path, func(f *os.File) error {
		var a volArgs
		copy(a.Name[:], fmt.Sprintf("%d:%d", device, last.Start+last.Length-1<<16))
		return exclusive(f, iocResize, &a)
	})
}

// cancellable calls run, which blocks in the kernel. When ctx ends it calls cancel,
// again and again until that says that the kernel has taken the request (what is
// to be cancelled may not have begun yet), and waits for run to return.
func cancellable(ctx context.Context, cancel func() bool, run func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() { done <- run() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	for wait := time.Millisecond; !cancel(); wait = min(2*wait, 100*time.Millisecond) {
		select {
		case err := <-done:
			return err
		case <-time.After(wait):
		}
	}
	return <-done
}

// withDir calls do with the directory that the caller named.
func withDir(path string, do func(*os.File) error) error {
	f, err := openDir(path)
	if err != nil {
		return err
	}
	return errors.Join(do(f), f.Close())
}

// DevExtent is a piece of a device that belongs to a block group.
type DevExtent struct {
	Start, Length uint64 // on the device, in bytes
}

// DevExtents lists what block groups have of a device, by ascending Start.
func DevExtents(path string, device uint64) ([]DevExtent, error) {
	var out []DevExtent
	err := withDir(path, func(f *os.File) error {
		return newSearcher(f).items(devTreeID, device, devExtentKey, func(start uint64, data []byte) error {
			if len(data) < 32 { // struct btrfs_dev_extent
				return fmt.Errorf("cannot parse a device extent of %d bytes", len(data))
			}
			out = append(out, DevExtent{start, binary.LittleEndian.Uint64(data[24:])})
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list what block groups have of device %d at %s: %w", device, path, err)
	}
	return out, nil
}

// Beyond is how many bytes of a device's block groups lie at or behind an
// offset: what shrinking to it has to move.
func Beyond(path string, device, offset uint64) (uint64, error) {
	extents, err := DevExtents(path, device)
	var sum uint64
	for _, e := range extents {
		if e.Start+e.Length > offset {
			sum += e.Length
		}
	}
	return sum, err
}
