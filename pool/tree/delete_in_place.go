package tree

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// In a pool whose metadata has no room left, the kernel still deletes subvolumes, files and directories, for which it keeps some (the
// global block reserve; use_global_rsv in btrfs_subvolume_reserve_metadata, fs/btrfs/root-tree.c), but it makes no directory, and
// renames nothing, which takes more: there is no journal, and nothing can be moved into it. What is deleted for good is deleted where it
// is then. Killed in between, what is left is whole, and the next deletion takes it.

// noMetadata says whether an operation failed for want of room.
func noMetadata(err error) bool { return errors.Is(err, unix.ENOSPC) }

// deleteInPlace deletes the volume at path with what is in it, and waits until its room can be had.
func (t *Tree) deleteInPlace(ctx context.Context, path string) error {
	ctx = context.WithoutCancel(ctx)
	if err := btrfs.DeleteTree(ctx, path); err != nil {
		return err
	}
	return btrfs.WaitDeleted(ctx, t.mnt)
}

// deleteOwnerInPlace deletes a volume of that place: its snapshots, oldest first, then itself, so that none is left without it, then
// what is recorded of it.
func (t *Tree) deleteOwnerInPlace(ctx context.Context, p place, name string) error {
	dir := t.snapshotsIn(p, name)
	names, err := t.subvolumesIn(dir)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	for _, snap := range names {
		if err := btrfs.DeleteTree(ctx, filepath.Join(dir, snap)); err != nil {
			return err
		}
	}
	if err := discard(ctx, dir); err != nil {
		return err
	}
	if err := t.deleteInPlace(ctx, t.pathIn(p, name)); err != nil || p != customs() {
		return err
	}
	return t.lockedVolumeRecords(func() error {
		err := os.Remove(t.volumeRecordPath(name))
		if errors.Is(err, fs.ErrNotExist) { // one of LXD's has none
			return nil
		}
		return err
	})
}
