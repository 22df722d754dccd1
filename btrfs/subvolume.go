package btrfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	dennwc "github.com/dennwc/btrfs"
	"golang.org/x/sys/unix"
)

// Subvolume describes one subvolume.
type Subvolume struct {
	ID       uint64 // 5 for the top level, 256 and up for the others
	ParentID uint64 // of the subvolume that it lies in; 0 for the top level
	DirID    uint64 // inode of the directory in that one which it is an entry of
	Name     string // its name there: any bytes but NUL and '/'
	// UUID, ParentUUID (of what it is a snapshot of) and ReceivedUUID are ""
	// when there is none.
	UUID, ParentUUID, ReceivedUUID string
	Generation                     uint64 // of its last change, as of the last commit
	CreatedAt                      time.Time
	ReadOnly                       bool
	// Path is set by List: relative to the directory listed. It is for people,
	// and "" when it is longer than a path can be.
	Path string
}

// CreateSubvolume makes an empty subvolume at path, with mode 0755 less the
// process's umask. The error is fs.ErrExist when there is something.
func CreateSubvolume(path string) error {
	if err := dennwc.CreateSubVolume(path); err != nil {
		return fmt.Errorf("cannot create subvolume %s: %w", path, err)
	}
	return nil
}

// IsSubvolume says whether path is the root directory of a btrfs subvolume. A
// symbolic link to one is none.
func IsSubvolume(path string) (bool, error) {
	f, err := openSubvolume(path)
	if errors.Is(err, ErrNotSubvolume) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("cannot look at %s: %w", path, err)
	}
	return true, f.Close()
}

// Snapshot makes dst a snapshot of the subvolume src, writable or read-only, in
// one step. Where src has nested subvolumes the snapshot has empty directories:
// SnapshotTree takes those too. When anything is at dst the error is
// fs.ErrExist, and nothing is made.
func Snapshot(src, dst string, readonly bool) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot snapshot %s to %s: %w", src, dst, err)
		}
	}()
	from, err := openSubvolume(src)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	dir, name, err := openParent(dst)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return snapshotAt(from, dir, name, readonly)
}

// snapshotAt makes the entry name of dir a snapshot of the subvolume from
// (BTRFS_IOC_SNAP_CREATE_V2).
func snapshotAt(from, dir *os.File, name string, readonly bool) error {
	if err := checkName(name); err != nil {
		return err
	}
	args := volArgsV2{FD: int64(from.Fd())}
	if readonly {
		args.Flags = subvolReadOnly
	}
	copy(args.Name[:], name)
	return ioctl(int(dir.Fd()), iocSnapCreateV2, &args)
}

// DeleteSubvolume deletes the subvolume at path, read-only or not. It does not
// wait for the kernel's cleaner to free its space: Sync makes the deletion
// durable. The error is unix.ENOTEMPTY when it has nested subvolumes (see
// DeleteTree), fs.ErrNotExist when there is nothing, and ErrNotSubvolume when
// there is something else.
func DeleteSubvolume(path string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot delete subvolume %s: %w", path, err)
		}
	}()
	dir, name, err := openParent(path)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return destroyAt(dir, name)
}

// destroyAt deletes the subvolume that is the entry name of dir
// (BTRFS_IOC_SNAP_DESTROY). dennwc/btrfs has this too, but hands its argument to
// the kernel as an integer, which does not keep it alive: not for a deletion.
func destroyAt(dir *os.File, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	var args volArgs
	copy(args.Name[:], name)
	err := ioctl(int(dir.Fd()), iocSnapDestroy, &args)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ENOTTY) {
		// What the kernel says of a plain file or directory, and other file
		// systems of the ioctl. On those a name may still be missing.
		var st unix.Stat_t
		if statErr := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); errors.Is(statErr, fs.ErrNotExist) {
			return statErr
		}
		return fmt.Errorf("%w: %w", ErrNotSubvolume, err)
	}
	return err
}

// IsReadOnly says whether the subvolume at path is read-only.
func IsReadOnly(path string) (bool, error) {
	f, err := openSubvolume(path)
	if err != nil {
		return false, fmt.Errorf("cannot look at %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	ro, err := readOnly(f)
	if err != nil {
		return false, fmt.Errorf("cannot look at %s: %w", path, err)
	}
	return ro, nil
}

// SetReadOnly makes the subvolume at path read-only or writable. Making one
// writable that was received ends its received UUID, as the kernel has it.
func SetReadOnly(path string, ro bool) error {
	f, err := openSubvolume(path)
	if err == nil {
		_, err = setReadOnly(f, ro)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot make %s %s: %w", path, modeName(ro), err)
	}
	return nil
}

func modeName(ro bool) string {
	if ro {
		return "read-only"
	}
	return "writable"
}

// readOnly asks for the flags of an open subvolume (BTRFS_IOC_SUBVOL_GETFLAGS).
func readOnly(f *os.File) (bool, error) {
	var flags uint64
	if err := ioctl(int(f.Fd()), iocGetFlags, &flags); err != nil {
		return false, os.NewSyscallError("BTRFS_IOC_SUBVOL_GETFLAGS", err)
	}
	return flags&subvolReadOnly != 0, nil
}

// setReadOnly sets the flag of an open subvolume, and says whether it was not
// so already: to set it costs a commit (BTRFS_IOC_SUBVOL_SETFLAGS).
func setReadOnly(f *os.File, ro bool) (changed bool, err error) {
	var flags uint64
	if err := ioctl(int(f.Fd()), iocGetFlags, &flags); err != nil {
		return false, os.NewSyscallError("BTRFS_IOC_SUBVOL_GETFLAGS", err)
	}
	if flags&subvolReadOnly != 0 == ro {
		return false, nil
	}
	flags ^= subvolReadOnly
	if err := ioctl(int(f.Fd()), iocSetFlags, &flags); err != nil {
		return false, os.NewSyscallError("BTRFS_IOC_SUBVOL_SETFLAGS", err)
	}
	return true, nil
}

// Stat describes the subvolume at path (BTRFS_IOC_GET_SUBVOL_INFO).
func Stat(path string) (Subvolume, error) {
	f, err := openSubvolume(path)
	if err != nil {
		return Subvolume{}, fmt.Errorf("cannot describe subvolume %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	var a subvolInfoArgs
	if err := ioctl(int(f.Fd()), iocGetSubvolInfo, &a); err != nil {
		return Subvolume{}, fmt.Errorf("cannot describe subvolume %s: %w", path, os.NewSyscallError("BTRFS_IOC_GET_SUBVOL_INFO", err))
	}
	return Subvolume{
		ID:           a.TreeID,
		ParentID:     a.ParentID,
		DirID:        a.DirID,
		Name:         unix.ByteSliceToString(a.Name[:]),
		UUID:         formatUUID(a.UUID),
		ParentUUID:   formatUUID(a.ParentUUID),
		ReceivedUUID: formatUUID(a.ReceivedUUID),
		Generation:   a.Generation,
		CreatedAt:    unixTime(a.OTime.Sec, a.OTime.Nsec),
		ReadOnly:     a.Flags&rootReadOnly != 0,
	}, nil
}

// Sync writes everything of the file system that path is on to its devices and
// waits for the commit (BTRFS_IOC_SYNC).
func Sync(path string) error {
	f, err := openDir(path)
	if err != nil {
		return fmt.Errorf("cannot sync %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	if err := ioctl[byte](int(f.Fd()), iocSync, nil); err != nil {
		return fmt.Errorf("cannot sync %s: %w", path, os.NewSyscallError("BTRFS_IOC_SYNC", err))
	}
	return nil
}

// StartSync begins to commit what has been written to the file system that path is on,
// and does not wait for it (BTRFS_IOC_START_SYNC). Of files it takes what is on the
// devices already.
func StartSync(path string) error {
	f, err := openDir(path)
	if err != nil {
		return fmt.Errorf("cannot begin to sync %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	var transaction uint64 // that it is told is of no use here
	if err := ioctl(int(f.Fd()), iocStartSync, &transaction); err != nil {
		return fmt.Errorf("cannot begin to sync %s: %w", path, os.NewSyscallError("BTRFS_IOC_START_SYNC", err))
	}
	return nil
}
