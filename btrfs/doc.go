// Package btrfs speaks to btrfs file systems: it makes them, reads their
// superblocks, and creates, snapshots, lists and deletes their subvolumes.
//
// It owns the kernel's ioctls (include/uapi/linux/btrfs.h) and mkfs.btrfs(8). It
// knows nothing of loop devices, images or containers, and takes no locks.
//
// # Names below a subvolume are not trusted
//
// What is inside a subvolume was written by a guest: directories as deep as it
// liked, symbolic links anywhere, names of any bytes. So nothing below a
// subvolume is ever reached by a path. The kernel's tree of roots says which
// subvolume lies in which directory inode of which other one; that directory is
// opened by its inode number (a btrfs file handle, open_by_handle_at(2)) and
// only the last name, one component, is used in it. No symbolic link or mount on
// the way can be followed as there is no way. The paths in [Subvolume] are for
// people.
//
// # Names of callers
//
// Paths that callers give are theirs; their last component is never followed
// when it is a symbolic link, except where a mount point is asked for.
//
// Errors wrap the kernel's errno: errors.Is works with fs.ErrExist,
// fs.ErrNotExist, unix.EROFS, unix.ENOSPC and so on.
//
// Every function needs root (CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH). Linux 5.15 or
// later is expected.
package btrfs
