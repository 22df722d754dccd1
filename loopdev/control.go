package loopdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	losetup "github.com/freddierice/go-losetup/v2"
	"golang.org/x/sys/unix"
)

const (
	sysBlock    = "/sys/block"
	controlNode = losetup.LoopControlPath
	controlSys  = "/sys/class/misc/loop-control/dev"
)

// Check says whether loop devices can be attached here. The error names what
// is missing and how to get it.
func Check() error {
	control, err := openControl()
	if err != nil {
		return err
	}
	return control.Close()
}

// openControl opens /dev/loop-control (loop(4)). Opening it loads the driver
// where module autoloading works.
func openControl() (*os.File, error) {
	f, err := openNode(controlNode, os.O_RDWR, unix.S_IFCHR, controlSys)
	switch {
	case err == nil:
		return f, nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("cannot use loop devices: the kernel's loop driver is not loaded (modprobe loop): %w", err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("cannot use loop devices: root is needed: %w", err)
	}
	return nil, fmt.Errorf("cannot use loop devices: %w", err)
}

// freeNumber asks the kernel for the number of a loop device that is free, and
// makes one if none is. Nothing is reserved: another process may get the same.
func freeNumber(control *os.File) (int, error) {
	n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return 0, fmt.Errorf("cannot get a free loop device: %w", os.NewSyscallError("LOOP_CTL_GET_FREE", err))
	}
	return n, nil
}

// devicePath is the path of a device's node below /dev.
func devicePath(number int) string {
	return losetup.New(uint64(number), 0).Path()
}

// sysPath is a file of a device's directory in sysfs.
func sysPath(number int, elem ...string) string {
	return filepath.Join(append([]string{sysBlock, "loop" + strconv.Itoa(number)}, elem...)...)
}

// openDevice opens a loop device's node, close-on-exec.
func openDevice(number, flags int) (*os.File, error) {
	if number < 0 {
		return nil, fmt.Errorf("cannot open loop device %d: %w", number, unix.EINVAL)
	}
	return openNode(devicePath(number), flags, unix.S_IFBLK, sysPath(number, "dev"))
}

// openNode opens a device node. A missing one is made when the kernel has the
// device: a /dev that is no devtmpfs (a container's, a chroot's) does not show
// devices that appear later.
func openNode(path string, flags int, kind uint32, sysDev string) (*os.File, error) {
	f, err := os.OpenFile(path, flags, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	dev, sysErr := readDevNumber(sysDev)
	if sysErr != nil {
		return nil, err // the kernel has no such device: the first error says it
	}
	if err := unix.Mknod(path, kind|0o660, int(dev)); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, fmt.Errorf("cannot make %s: %w", path, os.NewSyscallError("mknod", err))
	}
	return os.OpenFile(path, flags, 0)
}

// readDevNumber reads "MAJOR:MINOR" from a dev file of sysfs.
func readDevNumber(path string) (uint64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return parseDevNumber(string(text))
}

func parseDevNumber(text string) (uint64, error) {
	majorText, minorText, ok := strings.Cut(strings.TrimSuffix(text, "\n"), ":")
	major, err1 := strconv.ParseUint(majorText, 10, 32)
	minor, err2 := strconv.ParseUint(minorText, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return 0, fmt.Errorf("cannot parse device number %q", text)
	}
	return unix.Mkdev(uint32(major), uint32(minor)), nil
}
