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

// entrySnapshots is the directory of snapshots in the entry of an instance or a custom volume that is made or deleted.
const entrySnapshots = "snapshots"

// ownerName is what the volume of an instance, or a custom one, is called in the entry of its creation or deletion. It says
// whose snapshots belong to it, wherever they are: that way the one rename of the volume into its place, or out of it, both
// commits the operation and notes what is left to do, which btrfs keeps over a power cut without an fsync. inode is that of
// the directory of the snapshots, 0 when there is none; btrfs does not give it to another directory, so those of a new
// volume of the same name are never taken for it.
func (p place) ownerName(inode uint64, name string) string {
	return p.prefix + strconv.FormatUint(inode, 10) + "-" + name
}

// parseOwner is the reverse of ownerName.
func parseOwner(entry string) (p place, inode uint64, name string, ok bool) {
	for _, p := range places() {
		rest, found := strings.CutPrefix(entry, p.prefix)
		if !found {
			continue
		}
		number, name, found := strings.Cut(rest, "-")
		inode, err := strconv.ParseUint(number, 10, 64)
		return p, inode, name, found && err == nil && checkComponent(name) == nil
	}
	return place{}, 0, "", false
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

// fetchSnapshots moves the snapshots of what has its volume in the entry there as well, if they are in their place, and ends
// the record of a custom volume that is there.
func (t *Tree) fetchSnapshots(e *journal.Entry) error {
	names, err := readNames(e.Dir())
	if err != nil {
		return err
	}
	for _, entry := range names {
		p, was, name, ok := parseOwner(entry)
		if !ok {
			continue
		}
		if p == customs() {
			if err := t.fetchVolumeRecord(e.Path(entryVolumeRecord), name); err != nil {
				return err
			}
		}
		if was == 0 {
			continue
		}
		inode, err := dirInode(t.snapshotsIn(p, name))
		if err == nil && inode == was {
			err = renameNew(t.snapshotsIn(p, name), e.Path(entrySnapshots))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
