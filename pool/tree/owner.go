package tree

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/pool/journal"
)

const (
	// entrySnapshots is the directory of snapshots in the entry of an instance that is made or deleted.
	entrySnapshots = "snapshots"
	// ownerPrefix begins the name that the volume of such an instance has in its entry: see ownerName.
	ownerPrefix = "owner-"
)

// ownerName is what the volume of an instance is called in the entry of its creation or deletion. It says whose snapshots
// belong to it, wherever they are: that way the one rename of the volume into its place, or out of it, both commits the
// operation and notes what is left to do, which btrfs keeps over a power cut without an fsync. inode is that of the
// directory of the snapshots, 0 when there is none; btrfs does not give it to another directory, so those of a new
// instance of the same name are never taken for it.
func ownerName(inode uint64, name string) string {
	return ownerPrefix + strconv.FormatUint(inode, 10) + "-" + name
}

// parseOwner is the reverse of ownerName.
func parseOwner(entry string) (inode uint64, name string, ok bool) {
	rest, found := strings.CutPrefix(entry, ownerPrefix)
	if !found {
		return 0, "", false
	}
	number, name, found := strings.Cut(rest, "-")
	inode, err := strconv.ParseUint(number, 10, 64)
	return inode, name, found && err == nil && checkComponent(name) == nil
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

// recoverOwner finishes a deletion, and undoes a creation, whose volume is in the entry. When it is not, either nothing was
// done yet, or everything was.
func (t *Tree) recoverOwner(ctx context.Context, e *journal.Entry) error {
	if err := t.fetchSnapshots(e); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}

// fetchSnapshots moves the snapshots of the instance whose volume is in the entry there as well, if they are in their place.
func (t *Tree) fetchSnapshots(e *journal.Entry) error {
	names, err := readNames(e.Dir())
	if err != nil {
		return err
	}
	for _, entry := range names {
		was, name, ok := parseOwner(entry)
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
