package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// Active is a file system that the kernel has mounted, in whichever mount
// namespace.
type Active struct {
	// UUID is what the kernel calls it: that of the superblock, unless Temporary.
	UUID string
	// Temporary says that the kernel gave it a UUID of its own, since another
	// device with the superblock's was mounted already (temp_fsid, Linux 6.7).
	// When both devices are loop devices of one file, each overwrites what the
	// other writes.
	Temporary bool
	// Devices are the kernel's names of its devices by device number: "loop3".
	Devices map[uint64]string
}

// Has says whether the device of that number is one of the file system's.
func (a Active) Has(dev uint64) bool {
	_, ok := a.Devices[dev]
	return ok
}

// ActiveOf lists the mounted file systems whose superblock has that UUID: the
// one that goes by it, and those which got a temporary one. It asks
// /sys/fs/btrfs, so that mounts of other mount namespaces count too.
func ActiveOf(uuid string) ([]Active, error) {
	if !isUUID(uuid) {
		return nil, fmt.Errorf("cannot find mounted btrfs file systems: %q is no UUID", uuid)
	}
	uuid = strings.ToLower(uuid)
	entries, err := os.ReadDir(sysFS)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no btrfs in this kernel, so none is mounted
	} else if err != nil {
		return nil, fmt.Errorf("cannot find mounted btrfs file systems: %w", err)
	}
	var out []Active
	for _, e := range entries {
		temporary := e.Name() != uuid
		if !isUUID(e.Name()) || temporary && !isTemporaryOf(e.Name(), uuid) {
			continue
		}
		devices, err := devicesOf(e.Name())
		if err != nil {
			return nil, fmt.Errorf("cannot find the devices of btrfs %s: %w", e.Name(), err)
		}
		if len(devices) > 0 {
			out = append(out, Active{UUID: e.Name(), Temporary: temporary, Devices: devices})
		}
	}
	return out, nil
}

// isTemporaryOf says whether the file system of that name in sysfs has uuid in
// its superblock and only goes by another one.
func isTemporaryOf(name, uuid string) bool {
	read := func(file string) string {
		text, err := os.ReadFile(filepath.Join(sysFS, name, file)) // not there: older kernel, or unmounted meanwhile
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(text))
	}
	return read("temp_fsid") == "1" && read("metadata_uuid") == uuid
}

// IsOn says whether st, of statfs(2), is of a file on the file system of that
// UUID, in whichever subvolume. 32 bits of the UUID are compared: the rest of
// f_fsid depends on the subvolume (btrfs_statfs in fs/btrfs/super.c).
func IsOn(uuid string, st unix.Statfs_t) bool {
	id, err := parseUUID(uuid)
	if err != nil || st.Type != unix.BTRFS_SUPER_MAGIC {
		return false
	}
	be := binary.BigEndian
	return uint32(st.Fsid.Val[0]) == be.Uint32(id[:])^be.Uint32(id[8:])
}
