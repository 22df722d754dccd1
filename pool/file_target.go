package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// fileTarget is where something is written that a command was given a file for.
type fileTarget struct {
	path string // with the symbolic links followed
	// stream says that it is written to as it is, and never replaced: a FIFO, a
	// character device, an open file of this process (/dev/stdout, /dev/fd/3).
	stream bool
	fd     int // of the open file; -1 = none
}

// targetOf finds out what a file is, or is going to be. What can neither be written
// to as a stream nor be replaced by a file is refused.
func targetOf(path string) (fileTarget, error) {
	t := fileTarget{path: path, fd: -1}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist): // or a link to what is not there yet
		t.path, err = followLinks(path)
		return t, statError(err)
	case err != nil:
		return t, statError(err)
	case info.IsDir():
		return t, errors.New("it is a directory")
	}
	if t.path, err = followLinks(path); err != nil {
		return t, statError(err)
	}
	if dir, name := filepath.Split(t.path); filepath.Clean(dir) == "/proc/"+strconv.Itoa(os.Getpid())+"/fd" {
		if t.fd, err = strconv.Atoi(name); err != nil {
			return t, err
		}
		t.stream = true
		return t, nil
	}
	t.stream, err = streamMode(info.Mode())
	return t, err
}

// streamMode says whether a file of that mode is a stream, or a regular file.
func streamMode(m fs.FileMode) (bool, error) {
	switch {
	case m.IsRegular():
		return false, nil
	case m&fs.ModeNamedPipe != 0, m&fs.ModeCharDevice != 0:
		return true, nil
	case m&fs.ModeDevice != 0:
		return false, errors.New("it is a block device")
	case m&fs.ModeSocket != 0:
		return false, errors.New("it is a socket")
	}
	return false, errors.New("it is no file")
}

// followLinks follows the symbolic links that a path ends in, also to what is not
// there. What an open file of this process leads to is not followed: it is open.
func followLinks(path string) (string, error) {
	for range 40 { // as the kernel does (path_resolution(7))
		to, err := os.Readlink(path)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", err
		}
		dir, err := filepath.EvalSymlinks(filepath.Dir(path))
		if err != nil {
			return "", err
		}
		if dir == "/proc/"+strconv.Itoa(os.Getpid())+"/fd" {
			return filepath.Join(dir, filepath.Base(path)), nil
		}
		if !filepath.IsAbs(to) {
			to = dir + "/" + to
		}
		// A ".." is behind the links before it.
		dir, name := filepath.Split(to)
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", err
		}
		path = filepath.Join(dir, name)
	}
	return "", unix.ELOOP
}

// open opens a stream. It waits until somebody reads from a FIFO.
func (t fileTarget) open(ctx context.Context) (f *os.File, err error) {
	if t.fd >= 0 {
		fd, err := unix.FcntlInt(uintptr(t.fd), unix.F_DUPFD_CLOEXEC, 3)
		if err != nil {
			return nil, err
		}
		f = os.NewFile(uintptr(fd), t.path)
	}
	for f == nil {
		f, err = os.OpenFile(t.path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil && !errors.Is(err, unix.ENXIO) { // nobody reads
			return nil, statError(err)
		}
		if err != nil {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	var flags int
	if _, err = unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err == nil {
		err = errors.New("it is a terminal")
	} else if flags, err = unix.FcntlInt(f.Fd(), unix.F_GETFL, 0); err == nil && flags&unix.O_ACCMODE == unix.O_RDONLY {
		err = errors.New("it is open for reading")
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// exportStream writes a backup to what is no regular file, as to standard output.
func (s *System) exportStream(ctx context.Context, x exporting, t fileTarget) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot %s to %s: %w", x.verb(), t.path, err) }
	f, err := t.open(ctx)
	if err != nil {
		return fail(err)
	}
	out := &backupFile{f: f}
	if err = s.export(ctx, x, out); out.err != nil {
		err = fail(out.err)
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fail(cerr)
	}
	return err
}
