package guestfs

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// place is where a file is, or can be made: a name in an open directory.
type place struct {
	parent int // O_PATH
	name   string
	st     *unix.Stat_t // nil: nothing is there
}

func (p place) close() { _ = unix.Close(p.parent) } // a path only

// maxLinks is how many symbolic links lead to a file at most, as in the kernel
// (MAXSYMLINKS).
const maxLinks = 40

// resolve finds the place of a path; with follow, of what a symbolic link at its
// end leads to, there or not.
func (r *Root) resolve(path string, follow bool) (place, error) {
	for range maxLinks {
		dir, name, err := split(path)
		if err != nil {
			return place{}, err
		}
		fd, err := r.open(dir, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return place{}, err
		}
		p := place{parent: fd, name: name, st: new(unix.Stat_t)}
		err = unix.Fstatat(fd, name, p.st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case errors.Is(err, unix.ENOENT):
			p.st = nil
			return p, nil
		case err != nil:
			p.close()
			return place{}, err
		case !follow || p.st.Mode&unix.S_IFMT != unix.S_IFLNK:
			return p, nil
		}
		target, err := readlinkat(fd, name)
		p.close()
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) { // it is no link by now: look again
			return place{}, err
		}
		switch {
		case err != nil:
		case strings.HasPrefix(target, "/"):
			path = target
		default:
			path = dir + "/" + target
		}
	}
	return place{}, unix.ELOOP
}

// errNoName is for paths that do not end with the name of a file.
var errNoName = errors.New("it does not end with the name of a file")

// split cuts a path into a directory and a name in it.
func split(path string) (dir, name string, err error) {
	if strings.ContainsRune(path, 0) {
		return "", "", errors.New("it contains a zero byte")
	}
	path = strings.TrimRight(path, "/")
	i := strings.LastIndexByte(path, '/')
	dir, name = path[:i+1], path[i+1:]
	if name == "" || name == "." || name == ".." {
		return "", "", errNoName
	}
	if dir = strings.TrimRight(dir, "/"); dir == "" {
		dir = "/"
	}
	return dir, name, nil
}
