package btrfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// sysFS is where the kernel shows mounted btrfs file systems, by UUID.
const sysFS = "/sys/fs/btrfs"

// Mount is one mount of a file system: several can show it, or parts of it.
type Mount struct {
	MountPoint string // any bytes: octal escapes of the kernel's table are undone
	Source     string // the device, as the kernel calls it: "/dev/loop3"
	Root       string // what of the file system is shown: "/", or the path of a subvolume or directory
	Options    string // of the mount and of the file system, joined by commas
	MountID    int
	Dev        uint64 // the file system's device number, as in Fsid; files in it have that of their subvolume
}

// MountsOf lists the mounts of the file system of that UUID in this process's
// mount namespace, in the order they were made (proc_pid_mountinfo(5)). It is
// empty when it is not mounted there.
//
// A mount's own line does not tell the UUID, so its device is looked up among
// those that /sys/fs/btrfs/UUID/devices has.
func MountsOf(uuid string) ([]Mount, error) {
	devices, err := devicesOf(uuid)
	if err != nil {
		return nil, fmt.Errorf("cannot find the mounts of btrfs %s: %w", uuid, err)
	}
	if len(devices) == 0 {
		return nil, nil
	}
	infos, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("btrfs"))
	if err != nil {
		return nil, fmt.Errorf("cannot find the mounts of btrfs %s: %w", uuid, err)
	}
	var out []Mount
	for _, i := range infos {
		if !devices.has(i.Source) {
			continue
		}
		out = append(out, Mount{
			MountPoint: i.Mountpoint,
			Source:     i.Source,
			Root:       i.Root,
			Options:    strings.Trim(i.Options+","+i.VFSOptions, ","),
			MountID:    i.ID,
			Dev:        unix.Mkdev(uint32(i.Major), uint32(i.Minor)),
		})
	}
	return out, nil
}

// deviceSet has the devices of a file system, each number with its kernel name.
type deviceSet map[uint64]string

// devicesOf reads /sys/fs/btrfs/UUID/devices, which is there while the file
// system is mounted, in whichever namespace.
func devicesOf(uuid string) (deviceSet, error) {
	if !isUUID(uuid) {
		return nil, fmt.Errorf("%q is no UUID", uuid)
	}
	dir := filepath.Join(sysFS, strings.ToLower(uuid), "devices")
	names, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	set := deviceSet{}
	for _, n := range names {
		text, err := os.ReadFile(filepath.Join(dir, n.Name(), "dev"))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
			continue // unmounted meanwhile
		} else if err != nil {
			return nil, err
		}
		var major, minor uint32
		if _, err := fmt.Sscanf(string(text), "%d:%d", &major, &minor); err != nil {
			return nil, fmt.Errorf("cannot parse device number %q: %w", text, err)
		}
		set[unix.Mkdev(major, minor)] = n.Name()
	}
	return set, nil
}

// has says whether the source of a mount is one of the devices: by its number,
// or by the kernel's name when there is no such node here.
func (s deviceSet) has(source string) bool {
	var st unix.Stat_t
	if err := unix.Stat(source, &st); err == nil {
		_, ok := s[st.Rdev]
		return ok && st.Mode&unix.S_IFMT == unix.S_IFBLK
	}
	for _, name := range s {
		if name == filepath.Base(source) {
			return true
		}
	}
	return false
}

// isUUID keeps anything else from becoming part of a path.
func isUUID(s string) bool {
	groups := strings.Split(s, "-")
	if len(s) != 36 || len(groups) != 5 {
		return false
	}
	for i, size := range []int{8, 4, 4, 4, 12} {
		if len(groups[i]) != size || strings.Trim(groups[i], "0123456789abcdefABCDEF") != "" {
			return false
		}
	}
	return true
}
