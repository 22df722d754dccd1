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

// mountLook calls mount with where a look at what ref names is mounted: at dir, which the
// user named, or with "" at a directory made for it below the state directory.
func (s *System) mountLook(ref, dir string, mount func(place string) error) (_ string, err error) {
	if dir != "" {
		place, err := s.mountTarget(dir)
		if err == nil {
			err = mount(place)
		}
		if err != nil {
			return "", err
		}
		return place, nil
	}
	looks, err := makeLooks(s.dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, looks.Close()) }()
	place, err := makeLookDir(looks, ref)
	if err != nil {
		return "", err
	}
	if _, err = mountTarget(place); err == nil {
		err = mount(place)
	}
	if err != nil {
		removeEmpty(looks, filepath.Base(place))
		return "", err
	}
	return place, nil
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

// makeLooks is openLooks, and makes what is not there. No other command removes anything in
// it until it is closed.
func makeLooks(dir *state.Dir) (*os.File, error) {
	if err := os.Mkdir(filepath.Join(dir.Root, looksDir), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	looks, err := openLooks(dir)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(looks.Fd()), unix.LOCK_SH) // a sweep is short
		if err == nil {
			return looks, nil
		}
		if !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", looks.Name(), err), looks.Close())
		}
	}
}

// makeLookDir makes the directory at which a look is mounted when the user names none.
func makeLookDir(looks *os.File, ref string) (string, error) {
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

// removeEmpty removes those of the directories named that are empty and nothing is mounted
// at; none while something is about to be mounted there (makeLooks), as the next command
// sweeps again.
func removeEmpty(looks *os.File, names ...string) {
	if unix.Flock(int(looks.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	for _, name := range names {
		_ = unix.Unlinkat(int(looks.Fd()), name, unix.AT_REMOVEDIR) // EBUSY while mounted, ENOTEMPTY and ENOTDIR if not ours
	}
}

// removeLookDir removes the directory of a look that has ended.
func removeLookDir(dir *state.Dir, path string) {
	if looks, err := openLooks(dir); err == nil {
		removeEmpty(looks, filepath.Base(path))
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
	if names, _ := looks.Readdirnames(-1); len(names) > 0 {
		removeEmpty(looks, names...)
	}
	_ = looks.Close() // it was only read
}
