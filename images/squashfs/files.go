package squashfs

import (
	"container/list"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/images/internal/restore"
)

// maxOpenFiles bounds the files that are open because parts of them have still
// to come.
const maxOpenFiles = 128

// beneath keeps every name in the directory that it is resolved from.
const beneath = unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV

// files writes the content of regular files below a directory, in pieces that
// come in any order and from several goroutines. A file gets its metadata with
// its last piece.
type files struct {
	root *os.File
	tree *tree
	base *restore.Base // nil for none
	pass restore.Pass

	mu   sync.Mutex
	open map[uint32]*openFile // by node: the files of several pieces that have begun
	idle list.List            // of those, the ones that nobody writes to, the oldest first; *openFile
	fds  int
}

// openFile is a file that has some of its pieces.
type openFile struct {
	node  uint32
	left  uint32 // pieces still to be written
	users int
	fd    int          // -1 while it is not open
	old   *restore.Old // of the base, open as long as fd
	place *list.Element

	mu     sync.Mutex // held while it is opened, and for same and unsent
	made   bool
	same   restore.Runs // what old has, to be cloned before it is closed
	unsent int64        // bytes written since the last StartWriteback
}

func newFiles(root *os.File, t *tree, base *restore.Base) *files {
	return &files{root: root, tree: t, base: base, open: map[uint32]*openFile{}}
}

// write writes a piece of a file at an offset, or notes that the base has it. dir
// is the goroutine's own.
func (f *files) write(dir *folder, node uint32, off int64, b []byte) error {
	if f.tree.nodes[node].pieces == 1 {
		return f.writeOnly(dir, node, off, b)
	}
	o, err := f.use(dir, node)
	if err != nil {
		return err
	}
	if o.old.Has(b, off) {
		o.mu.Lock()
		o.same.Add(off, off+int64(len(b)))
		o.mu.Unlock()
	} else if err = f.writeAt(o.fd, node, off, b); err == nil {
		o.mu.Lock()
		o.unsent += int64(len(b))
		due := o.unsent >= restore.WritebackStride
		if due {
			o.unsent = 0
		}
		o.mu.Unlock()
		if due {
			restore.StartWriteback(o.fd, int64(f.tree.nodes[node].size))
		}
	}
	return f.release(o, err)
}

// writeOnly writes a file of one piece.
func (f *files) writeOnly(dir *folder, node uint32, off int64, b []byte) error {
	fd, err := f.createIn(dir, node)
	if err != nil {
		return err
	}
	if old := f.old(node); old.Has(b, off) {
		var same restore.Runs
		same.Add(off, off+int64(len(b)))
		err = old.Clone(fd, same)
		old.Close()
	} else {
		old.Close()
		err = f.writeAt(fd, node, off, b)
	}
	if err == nil {
		err = f.finish(fd, node)
	}
	return closeFile(fd, err)
}

// old opens the file that the base has of that name.
func (f *files) old(node uint32) *restore.Old {
	if f.base == nil {
		return nil
	}
	return f.base.Open(f.tree.path(node), int64(f.tree.nodes[node].size))
}

// closeFile closes a file that was written; the first error counts.
func closeFile(fd int, err error) error {
	if cerr := unix.Close(fd); cerr != nil && err == nil {
		err = fmt.Errorf("cannot write it: %w", cerr)
	}
	return err
}

func (f *files) writeAt(fd int, node uint32, off int64, b []byte) error {
	if err := f.pass.Before(len(b)); err != nil {
		return err
	}
	hole, err := restore.WriteSparse(fd, b, off)
	if err == nil && hole {
		err = unix.Ftruncate(fd, int64(f.tree.nodes[node].size))
	}
	if err != nil {
		return fmt.Errorf("cannot write it: %w", err)
	}
	return nil
}

// use opens a file, or finds it open, and keeps it so until release.
func (f *files) use(dir *folder, node uint32) (*openFile, error) {
	f.mu.Lock()
	o := f.open[node]
	if o == nil {
		o = &openFile{node: node, left: f.tree.nodes[node].pieces, fd: -1}
		f.open[node] = o
	}
	o.users++
	if o.place != nil {
		f.idle.Remove(o.place)
		o.place = nil
	}
	err := f.makeRoom()
	f.mu.Unlock()
	if err != nil {
		return nil, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.fd >= 0 {
		return o, nil
	}
	if o.made {
		o.fd, err = openBeneath(int(f.root.Fd()), f.tree.path(node), unix.O_WRONLY, 0)
	} else {
		o.fd, err = f.createIn(dir, node)
	}
	if err != nil {
		o.fd = -1
		return nil, err
	}
	o.made = true
	o.old = f.old(node)
	f.mu.Lock()
	f.fds++
	f.mu.Unlock()
	return o, nil
}

// makeRoom closes idle files when too many are open. f.mu is held.
func (f *files) makeRoom() error {
	for f.fds >= maxOpenFiles && f.idle.Len() > 0 {
		o, _ := f.idle.Remove(f.idle.Front()).(*openFile)
		o.place = nil
		// Now, as the base may be gone when it is opened again.
		err := o.old.Clone(o.fd, o.same)
		o.old.Close()
		fd := o.fd
		o.fd, o.old, o.same = -1, nil, nil
		f.fds--
		if err := closeFile(fd, err); err != nil {
			return restoreError(f.tree, o.node, err)
		}
	}
	return nil
}

// release ends a use; the last one of a file finishes it.
func (f *files) release(o *openFile, err error) error {
	f.mu.Lock()
	o.users--
	o.left--
	last := o.left == 0
	switch {
	case last:
		delete(f.open, o.node)
		f.fds--
	case o.users == 0:
		o.place = f.idle.PushBack(o)
	}
	f.mu.Unlock()
	if !last {
		return err
	}
	if err == nil {
		err = o.old.Clone(o.fd, o.same)
	}
	if err == nil {
		err = f.finish(o.fd, o.node)
	}
	o.old.Close()
	return closeFile(o.fd, err)
}

// closeAll closes what an error left open.
func (f *files) closeAll() {
	for _, o := range f.open {
		if o.fd >= 0 {
			_ = unix.Close(o.fd) // the tree is given up
			o.old.Close()
		}
	}
	f.open = nil
}

// openBeneath opens a file by its name in an open directory.
func openBeneath(dir int, name string, flags uint64, mode uint64) (int, error) {
	for {
		fd, err := unix.Openat2(dir, name, &unix.OpenHow{
			Flags: flags | unix.O_NOFOLLOW | unix.O_CLOEXEC, Mode: mode, Resolve: beneath,
		})
		switch {
		case err == nil:
			return fd, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN): // openat2(2): a concurrent rename
			continue
		}
		return -1, fmt.Errorf("cannot open it: %w", err)
	}
}

// createIn is create in the directory that the file belongs in.
func (f *files) createIn(dir *folder, node uint32) (int, error) {
	parent, err := dir.open(f.tree, f.tree.nodes[node].parent)
	if err != nil {
		return -1, err
	}
	return f.create(parent, node)
}

// create makes a file in its directory, with its mode as far as the umask lets it:
// no bits that give rights before the content is there.
func (f *files) create(parent int, node uint32) (int, error) {
	n := &f.tree.nodes[node]
	name := f.tree.nameOf(n.name, n.length)
	fd, err := openBeneath(parent, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, uint64(n.mode&0o777))
	if err != nil {
		return -1, err
	}
	if n.hole {
		if err := unix.Ftruncate(fd, int64(n.size)); err != nil {
			return -1, closeFile(fd, fmt.Errorf("cannot make it %d bytes long: %w", n.size, err))
		}
	}
	return fd, nil
}

// finish gives a file its metadata: owner before mode, as chown clears set-id
// bits; then attributes, as chown and writing remove security.capability; then
// the time. What is so already is not set again. What of a regular file is not on its
// way to the disk yet is so from then on.
func (f *files) finish(fd int, node uint32) error {
	n := &f.tree.nodes[node]
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("cannot examine it: %w", err)
	}
	if uid, gid := f.tree.owners[n.uid], f.tree.owners[n.gid]; st.Uid != uid || st.Gid != gid {
		if err := unix.Fchown(fd, int(uid), int(gid)); err != nil {
			return fmt.Errorf("cannot set its owner: %w", err)
		}
	}
	if st.Mode&0o7777 != uint32(n.mode) {
		if err := unix.Fchmod(fd, uint32(n.mode)); err != nil {
			return fmt.Errorf("cannot set its mode: %w", err)
		}
	}
	attributes, err := f.tree.xattrs.list(n.xattr)
	if err != nil {
		return err
	}
	set := func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }
	if err := restore.SetXattrs(attributes, set); err != nil {
		return err
	}
	ts := unix.Timespec{Sec: int64(n.mtime)}
	if err := unix.UtimesNanoAt(fd, "", []unix.Timespec{ts, ts}, unix.AT_EMPTY_PATH); err != nil {
		return fmt.Errorf("cannot set its time: %w", err)
	}
	if n.kind == kindFile {
		restore.StartWriteback(fd, int64(n.size))
	}
	return nil
}

// restoreError names the entry that an error belongs to.
func restoreError(t *tree, node uint32, err error) error {
	return restore.EntryError(t.path(node), err)
}

// mtimeOf is a node's time.
func mtimeOf(n *node) time.Time { return time.Unix(int64(n.mtime), 0) }
