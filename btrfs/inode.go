package btrfs

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// fileHandleType is FILEID_BTRFS_WITHOUT_PARENT (include/linux/exportfs.h).
const fileHandleType = 0x4d

// openInode opens a directory by the subvolume that it is in and its inode
// number, whatever its path is (open_by_handle_at(2)). The handle is what the
// kernel gives out for it: struct btrfs_fid, without a parent
// (fs/btrfs/export.h). The inode's generation in it is read from its item, as
// kernels before 6.2 insist on it.
//
// An inode that is not there returns unix.ENOENT.
func (s *searcher) openInode(root, inode uint64) (*os.File, error) {
	fd, err := s.openHandle(root, inode, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "inode"), nil
}

// openHandle opens whatever has that number, with open(2)'s flags.
func (s *searcher) openHandle(root, inode uint64, flags int) (int, error) {
	item, err := s.first(root, inode, inodeItemKey)
	if err != nil {
		return -1, err
	}
	if len(item) < 8 {
		return -1, unix.ENOENT
	}
	fid := make([]byte, 0, 20)
	fid = binary.NativeEndian.AppendUint64(fid, inode)
	fid = binary.NativeEndian.AppendUint64(fid, root)
	fid = binary.NativeEndian.AppendUint32(fid, uint32(binary.LittleEndian.Uint64(item)))
	handle := unix.NewFileHandle(fileHandleType, fid)
	var fd int
	for {
		fd, err = unix.OpenByHandleAt(int(s.f.Fd()), handle, flags)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if errors.Is(err, unix.ESTALE) {
		return -1, unix.ENOENT
	} else if err != nil {
		return -1, os.NewSyscallError("open_by_handle_at", err)
	}
	return fd, nil
}

// openRoot opens the root directory of the subvolume of that id.
func (s *searcher) openRoot(id uint64) (*os.File, error) {
	return s.openInode(id, firstFreeObjectID)
}

// rootID is the id of the subvolume that an open directory is in.
func rootID(f *os.File) (uint64, error) {
	args := inoLookupArgs{ObjectID: firstFreeObjectID}
	if err := ioctl(int(f.Fd()), iocInoLookup, &args); err != nil {
		return 0, os.NewSyscallError("BTRFS_IOC_INO_LOOKUP", err)
	}
	return args.TreeID, nil
}

// rootIDAt is the id of the subvolume that is the entry name of dir.
func rootIDAt(dir *os.File, name string) (uint64, error) {
	f, err := openSubvolumeAt(int(dir.Fd()), name)
	if err != nil {
		return 0, err
	}
	id, err := rootID(f)
	return id, errors.Join(err, f.Close())
}

// inodePath is the path of a directory below the root of its subvolume: ""
// for that itself, otherwise ending in a slash. It is unix.ENAMETOOLONG for one
// that no path can name.
func inodePath(f *os.File, root, inode uint64) (string, error) {
	if inode == firstFreeObjectID {
		return "", nil
	}
	args := inoLookupArgs{TreeID: root, ObjectID: inode}
	if err := ioctl(int(f.Fd()), iocInoLookup, &args); err != nil {
		return "", os.NewSyscallError("BTRFS_IOC_INO_LOOKUP", err)
	}
	return unix.ByteSliceToString(args.Name[:]), nil
}
