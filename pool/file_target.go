package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
	to, err := followLinks(path)
	if err != nil {
		return t, statError(err)
	}
	t.path = to
	if dir, name := filepath.Split(to); isOwnFiles(filepath.Clean(dir)) {
		if fd, err := strconv.Atoi(name); err == nil {
			return t.openFile(fd)
		}
	}
	// Not by the links again: they may lead to something else by now.
	info, err := os.Lstat(to)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return t, nil
	case err != nil:
		return t, statError(err)
	case info.IsDir():
		return t, errIsDir
	}
	t.stream, err = streamMode(info.Mode())
	return t, err
}

var errIsDir = errors.New("it is a directory")

// openFile is the target that is an open file of this process.
func (t fileTarget) openFile(fd int) (fileTarget, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return t, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return t, errIsDir
	}
	t.stream, t.fd = true, fd
	return t, nil
}

// isOwnFiles says whether a directory is the one of this process's open files:
// /proc/PID/fd, where /proc/self/fd and /dev/fd lead to, or /proc/PID/task/TID/fd,
// where /proc/thread-self/fd leads to. All threads have the same.
func isOwnFiles(dir string) bool {
	own, isProc := strings.CutPrefix(dir, "/proc/"+strconv.Itoa(os.Getpid())+"/")
	if !isProc {
		return false
	}
	isTask, _ := filepath.Match("task/*/fd", own)
	return own == "fd" || isTask
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
		_, err := os.Readlink(path)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) {
			return path, nil
		} else if err != nil {
			return "", err
		}
		// A ".." is behind the links before it.
		dir, name := filepath.Split(path)
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", err
		}
		if isOwnFiles(dir) {
			return filepath.Join(dir, name), nil
		}
		to, err := readLink(dir, name)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(to) {
			to = dir + "/" + to
		}
		dir, name = filepath.Split(to)
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			return "", err
		}
		path = filepath.Join(dir, name)
	}
	return "", unix.ELOOP
}

// readLink reads a symbolic link that is to be followed. As with the kernel's
// fs.protected_symlinks, which does not see what is followed here, one that another
// user has put into a directory such as /tmp is refused.
func readLink(dir, name string) (string, error) {
	in, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(in) }()
	link, err := unix.Openat(in, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer func() { _ = unix.Close(link) }()
	var inStat, linkStat unix.Stat_t
	if err := errors.Join(unix.Fstat(in, &inStat), unix.Fstat(link, &linkStat)); err != nil {
		return "", err
	}
	const shared = unix.S_ISVTX | unix.S_IWOTH
	if uid := linkStat.Uid; inStat.Mode&shared == shared && uid != 0 && uid != inStat.Uid && int(uid) != os.Geteuid() {
		return "", fmt.Errorf("%s is a symbolic link of user %d's in a directory that everybody may write to", filepath.Join(dir, name), uid)
	}
	to := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(link, "", to)
	if err != nil {
		return "", err
	}
	return string(to[:n]), nil
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
		f, err = os.OpenFile(t.path, unix.O_WRONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err == nil {
			if err = isStream(f); err != nil {
				return nil, errors.Join(err, f.Close())
			}
			break
		}
		// ENXIO: nobody reads, or no driver has the device.
		if info, serr := os.Lstat(t.path); !errors.Is(err, unix.ENXIO) || serr != nil || info.Mode()&fs.ModeNamedPipe == 0 {
			return nil, statError(err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
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

// isStream is an error if something that was opened as a stream is none: it may have
// been exchanged since targetOf saw it.
func isStream(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return statError(err)
	}
	stream, err := streamMode(info.Mode())
	if err == nil && !stream {
		err = errors.New("it is a regular file now")
	}
	return err
}

// exportStream writes a backup to what is no regular file, as to standard output.
func (s *System) exportStream(ctx context.Context, x exporting, t fileTarget) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot %s to %s: %w", x.verb(), t.path, err) }
	f, err := t.open(ctx)
	if err != nil {
		return fail(err)
	}
	out := &backupFile{f: interruptibleWriter(ctx, f)}
	if err = s.export(ctx, x, out); out.err != nil {
		err = fail(out.err)
	}
	if cerr := f.Close(); err == nil && cerr != nil {
		err = fail(cerr)
	}
	return err
}
