package loopdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// List describes every attached loop device, by ascending number. Devices that
// are attached or detached meanwhile may or may not be among them.
func List() ([]Info, error) {
	numbers, err := attachedNumbers()
	if err != nil {
		return nil, fmt.Errorf("cannot list loop devices: %w", err)
	}
	var out []Info
	for _, n := range numbers {
		info, err := stat(n)
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot list loop devices: %w", err)
		}
		out = append(out, info)
	}
	return out, nil
}

// Find describes every loop device whose backing file is the file at path,
// whichever name it was attached by. There should be at most one. The error is
// fs.ErrNotExist when there is no such file.
func Find(path string) ([]Info, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, fmt.Errorf("cannot find the loop device of %s: %w", path, err)
	}
	return findFile(fileID{st.Dev, st.Ino})
}

// fileID identifies a file on this machine.
type fileID struct{ dev, inode uint64 }

func (i Info) id() fileID { return fileID{i.Dev, i.Inode} }

func findFile(id fileID) ([]Info, error) {
	all, err := List()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(i Info) bool { return i.id() != id }), nil
}

// stat describes one device by its number.
func stat(number int) (info Info, err error) {
	f, err := openDevice(number, os.O_RDONLY)
	if err != nil {
		return Info{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return readInfo(number, f)
}

// attachedNumbers lists the devices that sysfs shows a backing file of, so that
// the free ones need not be opened: that costs more than the look.
func attachedNumbers() ([]int, error) {
	dir, err := os.Open(sysBlock)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no block devices at all
	} else if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, name := range names {
		digits, ok := strings.CutPrefix(name, "loop")
		number, err := strconv.Atoi(digits)
		if !ok || err != nil || number < 0 {
			continue
		}
		if err := unix.Access(sysPath(number, "loop"), unix.F_OK); err == nil {
			out = append(out, number)
		}
	}
	slices.Sort(out)
	return out, nil
}
