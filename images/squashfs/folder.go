package squashfs

import "poolctl/images/internal/restore"

// folder holds open the directory that a goroutine made its last file in, and those
// above: blocks come directory by directory, so most files find theirs open.
type folder struct {
	stack *restore.DirStack
	last  uint32 // the directory's node, once fd is valid
	fd    int    // -1 before
}

func (f *files) newFolder() *folder {
	return &folder{stack: restore.NewDirStack(int(f.root.Fd()), nil), fd: -1}
}

// open gives a descriptor (O_PATH) of a directory, valid until the next call.
func (d *folder) open(t *tree, dir uint32) (int, error) {
	if d.fd >= 0 && d.last == dir {
		return d.fd, nil
	}
	fd, err := d.stack.Open(t.dirPath(dir), false)
	d.fd, d.last = fd, dir
	if err != nil {
		d.fd = -1
	}
	return d.fd, err
}

func (d *folder) close() { d.stack.Cut(0) }
