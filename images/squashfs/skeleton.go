package squashfs

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/images/internal/restore"
)

// skeleton makes everything but the content of files: directories, which nobody
// but root can enter until they are finished, symbolic links, nodes, and files
// that have no content. It says how many device nodes it left out. The table of
// inodes is let go: nobody looks at it any more.
func (t *tree) skeleton(ctx context.Context, f *files) (left int, err error) {
	stack := restore.NewDirStack(int(f.root.Fd()), nil)
	defer stack.Cut(0)
	dir, parent := "", uint32(0)
	for i := 1; i < len(t.nodes); i++ {
		n := &t.nodes[i]
		if n.kind == kindFile && n.pieces > 0 {
			continue
		}
		if i%1024 == 0 && ctx.Err() != nil {
			return left, ctx.Err()
		}
		if n.parent != parent {
			if parent, dir = n.parent, ""; parent != 0 {
				dir = t.path(parent)
			}
		}
		fd, err := stack.Open(dir, false)
		if err == nil {
			err = t.make(f, fd, uint32(i), &left)
		}
		if err != nil {
			return left, restoreError(t, uint32(i), err)
		}
	}
	t.inodes = nil
	return left, nil
}

// make makes one node in the directory parent.
func (t *tree) make(f *files, parent int, i uint32, left *int) error {
	n := &t.nodes[i]
	base := t.nameOf(n.name, n.length)
	switch n.kind {
	case kindDir:
		return unix.Mkdirat(parent, base, 0o700)
	case kindFile:
		fd, err := f.create(parent, i)
		if err != nil {
			return err
		}
		return closeFile(fd, f.finish(fd, i))
	case kindSymlink:
		if err := unix.Symlinkat(t.target(n), parent, base); err != nil {
			return err
		}
		return t.finishNode(n, parent, base)
	}
	mode, dev := uint32(unix.S_IFIFO), 0
	switch n.kind {
	case kindSocket:
		mode = unix.S_IFSOCK
	case kindChar, kindBlock:
		major, minor := deviceNumber(uint32(n.size))
		if !restore.SafeDevice(n.kind == kindChar, major, minor) {
			n.parent = leftOut
			*left++
			return nil
		}
		mode, dev = unix.S_IFCHR, int(unix.Mkdev(major, minor))
	}
	if err := unix.Mknodat(parent, base, mode|0o600, dev); err != nil {
		return err
	}
	return t.finishNode(n, parent, base)
}

// leftOut marks a device node that was not made, in place of its parent: further
// names of it are left out as well.
const leftOut = 1<<32 - 1

// deviceNumber takes a device number apart (new_decode_dev of linux/kdev_t.h).
func deviceNumber(rdev uint32) (major, minor uint32) {
	return rdev >> 8 & 0xfff, rdev&0xff | rdev>>12&0xfff00
}

// finishNode sets the metadata of what cannot or must not be opened.
func (t *tree) finishNode(n *node, parent int, base string) error {
	if err := unix.Fchownat(parent, base, int(t.owners[n.uid]), int(t.owners[n.gid]), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot set its owner: %w", err)
	}
	if n.kind != kindSymlink {
		// It was made by us just now and is no symbolic link, so this follows none.
		if err := unix.Fchmodat(parent, base, uint32(n.mode), 0); err != nil {
			return fmt.Errorf("cannot set its mode: %w", err)
		}
	}
	attributes, err := t.xattrs.list(n.xattr)
	if err != nil {
		return err
	}
	// There is no setxattrat before Linux 6.13; the path goes through our own
	// descriptor and its last component is not followed.
	path := fmt.Sprintf("/proc/self/fd/%d/%s", parent, base)
	set := func(name string, value []byte) error { return unix.Lsetxattr(path, name, value, 0) }
	if err := restore.SetXattrs(attributes, set); err != nil {
		return err
	}
	return restore.SetTime(parent, base, mtimeOf(n))
}

// hardLinks makes the further names of files.
func (t *tree) hardLinks(ctx context.Context, root *os.File) error {
	from, to := restore.NewDirStack(int(root.Fd()), nil), restore.NewDirStack(int(root.Fd()), nil)
	defer from.Cut(0)
	defer to.Cut(0)
	for i, l := range t.links {
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		n := &t.nodes[l.node]
		if n.parent == leftOut {
			continue
		}
		name := t.join(l.parent, l.name, l.length)
		old, err := from.Open(t.dirPath(n.parent), false)
		if err != nil {
			return restore.EntryError(name, err)
		}
		dir, err := to.Open(t.dirPath(l.parent), false)
		if err == nil {
			err = unix.Linkat(old, t.nameOf(n.name, n.length), dir, t.nameOf(l.name, l.length), 0)
		}
		if err != nil {
			return restore.EntryError(name, fmt.Errorf("cannot link it to %.256q: %w", t.path(l.node), err))
		}
	}
	return nil
}

// dirPath is the path of a directory, "" for the root.
func (t *tree) dirPath(index uint32) string {
	if index == 0 {
		return ""
	}
	return t.path(index)
}

// finishDirs gives the directories their metadata, the innermost first, so that
// no time is changed by what is made later.
func (t *tree) finishDirs(ctx context.Context, f *files) error {
	for i := len(t.nodes) - 1; i >= 0; i-- {
		if t.nodes[i].kind != kindDir {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		fd, err := openBeneath(int(f.root.Fd()), t.path(uint32(i)), unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err == nil {
			err = closeFile(fd, f.finish(fd, uint32(i)))
		}
		if err != nil {
			return restoreError(t, uint32(i), err)
		}
	}
	return nil
}
