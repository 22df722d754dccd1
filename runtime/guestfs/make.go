package guestfs

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Mkdir makes a directory. One that is there gets what the owner says, and is no
// error; a symbolic link to one is followed.
func (r *Root) Mkdir(path string, o Owner) error {
	return pathError("make directory", path, r.as(func() (err error) {
		if strings.Trim(path, "/") == "" {
			return nil
		}
		p, err := r.resolve(path, true)
		if err != nil {
			return err
		}
		defer p.close()
		var there *Info
		if p.st != nil {
			i := r.info(p.name, p.st)
			if there = &i; !i.Mode.IsDir() {
				return unix.ENOTDIR
			}
		}
		uid, gid, mode := o.over(there, 0o755)
		hostUID, hostGID, err := r.owner(uid, gid)
		if err != nil {
			return err
		}
		if there == nil {
			if err := unix.Mkdirat(p.parent, p.name, 0o700); err != nil {
				return err
			}
			defer func() {
				if err != nil {
					_ = unix.Unlinkat(p.parent, p.name, unix.AT_REMOVEDIR) // the first error counts
				}
			}()
		}
		fd, err := unix.Openat(p.parent, p.name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }() // nothing was written to it
		if there != nil && uid == there.UID && gid == there.GID {
			return unix.Fchmod(fd, permissions(mode))
		}
		if err := unix.Fchown(fd, hostUID, hostGID); err != nil {
			return err
		}
		return unix.Fchmod(fd, permissions(mode))
	}))
}

// MkdirAll makes a directory and those above it that are missing; those that are
// there stay as they are.
func (r *Root) MkdirAll(path string, o Owner) error {
	for i, c := range path + "/" {
		if c != '/' || strings.Trim(path[:i], "/") == "" {
			continue
		}
		_, err := r.Stat(path[:i])
		if errors.Is(err, fs.ErrNotExist) {
			err = r.Mkdir(path[:i], o)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Symlink makes a symbolic link that says target. One that is there is replaced,
// anything else is fs.ErrExist. The mode of the owner has no meaning.
func (r *Root) Symlink(target, path string, o Owner) error {
	return pathError("make link", path, r.as(func() error {
		p, err := r.resolve(path, false)
		if err != nil {
			return err
		}
		defer p.close()
		if p.st != nil && p.st.Mode&unix.S_IFMT != unix.S_IFLNK {
			return unix.EEXIST
		}
		uid, gid, _ := o.over(nil, 0)
		hostUID, hostGID, err := r.owner(uid, gid)
		if err != nil {
			return err
		}
		temp := tempName()
		if err := unix.Symlinkat(target, p.parent, temp); err != nil {
			return err
		}
		err = unix.Fchownat(p.parent, temp, hostUID, hostGID, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil {
			err = unix.Renameat(p.parent, temp, p.parent, p.name)
		}
		if err != nil {
			return errors.Join(err, unix.Unlinkat(p.parent, temp, 0))
		}
		return nil
	}))
}

// Rename gives what is at from, itself and not what a symbolic link leads to, the
// path to; something that is there is fs.ErrExist.
func (r *Root) Rename(from, to string) error {
	return pathError("rename", from, r.as(func() error {
		p, err := r.resolve(from, false)
		if err != nil {
			return err
		}
		defer p.close()
		q, err := r.resolve(to, false)
		if err != nil {
			return err
		}
		defer q.close()
		return unix.Renameat2(p.parent, p.name, q.parent, q.name, unix.RENAME_NOREPLACE)
	}))
}

// OpenDir opens a directory as a path only (O_PATH); symbolic links are followed.
func (r *Root) OpenDir(path string) (dir *os.File, err error) {
	err = r.as(func() error {
		fd, err := r.open(path, unix.O_PATH|unix.O_DIRECTORY)
		if err == nil {
			dir = os.NewFile(uintptr(fd), path)
		}
		return err
	})
	return dir, pathError("open", path, err)
}

// SameFileSystem says whether a path is, or would be made, in the file system that
// the root itself is in, and not in one that is mounted there.
func (r *Root) SameFileSystem(path string) bool {
	same := false
	_ = r.as(func() error { // what is wrong with the path, its use says
		p, err := r.resolve(path, true)
		if err != nil {
			return err
		}
		defer p.close()
		var root, dir unix.Stat_t
		if err := unix.Fstat(int(r.dir.Fd()), &root); err != nil {
			return err
		}
		err = unix.Fstat(p.parent, &dir)
		same = err == nil && root.Dev == dir.Dev
		return err
	})
	return same
}
