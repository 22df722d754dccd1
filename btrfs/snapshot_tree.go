package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// undoTimeout bounds how long the removal of what an operation made may take
// after it failed or was cancelled.
const undoTimeout = time.Minute

// SnapshotTree makes dst a snapshot of the subvolume src with all subvolumes
// nested in it. When anything is at dst the error is fs.ErrExist. When it fails
// otherwise, or ctx ends, what it made is deleted again.
//
// With readonly all of them become read-only. Without, all become writable,
// except those that are read-only in a writable src, which stay so: in a
// read-only src the flag says nothing about what the owner wanted.
//
// Each subvolume is taken at one moment, but not all at the same one.
// Subvolumes that something creates, moves or deletes in src meanwhile may be
// missing.
func SnapshotTree(ctx context.Context, src, dst string, readonly bool) error {
	if err := snapshotTree(ctx, src, dst, readonly); err != nil {
		return fmt.Errorf("cannot snapshot %s to %s: %w", src, dst, err)
	}
	return nil
}

func snapshotTree(ctx context.Context, src, dst string, readonly bool) (err error) {
	if err := ctx.Err(); err != nil {
		return err
	}
	from, err := openSubvolume(src)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	dir, name, err := openParent(dst)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	id, err := rootID(from)
	if err != nil {
		return err
	}
	srcReadOnly, err := readOnly(from)
	if err != nil {
		return err
	}
	c := &treeCopy{s: newSearcher(from), readonly: readonly, keepFlags: !srcReadOnly}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.undo(ctx, dir, name))
		}
	}()
	if err := c.take(from, Subvolume{ID: id}, dir, name); err != nil {
		return err
	}
	for i := 0; i < len(c.made); i++ { // c.made grows
		if err := c.takeNested(ctx, c.made[i]); err != nil {
			return err
		}
	}
	return c.finish(ctx)
}

// treeCopy is a snapshot of a tree of subvolumes on its way.
type treeCopy struct {
	s         *searcher
	readonly  bool
	keepFlags bool
	made      []copied // each before those nested in it
}

// copied is one snapshot of the tree.
type copied struct {
	srcID, id uint64
	readOnly  bool // it is to become read-only when those nested in it are there
}

// take snapshots one subvolume. One that has to be read-only is made so at
// once if nothing has to be put into it.
func (c *treeCopy) take(from *os.File, src Subvolume, dir *os.File, name string) error {
	ro := c.readonly || c.keepFlags && src.ReadOnly
	filled, err := c.s.hasChildren(src.ID)
	if err != nil {
		return err
	}
	if err := snapshotAt(from, dir, name, ro && !filled); err != nil {
		return err
	}
	id, err := rootIDAt(dir, name)
	if err != nil { // it cannot be told to undo, so that is done here
		return errors.Join(err, destroyAt(dir, name))
	}
	c.made = append(c.made, copied{srcID: src.ID, id: id, readOnly: ro && filled})
	return nil
}

// takeNested snapshots what is nested directly in one subvolume into its copy.
// A snapshot has the inodes of its source, so the directory that each belongs
// in has the same number there.
func (c *treeCopy) takeNested(ctx context.Context, parent copied) error {
	nested, err := c.s.children(parent.srcID)
	if err != nil {
		return err
	}
	for _, sub := range nested {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := c.takeOne(parent.id, sub)
		if err != nil && !errors.Is(err, errMoved) {
			return fmt.Errorf("nested subvolume %q: %w", sub.Name, err)
		}
	}
	return nil
}

// errMoved says that the source changed since the snapshot of its parent.
var errMoved = errors.New("moved meanwhile")

func (c *treeCopy) takeOne(parentID uint64, sub Subvolume) error {
	dir, err := c.s.openInode(parentID, sub.DirID)
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved // its directory is newer than the snapshot
	} else if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	from, err := c.s.openRoot(sub.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return errMoved // deleted
	} else if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	var st unix.Stat_t
	err = unix.Fstatat(int(dir.Fd()), sub.Name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) || err == nil && st.Ino != placeholderInode {
		return errMoved // it came to its name after the snapshot
	} else if err != nil {
		return err
	}
	times, err := timesOf(dir)
	if err != nil {
		return err
	}
	giveBack, err := Unprotect(dir) // as its source is
	if err != nil {
		return err
	}
	if err := unix.Unlinkat(int(dir.Fd()), sub.Name, unix.AT_REMOVEDIR); err != nil {
		return err
	}
	err = c.take(from, sub, dir, sub.Name)
	if errors.Is(err, fs.ErrNotExist) {
		err = errMoved // deleted since it was opened
	} else if err == nil {
		err = setTimes(dir, times) // the directory's are those of its source
	}
	if giveBack != nil && (err == nil || errors.Is(err, errMoved)) { // else all is deleted
		err = errors.Join(err, giveBack())
	}
	return err
}

// timesOf are the times of an open file's last access and change.
func timesOf(f *os.File) ([]unix.Timespec, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	return []unix.Timespec{st.Atim, st.Mtim}, nil
}

func setTimes(f *os.File, times []unix.Timespec) error {
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), times, 0)
}

// finish sets the read-only flags that could not be set from the start, the
// deepest first.
func (c *treeCopy) finish(ctx context.Context) error {
	for _, m := range slices.Backward(c.made) {
		if !m.readOnly {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if _, err := c.s.setReadOnly(m.id, true); err != nil {
			return err
		}
	}
	return nil
}

// undo deletes what was made, if that still is what has the name.
func (c *treeCopy) undo(ctx context.Context, dir *os.File, name string) error {
	if len(c.made) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	id, err := rootIDAt(dir, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrNotSubvolume) {
		return nil
	}
	if err == nil && id == c.made[0].id {
		err = deleteTreeAt(ctx, dir, name)
	}
	if err != nil {
		return fmt.Errorf("cannot delete the unfinished snapshot: %w", err)
	}
	return nil
}
