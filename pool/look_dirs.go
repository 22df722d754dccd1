package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/pool/state"
)

// looksDir is where in the state directory looks are mounted for which no directory is named.
const looksDir = "mnt"

// lookPlace is where a look at what ref names is mounted: at dir, which the user named, or
// with "" at a directory made for it below the state directory. undo removes what was
// made, for a look that comes to nothing.
func (s *System) lookPlace(ref, dir string) (place string, undo func(), err error) {
	if dir != "" {
		place, err = s.mountTarget(dir)
		return place, func() {}, err
	}
	if place, err = makeLookDir(s.dir, ref); err != nil {
		return "", nil, err
	}
	undo = func() { removeLookDir(s.dir, place) }
	if _, err := mountTarget(place); err != nil {
		undo()
		return "", nil, err
	}
	return place, undo, nil
}

// openLooks opens the directory of the looks, as far as it is poolctl's own: neither
// something that is mounted there nor what a symbolic link names. One that is not there is
// fs.ErrNotExist.
func openLooks(dir *state.Dir) (_ *os.File, err error) {
	root, err := openPlace(dir.Root)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	path := filepath.Join(dir.Root, looksDir)
	fd, err := unix.Openat2(int(root.Fd()), looksDir, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	switch {
	case errors.Is(err, unix.EXDEV):
		return nil, withHint(fmt.Errorf("something is mounted at %s", path), "umount %s", path)
	case err != nil:
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// makeLookDir makes the directory below the state directory at which a look is
// mounted when the user names none.
func makeLookDir(dir *state.Dir, ref string) (_ string, err error) {
	if err := os.Mkdir(filepath.Join(dir.Root, looksDir), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	looks, err := openLooks(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, looks.Close()) }()
	name := strings.ReplaceAll(ref, "/", "@")
	if name == "." || name == ".." { // an alias may be called that
		name = "@" + name
	}
	path := filepath.Join(looks.Name(), name)
	if err := unix.Mkdirat(int(looks.Fd()), name, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return "", &os.PathError{Op: "mkdir", Path: path, Err: err}
	}
	if fi, err := os.Lstat(path); err != nil {
		return "", err
	} else if !fi.IsDir() {
		return "", fmt.Errorf("%s is not a directory", path)
	}
	return path, nil
}

// removeLookDir removes a directory that makeLookDir made; one at which something is
// mounted stays.
func removeLookDir(dir *state.Dir, path string) {
	if looks, err := openLooks(dir); err == nil {
		_ = unix.Unlinkat(int(looks.Fd()), filepath.Base(path), unix.AT_REMOVEDIR)
		_ = looks.Close() // it was only read
	}
}

// sweepLooks removes the directories below mnt/ on which nothing is mounted any
// more, as after a reboot. Whatever else is there stays.
func sweepLooks(dir *state.Dir) {
	looks, err := openLooks(dir)
	if err != nil {
		return
	}
	names, _ := looks.Readdirnames(-1)
	for _, name := range names {
		_ = unix.Unlinkat(int(looks.Fd()), name, unix.AT_REMOVEDIR) // EBUSY while mounted, ENOTEMPTY and ENOTDIR if not ours
	}
	_ = looks.Close() // it was only read
}
