package pool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// sysBlock is where the kernel shows every block device, partitions too.
const sysBlock = "/sys/class/block"

// findDevice is the path of the block device that has the pool's file system:
// that of the record, or, when devices have other names since the last boot,
// whichever has the UUID.
func findDevice(rec state.PoolRecord) (string, error) {
	super, err := btrfs.ReadSuper(rec.Source)
	if err == nil && super.UUID == rec.UUID && isBlockDevice(rec.Source) {
		return rec.Source, nil
	}
	found, serr := devicesWith(rec.UUID)
	switch {
	case serr != nil:
		return "", serr
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", withHint(fmt.Errorf("its file system, UUID %s, is on several devices: %s", rec.UUID, strings.Join(found, ", ")),
			"take the copy away, or give it a UUID of its own: btrfstune -u DEVICE")
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("its device %s is gone, and no other has the UUID %s", rec.Source, rec.UUID)
	case err == nil:
		err = fmt.Errorf("%s holds another file system: UUID %s, not %s", rec.Source, super.UUID, rec.UUID)
	}
	return "", withHint(err, "connect it again, or forget the pool with poolctl pool delete --force %s", rec.Name)
}

// devicesWith lists the block devices whose superblock has the UUID. Those that
// other devices are made of (RAID members, LVM's, multipath's) are left out.
func devicesWith(uuid string) ([]string, error) {
	names, err := os.ReadDir(sysBlock)
	if err != nil {
		return nil, fmt.Errorf("cannot look for the device: %w", err)
	}
	var out []string
	for _, n := range names {
		if above, err := os.ReadDir(filepath.Join(sysBlock, n.Name(), "holders")); err == nil && len(above) > 0 {
			continue
		}
		path := "/dev/" + strings.ReplaceAll(n.Name(), "!", "/") // sysfs has ! for / in names
		if size, err := os.ReadFile(filepath.Join(sysBlock, n.Name(), "size")); err != nil || strings.TrimSpace(string(size)) == "0" || !isBlockDevice(path) {
			continue
		}
		if super, err := btrfs.ReadSuper(path); err == nil && super.UUID == uuid {
			out = append(out, path)
		}
	}
	return out, nil
}

func isBlockDevice(path string) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK
}

// deviceNumber is the number of the block device at path, following links; 0
// when there is none.
func deviceNumber(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0
	}
	return st.Rdev
}

// deviceSize is the size of an open block device or file in bytes.
func deviceSize(f *os.File) (int64, error) { return f.Seek(0, io.SeekEnd) }

// mountDevice mounts a pool's block device, under the caller's exclusive lock.
func (s *System) mountDevice(rec state.PoolRecord, mp string) error {
	device, err := findDevice(rec)
	if err != nil {
		return err
	}
	if device != rec.Source {
		s.noticef("the device of pool %s is %s now", rec.Name, device)
	}
	rec.Source = device
	if err := s.refuseMounted(rec); err != nil {
		return err
	}
	if err := s.refuseStrangers(rec); err != nil {
		return err
	}
	super, err := btrfs.ReadSuper(device)
	if err == nil {
		err = checkWhole(device, super.TotalBytes, super.NumDevices)
	}
	if err != nil {
		return withHint(err, "make the device as large as it was, or forget the pool with poolctl pool delete --force %s", rec.Name)
	}
	if device, err = filepath.EvalSymlinks(device); err != nil { // the kernel's table is to have the kernel's name
		return err
	}
	if err := mountBtrfs(device, mp, rec); err != nil {
		return err
	}
	if err := s.checkMounted(rec, device, mp); err != nil {
		return errors.Join(err, undoMount(mp))
	}
	return nil
}
