package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opTrashEmpty = "trash-empty"

// EmptyTrash deletes what has that id in the trash for good; fs.ErrNotExist when nothing has. What it took is free once the
// kernel has cleaned up after it (btrfs.WaitDeleted).
func (t *Tree) EmptyTrash(ctx context.Context, id string) error {
	if err := t.emptyTrash(ctx, id); err != nil {
		return fmt.Errorf("cannot delete %s from the trash: %w", id, err)
	}
	return nil
}

func (t *Tree) emptyTrash(ctx context.Context, id string) error {
	if err := checkComponent(id); err != nil {
		return err
	}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opTrashEmpty, nil)
	if err != nil {
		return t.emptyInPlace(ctx, id, err)
	}
	crash.Point("tree.empty.begun")
	if err := renameNew(t.trashPath(id), e.Path(entryVolume)); err != nil {
		return t.emptyInPlace(ctx, id, abandon(e, err))
	}
	crash.Point("tree.empty.moved")
	if err := clearEntry(context.WithoutCancel(ctx), e); err != nil {
		return errors.Join(fmt.Errorf("its space is not free yet: %w", err), e.Close())
	}
	crash.Point("tree.empty.cleared")
	return e.Done()
}

// emptyInPlace deletes it where it is when cause is that there is no room to move it: the volume first, without which it
// cannot be undeleted.
func (t *Tree) emptyInPlace(ctx context.Context, id string, cause error) error {
	if !errors.Is(cause, unix.ENOSPC) {
		return cause
	}
	ctx = context.WithoutCancel(ctx)
	if c, err := parseCan(t.trashPath(id)); err == nil {
		if l, err := c.lot(); err == nil {
			if err := discard(ctx, c.volume(l)); err != nil {
				return errors.Join(cause, err)
			}
		}
	}
	if _, err := os.Lstat(t.trashPath(id)); err != nil {
		return err
	}
	return discard(ctx, filepath.Clean(t.trashPath(id)))
}
