package tarball

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// PruneDevices removes the device nodes that SafeDevice does not admit from the
// tree below root, which another program wrote, and says how many they were. It
// follows no symbolic link and looks at nothing but directories and the type
// that readdir reports.
func PruneDevices(ctx context.Context, root *os.File) (int, error) {
	fd, err := unix.Openat(int(root.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot read %s: %w", root.Name(), err)
	}
	p := &pruner{ctx: ctx, buf: make([]byte, 64<<10)}
	if err := p.dir(fd, 0); err != nil {
		return p.removed, fmt.Errorf("cannot look for device nodes in %s: %w", root.Name(), err)
	}
	return p.removed, nil
}

type pruner struct {
	ctx     context.Context
	buf     []byte
	removed int
}

// dir handles one directory and closes fd.
func (p *pruner) dir(fd, depth int) error {
	defer func() { _ = unix.Close(fd) }()
	if depth > DefaultDepth {
		return &LimitError{"nested directories", DefaultDepth}
	}
	if err := p.ctx.Err(); err != nil {
		return err
	}
	var subdirs []string
	for {
		n, err := unix.Getdents(fd, p.buf)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		for b := p.buf[:n]; len(b) > 0; {
			var e dirent
			if e, b, err = nextDirent(b); err != nil {
				return err
			}
			switch e.kind {
			case unix.DT_DIR:
				if e.name != "." && e.name != ".." {
					subdirs = append(subdirs, e.name)
				}
			case unix.DT_CHR, unix.DT_BLK, unix.DT_UNKNOWN:
				sub, err := p.node(fd, e.name)
				if err != nil {
					return err
				}
				if sub {
					subdirs = append(subdirs, e.name)
				}
			}
		}
	}
	for _, name := range subdirs {
		sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "openat", Path: name, Err: err}
		}
		if err := p.dir(sub, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// node removes name when it is a device that is not safe, and keeps its
// directory's time. It says whether name is a directory (file systems that do
// not report types).
func (p *pruner) node(dir int, name string) (isDir bool, err error) {
	if name == "." || name == ".." {
		return false, nil
	}
	var st, parent unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return false, &os.PathError{Op: "fstatat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return true, nil
	}
	if safeMode(st.Mode, st.Rdev) {
		return false, nil
	}
	err = errors.Join(unix.Fstat(dir, &parent), unix.Unlinkat(dir, name, 0))
	if err == nil {
		err = unix.UtimesNanoAt(dir, ".", []unix.Timespec{parent.Atim, parent.Mtim}, 0)
	}
	if err != nil {
		return false, &os.PathError{Op: "unlinkat", Path: name, Err: err}
	}
	p.removed++
	return false, nil
}
