package diff

import (
	"cmp"
	"slices"

	"golang.org/x/sys/unix"
)

// Kind is what happened to a path.
type Kind string

// The kinds of changes.
const (
	Added    Kind = "added"
	Removed  Kind = "removed"
	Renamed  Kind = "renamed"  // What says what else changed
	Modified Kind = "modified" // its content, or what it is
	Changed  Kind = "changed"  // its attributes alone
)

// Aspect is what of a file differs.
type Aspect string

// The aspects.
const (
	Type    Aspect = "type"
	Content Aspect = "content" // of a file; the target of a symbolic link
	Device  Aspect = "device"  // the number of a device node
	Mode    Aspect = "mode"
	Owner   Aspect = "owner" // or group
	Xattrs  Aspect = "xattrs"
	Flags   Aspect = "flags" // those of chattr(1) that hold something back
)

// State is what a file is on one side.
type State struct {
	// Mode is st_mode: file type and permissions.
	Mode uint32
	Size int64 // of files and symbolic links; 0 for others
	// UID and GID are those inside.
	UID, GID uint32
}

// Change is one path that differs. Paths begin with a slash, which is the directory
// that is compared, and may have any bytes but NUL.
type Change struct {
	Path string // on the second side; of what was removed, on the first
	From string // of what was renamed: its path on the first side
	Kind Kind
	What []Aspect // of a path on both sides: what differs
	// Before and After are nil where it is not there.
	Before, After *State
}

func (i *inode) state() *State {
	s := &State{Mode: i.mode, UID: i.uid, GID: i.gid}
	if i.typ() == unix.S_IFREG || i.typ() == unix.S_IFLNK {
		s.Size = int64(i.size) //nolint:gosec // the kernel's loff_t
	}
	return s
}

// keptFlags are the flags of inodes that users set and that change what can be done
// with a file: SYNC, IMMUTABLE, APPEND, NODUMP, NOATIME, DIRSYNC
// (fs/btrfs/btrfs_inode.h). The others, which the kernel and mount options set too,
// say how a file is stored.
const keptFlags = 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<9 | 1<<10

// how says by what the contents of two files are compared.
type how int

const (
	sameFile  how = iota // it was one file when the trees parted
	related              // two files of trees that had a common ancestor: the extents decide
	unrelated            // two trees of one file system: the same extents, or the same size and time
	twoDisks             // two trees that cannot have the same extents
)

// differs says what differs between two files, and whether it is assumed that their
// contents do not.
func differs(a, b *inode, by how) (out []Aspect, assumed bool) {
	if a.typ() != b.typ() {
		return []Aspect{Type}, false
	}
	add := func(what Aspect, yes bool) {
		if yes {
			out = append(out, what)
		}
	}
	switch a.typ() {
	case unix.S_IFREG, unix.S_IFLNK:
		var same bool
		same, assumed = sameContent(a, b, by)
		add(Content, !same)
	case unix.S_IFBLK, unix.S_IFCHR:
		add(Device, a.rdev != b.rdev)
	}
	add(Mode, a.mode != b.mode)
	add(Owner, a.uid != b.uid || a.gid != b.gid)
	add(Xattrs, !sameXattrs(a.xattrs, b.xattrs))
	add(Flags, a.flags&keptFlags != b.flags&keptFlags)
	return out, assumed
}

func sameXattrs(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, value := range a {
		if other, there := b[name]; !there || other != value {
			return false
		}
	}
	return true
}

// sameContent says whether two files have the same content, and whether that is assumed,
// for nothing but their sizes and times tells.
func sameContent(a, b *inode, by how) (same, assumed bool) {
	if a.size != b.size {
		return false, false
	}
	if by != twoDisks && slices.Equal(a.extents, b.extents) {
		return true, false
	}
	switch {
	case by == sameFile:
		return a.ctime == b.ctime && a.mtime == b.mtime && a.sequence == b.sequence, false // moved on the disk
	case by == related:
		return false, false
	case plain(a) && plain(b):
		return slices.Equal(a.extents, b.extents), false
	}
	return a.mtime == b.mtime, a.mtime == b.mtime
}

// plain says whether the extents are the content itself.
func plain(i *inode) bool {
	for _, e := range i.extents {
		if e.inline == "" || e.compression != 0 {
			return false
		}
	}
	return true
}

// kindOf is the kind of a path that is on both sides.
func kindOf(what []Aspect) Kind {
	if slices.ContainsFunc(what, func(a Aspect) bool { return a == Type || a == Content || a == Device }) {
		return Modified
	}
	return Changed
}

func sortChanges(all []Change) {
	order := map[Kind]int{Removed: 0, Renamed: 1}
	rank := func(k Kind) int {
		if r, ok := order[k]; ok {
			return r
		}
		return len(order)
	}
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(rank(a.Kind), rank(b.Kind)))
	})
}
