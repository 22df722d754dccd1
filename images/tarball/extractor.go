package tarball

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/images/internal/restore"
)

// Policy says what an Extractor makes of the entries.
type Policy struct {
	// FilesOnly admits regular files and directories only, owned by root, without
	// set-id bits and extended attributes: for an image's metadata.
	FilesOnly bool
	// Skip, when not nil, leaves out the entry of that (clean) name.
	Skip func(name string) bool
	// Base, when not nil, is the tree of an older version: files share with it what is
	// the same.
	Base *restore.Base
	// Pass, when not nil, is asked before content is written.
	Pass restore.Pass
}

// Extractor writes entries below one directory. It is not safe for concurrent use.
type Extractor struct {
	root    *os.File
	policy  Policy
	budget  *Budget
	parents *restore.DirStack
	targets *restore.DirStack // of hard links: apart, or each link would empty parents
	dirs    []directory
	dirOf   map[string]int // name -> index in dirs
	buf     []byte

	// Added counts the entries that were written.
	Added int
	// LeftOut counts the device nodes that were not made (see restore.SafeDevice).
	LeftOut int
	// Skipped counts the entries that the policy left out, without directories.
	Skipped int
}

// directory is the metadata of a directory, applied by Finish.
type directory struct {
	name   string
	uid    int
	gid    int
	mode   uint32
	mtime  time.Time
	xattrs []restore.Xattr
}

// New makes an Extractor for the directory root, which must stay open until
// Close. Entries and bytes are counted in budget.
func New(root *os.File, p Policy, budget *Budget) *Extractor {
	e := &Extractor{root: root, policy: p, budget: budget, dirOf: map[string]int{}, buf: make([]byte, 256<<10)}
	e.parents = restore.NewDirStack(int(root.Fd()), e.implied)
	e.targets = restore.NewDirStack(int(root.Fd()), nil)
	return e
}

// Add writes one entry. name and link are the clean names (CleanName) of the
// entry and, for a hard link, of its target, both relative to the directory; r
// gives the content of a regular file.
//
// An entry that exists is replaced as tar replaces it (a directory only by a
// directory, unless it is empty), a symbolic link never followed.
func (e *Extractor) Add(hdr *tar.Header, name, link string, r io.Reader) error {
	if e.policy.Skip != nil && e.policy.Skip(name) {
		if hdr.Typeflag != tar.TypeDir {
			e.Skipped++
		}
		return nil
	}
	if err := e.add(hdr, name, link, r); err != nil {
		return restore.EntryError(hdr.Name, err)
	}
	e.Added++
	return nil
}

func (e *Extractor) add(hdr *tar.Header, name, link string, r io.Reader) error {
	if e.policy.FilesOnly {
		if t := hdr.Typeflag; t != tar.TypeReg && t != tar.TypeDir && t != tar.TypeGNUSparse {
			return fmt.Errorf("only files and directories are allowed here, not a %s", typeName(t))
		}
	}
	if !validID(hdr.Uid) || !validID(hdr.Gid) {
		return fmt.Errorf("its owner %d:%d is out of range", hdr.Uid, hdr.Gid)
	}
	if name == "." {
		if hdr.Typeflag != tar.TypeDir {
			return fmt.Errorf("the top directory cannot be a %s", typeName(hdr.Typeflag))
		}
		return e.noteDir(hdr, name)
	}
	dir, base := split(name)
	parent, err := e.parents.Open(dir, true)
	if err != nil {
		return err
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		if err := e.makeDir(parent, base); err != nil {
			return err
		}
		return e.noteDir(hdr, name)
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return e.addFile(hdr, parent, name, base, r)
	case tar.TypeLink:
		return e.addLink(parent, base, name, link)
	case tar.TypeSymlink:
		return e.addSymlink(hdr, parent, base)
	case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		return e.addNode(hdr, parent, base)
	default:
		return fmt.Errorf("its type %q is not supported", hdr.Typeflag)
	}
}

// validID: chown(2) takes 32 bits, and -1 means "leave as it is".
func validID(id int) bool { return id >= 0 && int64(id) < 1<<32-1 }

func typeName(t byte) string {
	switch t {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		return "regular file"
	case tar.TypeDir:
		return "directory"
	case tar.TypeLink:
		return "hard link"
	case tar.TypeSymlink:
		return "symbolic link"
	case tar.TypeChar, tar.TypeBlock:
		return "device node"
	case tar.TypeFifo:
		return "fifo"
	}
	return fmt.Sprintf("entry of type %q", t)
}

// makeDir makes a directory that only root can enter until Finish; an existing
// one is kept, anything else replaced.
func (e *Extractor) makeDir(parent int, base string) error {
	return e.place(parent, base, true, func() error { return unix.Mkdirat(parent, base, 0o700) })
}

// place runs create; when something is in the way it removes that and runs create
// once more. keepDir: an existing directory will do.
func (e *Extractor) place(parent int, base string, keepDir bool, create func() error) error {
	err := create()
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot examine what it replaces: %w", err)
	}
	isDir := st.Mode&unix.S_IFMT == unix.S_IFDIR
	if isDir && keepDir {
		return nil
	}
	flags := 0
	if isDir {
		flags = unix.AT_REMOVEDIR
		e.targets.Cut(0) // it may hold the directory open
	}
	if err := unix.Unlinkat(parent, base, flags); err != nil {
		return fmt.Errorf("cannot replace what has its name: %w", err)
	}
	return create()
}

// noteDir remembers a directory's metadata; the last entry of a name counts.
func (e *Extractor) noteDir(hdr *tar.Header, name string) error {
	d := directory{name: name, mode: 0o755, mtime: hdr.ModTime}
	if e.policy.FilesOnly {
		d.mode = uint32(hdr.Mode) & 0o755
	} else {
		x, err := entryXattrs(hdr)
		if err != nil {
			return err
		}
		d.uid, d.gid, d.mode, d.xattrs = hdr.Uid, hdr.Gid, uint32(hdr.Mode)&0o7777, x
	}
	e.setDir(d)
	return nil
}

// implied gives a directory that the archive did not list what mkdir would give it.
func (e *Extractor) implied(name string) {
	e.setDir(directory{name: name, mode: 0o755, mtime: time.Unix(0, 0)})
}

func (e *Extractor) setDir(d directory) {
	if i, ok := e.dirOf[d.name]; ok {
		e.dirs[i] = d
		return
	}
	e.dirOf[d.name] = len(e.dirs)
	e.dirs = append(e.dirs, d)
}

// Finish applies the metadata of the directories, the innermost first, and must be
// called after the last entry.
func (e *Extractor) Finish() error {
	e.targets.Cut(0)
	for i := len(e.dirs) - 1; i >= 0; i-- {
		if err := e.finishDir(&e.dirs[i]); err != nil {
			return restore.EntryError(e.dirs[i].name, err)
		}
	}
	return nil
}

func (e *Extractor) finishDir(d *directory) error {
	dir, base := split(d.name)
	parent := int(e.root.Fd())
	if d.name != "." {
		var err error
		if parent, err = e.parents.Open(dir, false); err != nil {
			return e.ifReplaced(d, err)
		}
	}
	fd, err := unix.Openat(parent, base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return e.ifReplaced(d, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := restore.DropACLs(fd); err != nil {
		return err
	}
	if err := unix.Fchown(fd, d.uid, d.gid); err != nil {
		return fmt.Errorf("cannot set its owner: %w", err)
	}
	if err := unix.Fchmod(fd, d.mode); err != nil {
		return fmt.Errorf("cannot set its mode: %w", err)
	}
	set := func(name string, value []byte) error { return unix.Fsetxattr(fd, name, value, 0) }
	if err := restore.SetXattrs(d.xattrs, set); err != nil {
		return err
	}
	return restore.SetTime(parent, base, d.mtime)
}

// ifReplaced forgives a directory that a later entry of the archive replaced.
func (e *Extractor) ifReplaced(d *directory, err error) error {
	var st unix.Stat_t
	how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_DIRECTORY, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	fd, oerr := unix.Openat2(int(e.root.Fd()), d.name, how)
	if oerr == nil {
		oerr = unix.Fstat(fd, &st)
		_ = unix.Close(fd)
	}
	if errors.Is(oerr, unix.ENOENT) || errors.Is(oerr, unix.ENOTDIR) || errors.Is(oerr, unix.ELOOP) {
		return nil
	}
	return err
}

// Close gives up the open directories, not the root.
func (e *Extractor) Close() {
	e.parents.Cut(0)
	e.targets.Cut(0)
}
