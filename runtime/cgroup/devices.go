package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// AnyNumber is the major or minor number of all devices.
const AnyNumber = -1

// Device is what a group may do with a device node, or with several.
type Device struct {
	// Type is 'c' for character devices, 'b' for block devices.
	Type rune `json:"type"`
	// Major and Minor are the node's numbers, or AnyNumber.
	Major int64 `json:"major"`
	Minor int64 `json:"minor"`
	// Access is any of "rwm": read, write, make the node.
	Access string `json:"access"`
}

// String is the device as the files of v1 have it
// (Documentation/admin-guide/cgroup-v1/devices.rst).
func (d Device) String() string {
	number := func(n int64) string {
		if n == AnyNumber {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%c %s:%s %s", d.Type, number(d.Major), number(d.Minor), d.Access)
}

// Validate refuses what the kernel would understand as something else.
func (d Device) Validate() error {
	if d.Type != 'b' && d.Type != 'c' || d.Major < AnyNumber || d.Minor < AnyNumber || d.Major >= 1<<12 || d.Minor >= 1<<20 || accessBits(d.Access) == 0 {
		return fmt.Errorf("invalid device rule %q", d)
	}
	return nil
}

// DefaultDevices are what every instance has: LXC's list (config/templates/
// common.conf) with FUSE and TUN, as LXD has them. Nodes of all kinds may be
// made, as package managers do, and not opened.
func DefaultDevices() []Device {
	list := []Device{{'c', AnyNumber, AnyNumber, "m"}, {'b', AnyNumber, AnyNumber, "m"}, {'c', 136, AnyNumber, "rwm"}} // pts
	for _, n := range [][2]int64{
		{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, // null, zero, full, random, urandom
		{5, 0}, {5, 1}, {5, 2}, // tty, console, ptmx
		{10, 200}, {10, 229}, // net/tun, fuse
	} {
		list = append(list, Device{'c', n[0], n[1], "rwm"})
	}
	return list
}

// ErrNoDeviceControl says that neither a v1 hierarchy with the devices controller
// nor v2 with BPF is there to keep processes from devices.
var ErrNoDeviceControl = errors.New("the kernel offers no control of devices by cgroup")

// payload is the child of a v1 group with the devices controller that processes
// are in: the root of a cgroup namespace may change the group that it sees as the
// root within what the one above has, and a privileged instance does not see that.
const payload = "payload"

// LimitDevices keeps the processes that will enter the group, which must have
// none yet, from all devices but those; uid and gid are as in Create.
func (g Group) LimitDevices(list []Device, uid, gid int) error {
	for _, d := range list {
		if err := d.Validate(); err != nil {
			return err
		}
	}
	err := g.limitDevices(list, uid, gid)
	if err != nil {
		return fmt.Errorf("cannot limit the devices of cgroup %s: %w", g.path, err)
	}
	return nil
}

func (g Group) limitDevices(list []Device, uid, gid int) error {
	h, ok := g.layout.v1("devices")
	if !ok {
		return g.filterDevices(list)
	}
	dir := g.dir(h)
	if err := os.WriteFile(filepath.Join(dir, "devices.deny"), []byte("a"), 0); err != nil {
		if errors.Is(err, fs.ErrPermission) { // this is a container itself
			err = errors.Join(ErrNoDeviceControl, err)
		}
		return err
	}
	for _, d := range list {
		if err := os.WriteFile(filepath.Join(dir, "devices.allow"), []byte(d.String()), 0); err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
	}
	inner := filepath.Join(dir, payload)
	if err := os.Mkdir(inner, 0o755); err != nil {
		return err
	}
	if err := inheritCpuset(h, inner); err != nil {
		return err
	}
	return delegate(h, inner, uid, gid)
}

// tasksDir is the v1 directory that takes processes: the group, or its payload.
func (g Group) tasksDir(h Hierarchy) string {
	inner := filepath.Join(g.dir(h), payload)
	if slices.Contains(h.Controllers, "devices") {
		if _, err := os.Lstat(inner); err == nil {
			return inner
		}
	}
	return g.dir(h)
}

// ChangeDevices replaces a list of LimitDevices, from, by another one, in the
// group and all below it. What has a device open keeps it.
func (g Group) ChangeDevices(from, to []Device) error {
	for _, d := range to {
		if err := d.Validate(); err != nil {
			return err
		}
	}
	h, ok := g.layout.v1("devices")
	if !ok {
		if err := g.filterDevices(to); err != nil {
			return fmt.Errorf("cannot limit the devices of cgroup %s: %w", g.path, err)
		}
		return nil
	}
	// What is denied is denied below as well, and first, in case they overlap.
	for _, d := range from {
		if !slices.Contains(to, d) {
			if err := os.WriteFile(filepath.Join(g.dir(h), "devices.deny"), []byte(d.String()), 0); err != nil {
				return fmt.Errorf("cannot take device %s from cgroup %s: %w", d, g.path, err)
			}
		}
	}
	for _, d := range to {
		if err := allowBelow(g.dir(h), d); err != nil {
			return fmt.Errorf("cannot give device %s to cgroup %s: %w", d, g.path, err)
		}
	}
	return nil
}

// allowBelow allows a device in a v1 directory and those below it, from the top:
// none may have what the one above it has not. Those that come and go are the
// instance's.
func allowBelow(top string, d Device) error {
	return filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			err = os.WriteFile(filepath.Join(path, "devices.allow"), []byte(d.String()), 0)
		}
		if path != top && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)) {
			return nil
		}
		return err
	})
}

// Bits of an access (linux/bpf.h, BPF_DEVCG_ACC_*).
const (
	accessMake  = 1
	accessRead  = 2
	accessWrite = 4
	accessAll   = accessMake | accessRead | accessWrite
)

// accessBits is 0 for what is no access.
func accessBits(s string) int32 {
	bits := int32(0)
	for _, c := range s {
		switch c {
		case 'm':
			bits |= accessMake
		case 'r':
			bits |= accessRead
		case 'w':
			bits |= accessWrite
		default:
			return 0
		}
	}
	return bits
}
