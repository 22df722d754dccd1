package tree

import (
	"context"
	"errors"
	"fmt"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opPresent = "instance-look"

// Present is an instance as it is at one moment, read-only, for as long as it is open.
type Present struct {
	// Path is the subvolume's directory.
	Path  string
	entry *journal.Entry
}

// FreezeInstance takes a read-only snapshot of an instance, running or not, aside. Close removes it.
func (t *Tree) FreezeInstance(ctx context.Context, name string) (*Present, error) {
	p, err := t.freezeInstance(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cannot look at %s: %w", name, err)
	}
	return p, nil
}

func (t *Tree) freezeInstance(ctx context.Context, name string) (*Present, error) {
	if _, err := t.Instance(name); err != nil {
		return nil, err
	}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opPresent, nil)
	if err != nil {
		return nil, err
	}
	p := &Present{e.Path(entryVolume), e}
	if err := btrfs.SnapshotTree(ctx, t.InstancePath(name), p.Path, true); err != nil {
		return nil, abandon(e, err)
	}
	crash.Point("tree.present.snapshot")
	return p, nil
}

// Close deletes the snapshot.
func (p *Present) Close() error {
	if err := clearEntry(context.Background(), p.entry); err != nil { // an undo is not cancelled
		return errors.Join(err, p.entry.Close())
	}
	return p.entry.Done()
}
