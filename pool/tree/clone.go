package tree

import (
	"context"
	"fmt"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opClone = "snapshot-clone"

// Clone is a writable copy of a snapshot of an instance, for as long as it is open.
type Clone struct {
	// Path is the subvolume's directory.
	Path  string
	entry *journal.Entry
}

// CloneSnapshot makes a writable copy of a snapshot aside, with the subvolumes in it; fs.ErrNotExist when there is none. Close,
// or the Recover after this process, removes it.
func (t *Tree) CloneSnapshot(ctx context.Context, name, snap string) (*Clone, error) {
	c, err := t.cloneSnapshot(ctx, name, snap)
	if err != nil {
		return nil, fmt.Errorf("cannot copy snapshot %s/%s: %w", name, snap, err)
	}
	return c, nil
}

func (t *Tree) cloneSnapshot(ctx context.Context, name, snap string) (*Clone, error) {
	source, err := t.SnapshotPath(name, snap)
	if err != nil {
		return nil, err
	}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opClone, nil)
	if err != nil {
		return nil, err
	}
	crash.Point("tree.clone.begun")
	c := &Clone{e.Path(entryVolume), e}
	if err := btrfs.SnapshotTree(ctx, source, c.Path, false); err != nil {
		return nil, abandon(e, err)
	}
	crash.Point("tree.clone.made")
	return c, nil
}

// Close removes it.
func (c *Clone) Close() error { return abandon(c.entry, nil) }
