package guestfs

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrNotRegular is returned for what is no regular file, and has no content.
var ErrNotRegular = errors.New("not a regular file")

// Open opens a regular file for reading; symbolic links are followed.
func (r *Root) Open(path string) (f *os.File, info Info, err error) {
	err = r.as(func() error {
		fd, err := r.open(path, unix.O_PATH)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }() // a path only
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		info = r.info(base(path), &st)
		switch {
		case info.Mode.IsDir():
			return unix.EISDIR
		case !info.Mode.IsRegular():
			return ErrNotRegular
		}
		// The same file, whatever is at the path by now.
		data, err := unix.Open(procPath(fd), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			return err
		}
		f = os.NewFile(uintptr(data), path)
		return nil
	})
	return f, info, pathError("open", path, err)
}

// Readlink is what a symbolic link says.
func (r *Root) Readlink(path string) (target string, err error) {
	err = r.as(func() error {
		fd, err := r.open(path, unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }() // a path only
		target, err = readlinkat(fd, "")
		return err
	})
	return target, pathError("read link", path, err)
}

func readlinkat(fd int, name string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, name, buf)
	return string(buf[:max(n, 0)]), err
}

// ReadDir lists a directory, sorted by name; a symbolic link at the end of the
// path is not followed. What vanishes meanwhile is left out.
func (r *Root) ReadDir(path string) (list []Info, err error) {
	err = r.as(func() error {
		fd, err := r.open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
		if err != nil {
			return err
		}
		dir := os.NewFile(uintptr(fd), path)
		defer func() { _ = dir.Close() }() // only read
		names, err := dir.Readdirnames(-1)
		if err != nil {
			return err
		}
		slices.Sort(names)
		for _, n := range names {
			var st unix.Stat_t
			err := unix.Fstatat(int(dir.Fd()), n, &st, unix.AT_SYMLINK_NOFOLLOW)
			if errors.Is(err, unix.ENOENT) {
				continue
			}
			if err != nil {
				return err
			}
			list = append(list, r.info(n, &st))
		}
		return nil
	})
	return list, pathError("list", path, err)
}
