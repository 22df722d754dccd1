package loopdev

import (
	"errors"
	"fmt"
	"os"
	"sync"

	losetup "github.com/freddierice/go-losetup/v2"
	"golang.org/x/sys/unix"
)

// Device is an attached loop device that this process holds open, so that it
// stays attached. It is safe for concurrent use.
type Device struct {
	number int

	mu sync.Mutex
	f  *os.File // nil once closed
}

// Open holds the attached device of that number. It returns ErrNotAttached
// when the device has no backing file. By the time a number found by List or
// Find is opened the device may have another file: compare Info's Dev and
// Inode, or use Hold.
func Open(number int) (*Device, error) {
	// Reading is enough to hold a device, and closing a device opened for
	// writing would make udev examine it.
	f, err := openDevice(number, os.O_RDONLY)
	if isGone(err) {
		return nil, fmt.Errorf("cannot open %s: %w", devicePath(number), ErrNotAttached)
	} else if err != nil {
		return nil, fmt.Errorf("cannot open loop device: %w", err)
	}
	if _, err := readInfo(number, f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Device{number: number, f: f}, nil
}

// Path is the device's path, as "/dev/loop3".
func (d *Device) Path() string { return devicePath(d.number) }

// Number is the device's number, the 3 of /dev/loop3.
func (d *Device) Number() int { return d.number }

// Info asks the kernel for the device's state. After Close it returns an error
// that is os.ErrClosed.
func (d *Device) Info() (Info, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.f == nil {
		return Info{}, fmt.Errorf("%s: %w", d.Path(), os.ErrClosed)
	}
	return readInfo(d.number, d.f)
}

// Close ends the hold. The kernel detaches a device with autoclear, which are
// all that Attach made, at once when nothing else has it open or mounted, and
// otherwise when the last user ends. Closing twice is no error.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.f == nil {
		return nil
	}
	err := d.f.Close()
	d.f = nil
	if err != nil {
		return fmt.Errorf("cannot close %s: %w", d.Path(), err)
	}
	return nil
}

// Detach detaches the device from its file (LOOP_CLR_FD). While a mount or a
// process has the device open the kernel only arms autoclear and detaches it
// with the last user; that is no error. A device that is not attached returns
// ErrNotAttached.
func Detach(number int) error {
	if _, err := stat(number); isGone(err) {
		return fmt.Errorf("cannot detach %s: %w", devicePath(number), ErrNotAttached)
	} else if err != nil {
		return fmt.Errorf("cannot detach loop device: %w", err)
	}
	if err := losetup.New(uint64(number), os.O_RDONLY).Detach(); err != nil {
		// go-losetup tells no errno, so ask again: gone meanwhile is what was wanted.
		if _, statErr := stat(number); isGone(statErr) {
			return nil
		}
		return fmt.Errorf("cannot detach %s: %w", devicePath(number), err)
	}
	return nil
}

// SetCapacity makes the device as large as its backing file is now
// (LOOP_SET_CAPACITY): to be called after the file has grown or shrunk.
func SetCapacity(number int) (err error) {
	f, err := openDevice(number, os.O_RDONLY)
	if isGone(err) {
		return fmt.Errorf("cannot resize %s: %w", devicePath(number), ErrNotAttached)
	} else if err != nil {
		return fmt.Errorf("cannot resize loop device: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	err = unix.IoctlSetInt(int(f.Fd()), unix.LOOP_SET_CAPACITY, 0)
	if errors.Is(err, unix.ENXIO) {
		err = ErrNotAttached
	}
	if err != nil {
		return fmt.Errorf("cannot resize %s: %w", devicePath(number), err)
	}
	return nil
}
