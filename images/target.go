package images

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxLinks      = 40 // symbolic links in one path, as in the kernel (path_resolution(7))
	maxPath       = 4096
	newFileMode   = 0o644
	newFolderMode = 0o755
)

// target is a file in an instance's root that is to be written: the directory
// that holds it, open, and its name there, which is no symbolic link.
type target struct {
	dirs   []int // descriptors (O_PATH) from the root's child down
	root   int   // borrowed
	name   string
	exists bool
	stat   unix.Stat_t
}

// resolveTarget follows path in root as a process with that root would, one
// component at a time: a symbolic link is read and its text walked in turn, an
// absolute one from root again, ".." never above root. Missing directories are
// made, the final file is not. No component is opened through a link, so nothing
// that changes meanwhile leads outside.
func resolveTarget(root *os.File, path string) (_ *target, err error) {
	t := &target{root: int(root.Fd())}
	defer func() {
		if err != nil {
			t.close()
		}
	}()
	if len(path) > maxPath || strings.ContainsRune(path, 0) {
		return nil, errors.New("its path is invalid")
	}
	todo := components(path)
	for links := 0; ; {
		if len(todo) == 0 {
			return nil, errors.New("its path names a directory")
		}
		part := todo[0]
		todo = todo[1:]
		if part == ".." {
			t.up()
			continue
		}
		var st unix.Stat_t
		err := unix.Fstatat(t.dir(), part, &st, unix.AT_SYMLINK_NOFOLLOW)
		switch {
		case err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK:
			if links++; links > maxLinks {
				return nil, fmt.Errorf("too many symbolic links: %w", unix.ELOOP)
			}
			if todo, err = t.follow(part, todo); err != nil {
				return nil, err
			}
		case len(todo) == 0:
			return t, t.last(part, st, err)
		default:
			if err := t.down(part, errors.Is(err, unix.ENOENT)); err != nil {
				return nil, err
			}
		}
	}
}

// components splits a path; a final slash or dot still names what comes before.
func components(path string) []string {
	var parts []string
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}

// dir is the innermost directory.
func (t *target) dir() int {
	if n := len(t.dirs); n > 0 {
		return t.dirs[n-1]
	}
	return t.root
}

func (t *target) up() {
	if n := len(t.dirs); n > 0 {
		_ = unix.Close(t.dirs[n-1])
		t.dirs = t.dirs[:n-1]
	}
}

func (t *target) close() {
	for len(t.dirs) > 0 {
		t.up()
	}
}

// down enters a directory, made when it is missing.
func (t *target) down(part string, missing bool) error {
	if len(t.dirs) > 256 {
		return errors.New("its path is nested too deeply")
	}
	if missing {
		if err := unix.Mkdirat(t.dir(), part, newFolderMode); err != nil && !errors.Is(err, unix.EEXIST) {
			return &os.PathError{Op: "mkdirat", Path: part, Err: err}
		}
	}
	fd, err := unix.Openat(t.dir(), part, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "openat", Path: part, Err: err}
	}
	t.dirs = append(t.dirs, fd)
	if missing {
		// Whatever the umask is; the directory was made by us just now.
		if err := unix.Fchmodat(fd, ".", newFolderMode, 0); err != nil {
			return &os.PathError{Op: "fchmodat", Path: part, Err: err}
		}
	}
	return nil
}

// follow puts a link's text in front of what is left of the path.
func (t *target) follow(part string, todo []string) ([]string, error) {
	buf := make([]byte, maxPath)
	n, err := unix.Readlinkat(t.dir(), part, buf)
	if err != nil {
		return nil, &os.PathError{Op: "readlinkat", Path: part, Err: err}
	}
	text := string(buf[:n])
	if strings.HasPrefix(text, "/") {
		t.close()
	}
	return append(components(text), todo...), nil
}

// last takes the final component.
func (t *target) last(part string, st unix.Stat_t, err error) error {
	t.name, t.stat, t.exists = part, st, err == nil
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return &os.PathError{Op: "fstatat", Path: part, Err: err}
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return errors.New("what is there is not a plain file")
	}
	return nil
}

// write replaces the file's content, or makes the file, by one rename.
func (t *target) write(content []byte, a attributes) (err error) {
	random := make([]byte, 8)
	if _, err := rand.Read(random); err != nil {
		return err
	}
	temp := ".template-" + hex.EncodeToString(random)
	dir := t.dir()
	fd, err := unix.Openat(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return &os.PathError{Op: "openat", Path: temp, Err: err}
	}
	f := os.NewFile(uintptr(fd), temp)
	defer func() {
		if err != nil {
			err = errors.Join(err, unix.Unlinkat(dir, temp, 0))
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = t.setAttributes(int(f.Fd()), a)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := unix.Renameat(dir, temp, dir, t.name); err != nil {
		return &os.PathError{Op: "renameat", Path: t.name, Err: err}
	}
	return nil
}

// setAttributes: owner before mode, since chown clears set-id bits; then xattrs,
// since chown removes capabilities.
func (t *target) setAttributes(fd int, a attributes) error {
	uid, gid, mode := 0, 0, uint32(newFileMode)
	if t.exists {
		uid, gid, mode = int(t.stat.Uid), int(t.stat.Gid), t.stat.Mode&0o7777
	}
	if a.uid >= 0 {
		uid = a.uid
	}
	if a.gid >= 0 {
		gid = a.gid
	}
	if a.mode >= 0 {
		mode = uint32(a.mode)
	}
	if err := unix.Fchown(fd, uid, gid); err != nil {
		return os.NewSyscallError("fchown", err)
	}
	if err := unix.Fchmod(fd, mode); err != nil {
		return os.NewSyscallError("fchmod", err)
	}
	if t.exists {
		return t.copyXattrs(fd)
	}
	return nil
}

// copyXattrs gives the new file the attributes of the one it replaces, except
// file capabilities, which belong to the old content, and ACLs, which a new mode
// may contradict.
func (t *target) copyXattrs(fd int) error {
	old, err := unix.Openat(t.dir(), t.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "openat", Path: t.name, Err: err}
	}
	defer func() { _ = unix.Close(old) }()
	buf := make([]byte, 64<<10)
	n, err := unix.Flistxattr(old, buf)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return os.NewSyscallError("flistxattr", err)
	}
	for name := range strings.SplitSeq(string(buf[:n]), "\x00") {
		if name == "" || name == "security.capability" || strings.HasPrefix(name, "system.") {
			continue
		}
		value := make([]byte, 64<<10)
		size, err := unix.Fgetxattr(old, name, value)
		if err == nil {
			err = unix.Fsetxattr(fd, name, value[:size], 0)
		}
		if err != nil {
			return fmt.Errorf("cannot keep its extended attribute %q: %w", name, err)
		}
	}
	return nil
}
