package btrfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotSubvolume says that a path is not the root directory of a subvolume.
var ErrNotSubvolume = errors.New("not a btrfs subvolume")

// openAt opens the directory name in dir, without following a symbolic link. It
// returns the bare errno: callers name the path.
func openAt(dir int, name string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|flags, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// openDir opens a directory that the caller named.
func openDir(path string) (*os.File, error) {
	return openAt(unix.AT_FDCWD, path, 0)
}

// openSubvolume opens a subvolume's root directory, which path must be itself:
// neither a symbolic link to it nor a directory in it.
func openSubvolume(path string) (*os.File, error) {
	return openSubvolumeAt(unix.AT_FDCWD, filepath.Clean(path))
}

func openSubvolumeAt(dir int, name string) (*os.File, error) {
	f, err := openAt(dir, name, unix.O_NOFOLLOW)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return nil, fmt.Errorf("%w: %w", ErrNotSubvolume, err)
	} else if err != nil {
		return nil, err
	}
	ok, err := isSubvolume(f)
	if err == nil && !ok {
		err = ErrNotSubvolume
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// isSubvolume looks at inode number and file system: the root directory of each
// subvolume has number 256, and nothing else on btrfs does.
func isSubvolume(f *os.File) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return false, err
	}
	if st.Ino != firstFreeObjectID || st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return false, nil
	}
	var sf unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &sf); err != nil {
		return false, err
	}
	return sf.Type == unix.BTRFS_SUPER_MAGIC, nil
}

// openParent opens the directory that path is, or is to be, an entry of, and
// returns the entry's name.
func openParent(path string) (*os.File, string, error) {
	path = filepath.Clean(path)
	name := filepath.Base(path)
	if err := checkName(name); err != nil {
		return nil, "", err
	}
	dir, err := openDir(filepath.Dir(path))
	return dir, name, err
}

// checkName refuses what can be no entry of a directory. Most of it the kernel
// would refuse too, but not a name that its buffer cuts short.
func checkName(name string) error {
	switch {
	case name == "", name == ".", name == "..", name == "/":
		return fmt.Errorf("%q cannot be a subvolume's name: %w", name, unix.EINVAL)
	case len(name) > nameMax:
		return unix.ENAMETOOLONG
	}
	for i := range len(name) {
		if name[i] == 0 || name[i] == '/' {
			return fmt.Errorf("%q cannot be a subvolume's name: %w", name, unix.EINVAL)
		}
	}
	return nil
}
