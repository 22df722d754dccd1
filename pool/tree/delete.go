package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	opInstanceDelete = "instance-delete"
	// entrySnapshots is the directory of snapshots in the entry of a deleted instance.
	entrySnapshots = "snapshots"
	// deletedPrefix begins the name that the volume of a deleted instance has in its entry: see deletedName.
	deletedPrefix = "deleted-"
)

// deletedName is what the volume of an instance is called in the entry of its deletion. It says whose snapshots have to
// follow: that way one rename both commits the deletion and notes what is left to do, which btrfs keeps over a power cut
// without an fsync. inode is that of the directory of the snapshots, 0 when there is none; btrfs does not give it to
// another directory, so those of a new instance of the same name are never taken for it.
func deletedName(inode uint64, name string) string {
	return deletedPrefix + strconv.FormatUint(inode, 10) + "-" + name
}

// parseDeleted is the reverse of deletedName.
func parseDeleted(entry string) (inode uint64, name string, ok bool) {
	rest, found := strings.CutPrefix(entry, deletedPrefix)
	if !found {
		return 0, "", false
	}
	number, name, found := strings.Cut(rest, "-")
	inode, err := strconv.ParseUint(number, 10, 64)
	return inode, name, found && err == nil && checkComponent(name) == nil
}

// DeleteInstance deletes an instance and its snapshots; fs.ErrNotExist when there is none. Whether it runs is for the
// caller to look at.
func (t *Tree) DeleteInstance(ctx context.Context, name string) error {
	if err := t.deleteInstance(ctx, name); err != nil {
		return fmt.Errorf("cannot delete instance %s: %w", name, err)
	}
	return nil
}

func (t *Tree) deleteInstance(ctx context.Context, name string) error {
	if err := checkComponent(name); err != nil {
		return err
	}
	path := t.InstancePath(name)
	info, err := os.Lstat(path)
	if err == nil && !info.IsDir() {
		err = &fs.PathError{Op: "delete", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return err
	}
	inode, err := dirInode(t.snapshotDir(name))
	if err != nil {
		return err
	}
	if sub, err := isSubvolume(path); err != nil {
		return err
	} else if sub && inode == 0 {
		// Nothing to keep together: one ioctl does it, unless there are subvolumes in it.
		if err := btrfs.DeleteSubvolume(path); !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opInstanceDelete, nil)
	if err != nil {
		return err
	}
	crash.Point("tree.delete.begun")
	moved := e.Path(deletedName(inode, name))
	if err := moveOut(path, moved); err != nil {
		return abandon(e, err)
	}
	crash.Point("tree.delete.instance")
	if inode != 0 {
		if err := renameNew(t.snapshotDir(name), e.Path(entrySnapshots)); err != nil {
			if uerr := renameNew(moved, path); uerr != nil {
				return errors.Join(err, uerr, e.Close()) // the next Recover finishes it
			}
			return abandon(e, err)
		}
	}
	crash.Point("tree.delete.snapshots")
	if err := clearEntry(context.WithoutCancel(ctx), e); err != nil {
		return errors.Join(fmt.Errorf("it is deleted, but its space is not free yet: %w", err), e.Close())
	}
	crash.Point("tree.delete.cleared")
	return e.Done()
}

// dirInode is the inode number of the directory at path, 0 when there is none.
func dirInode(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	} else if err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return st.Ino, nil
}

// recoverInstanceDelete finishes a delete whose volume is in the entry. When it is not, either nothing was done yet, or
// everything was.
func (t *Tree) recoverInstanceDelete(ctx context.Context, e *journal.Entry) error {
	if err := t.fetchSnapshots(e); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}

// fetchSnapshots moves the snapshots of a deleted instance, whose volume is in the entry, there as well.
func (t *Tree) fetchSnapshots(e *journal.Entry) error {
	names, err := readNames(e.Dir())
	if err != nil {
		return err
	}
	for _, entry := range names {
		was, name, ok := parseDeleted(entry)
		if !ok || was == 0 {
			continue
		}
		inode, err := dirInode(t.snapshotDir(name))
		if err == nil && inode == was {
			err = renameNew(t.snapshotDir(name), e.Path(entrySnapshots))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
