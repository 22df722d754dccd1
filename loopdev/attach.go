package loopdev

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"time"

	losetup "github.com/freddierice/go-losetup/v2"
	"golang.org/x/sys/unix"
)

const (
	// maxRaces bounds how often Attach tries again when other processes take
	// the free device that the kernel named.
	maxRaces = 100
	// blockSize is the logical block size asked for. Direct I/O works with it
	// on every disk, and btrfs writes no smaller blocks.
	blockSize = 4096
)

// AttachOptions says how to attach a file.
type AttachOptions struct {
	ReadOnly bool
	// NoDirectIO leaves the page cache of the backing file in use. Without it
	// direct I/O is used where the file's file system can.
	NoDirectIO bool
	// Offset and SizeLimit are the part of the file that is shown, in bytes; a
	// SizeLimit of 0 is "to the end".
	Offset, SizeLimit uint64
	// SmallBlocks keeps the logical blocks at 512 bytes, for file systems that were
	// made on a disk with such.
	SmallBlocks bool
}

// Attach attaches the regular file at path to a free loop device and returns
// it held open: with autoclear, direct I/O and 4096-byte blocks, the latter two
// only where the kernel can (Info tells). A file that is attached already, by
// anyone and by any of its names, returns *AttachedError, and nothing is made.
//
// Waiting for another process that is attaching the same file ends with ctx.
func Attach(ctx context.Context, path string, o AttachOptions) (*Device, error) {
	dev, err := attach(ctx, path, o)
	if err != nil {
		return nil, fmt.Errorf("cannot attach %s: %w", path, err)
	}
	return dev, nil
}

// Hold attaches the file at path as Attach does, or, when it is attached
// already, holds the device that has it. The second result is true for the
// latter; that device's flags are then whatever they are (Info tells).
func Hold(ctx context.Context, path string, o AttachOptions) (*Device, bool, error) {
	for range maxRaces {
		dev, err := Attach(ctx, path, o)
		var attached *AttachedError
		if !errors.As(err, &attached) {
			return dev, false, err
		}
		dev, err = Open(attached.Info.Number)
		if errors.Is(err, ErrNotAttached) {
			continue // its last user has just gone
		} else if err != nil {
			return nil, false, err
		}
		info, err := dev.Info()
		if err == nil && info.id() == attached.Info.id() {
			return dev, true, nil
		}
		// Gone, and perhaps attached to another file since: start again.
		if err := dev.Close(); err != nil {
			return nil, false, err
		}
	}
	return nil, false, fmt.Errorf("cannot attach %s: it is attached and detached again all the time", path)
}

func attach(ctx context.Context, path string, o AttachOptions) (dev *Device, err error) {
	back, id, err := openBacking(path, o.ReadOnly)
	if err != nil {
		return nil, err
	}
	defer func() { _ = back.Close() }() // the device keeps a reference of its own
	unlock, err := lockFile(ctx, back)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := checkFree(path, id, -1); err != nil {
		return nil, err
	}
	if dev, err = configureFree(ctx, back, o); err != nil {
		return nil, err
	}
	// losetup(8) and others take no lock: look again.
	if err := checkFree(path, id, dev.number); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return dev, nil
}

// openBacking opens the file to attach. Only regular files are: a block device
// needs no loop device, and a pipe would never open.
func openBacking(path string, readOnly bool) (*os.File, fileID, error) {
	flags := os.O_RDWR
	if readOnly {
		flags = os.O_RDONLY
	}
	f, err := os.OpenFile(path, flags|unix.O_NONBLOCK, 0)
	if err != nil {
		var pathErr *os.PathError
		if errors.As(err, &pathErr) {
			err = pathErr.Err // the caller names the path
		}
		return nil, fileID{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, fileID{}, errors.Join(os.NewSyscallError("fstat", err), f.Close())
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fileID{}, errors.Join(errors.New("it is no regular file"), f.Close())
	}
	if err := unix.SetNonblock(int(f.Fd()), false); err != nil {
		return nil, fileID{}, errors.Join(os.NewSyscallError("fcntl", err), f.Close())
	}
	return f, fileID{st.Dev, st.Ino}, nil
}

// checkFree returns *AttachedError when a device other than the one given has
// the file.
func checkFree(path string, id fileID, own int) error {
	infos, err := findFile(id)
	if err != nil {
		return err
	}
	for _, i := range infos {
		if i.Number != own {
			return &AttachedError{Path: path, Info: i}
		}
	}
	return nil
}

// configureFree attaches the open file to a free device. The kernel names a
// free one but reserves none, so another process may be first (EBUSY, or ENXIO
// while that one is being torn down again).
func configureFree(ctx context.Context, back *os.File, o AttachOptions) (*Device, error) {
	control, err := openControl()
	if err != nil {
		return nil, err
	}
	defer func() { _ = control.Close() }()
	var lost error
	for range maxRaces {
		number, err := freeNumber(control)
		if err != nil {
			return nil, err
		}
		dev, err := configure(number, back, o)
		if err == nil {
			return dev, nil
		}
		if lost = err; !errors.Is(err, unix.EBUSY) && !isGone(err) {
			return nil, err
		}
		if err := sleep(ctx, time.Duration(rand.Int64N(int64(5*time.Millisecond)))); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("each of %d free loop devices was taken by another process: %w", maxRaces, lost)
}

// configure attaches the open file to one device, with the best settings that
// the kernel takes (LOOP_CONFIGURE, since Linux 5.8).
func configure(number int, back *os.File, o AttachOptions) (*Device, error) {
	mode := os.O_RDWR
	if o.ReadOnly {
		mode = os.O_RDONLY
	}
	f, err := openDevice(number, mode)
	if err != nil {
		return nil, err
	}
	for _, c := range settings(o) {
		c.Fd = uint32(back.Fd())
		copy(c.Info.File_name[:len(c.Info.File_name)-1], back.Name())
		err = unix.IoctlLoopConfigure(int(f.Fd()), &c)
		if err == nil {
			return &Device{number: number, f: f}, nil
		}
		if !errors.Is(err, unix.EINVAL) {
			break
		}
	}
	return nil, errors.Join(os.NewSyscallError("LOOP_CONFIGURE", err), f.Close())
}

// settings lists what to try, best first: EINVAL means that the file's file
// system or its disk can not do direct I/O, or not with this block size.
func settings(o AttachOptions) []unix.LoopConfig {
	flags := uint32(losetup.FlagsAutoClear)
	if o.ReadOnly {
		flags |= losetup.FlagsReadOnly
	}
	info := unix.LoopInfo64{Flags: flags, Offset: o.Offset, Sizelimit: o.SizeLimit}
	small := unix.LoopConfig{Info: info}
	if o.SmallBlocks {
		return []unix.LoopConfig{small}
	}
	buffered := []unix.LoopConfig{{Size: blockSize, Info: info}, small}
	if o.NoDirectIO {
		return buffered
	}
	info.Flags |= losetup.FlagsDirectIO
	return append([]unix.LoopConfig{{Size: blockSize, Info: info}}, buffered...)
}

// sleep waits, or returns ctx's error when that ends first.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return ctx.Err()
	}
}
