package tree

import (
	"fmt"
	"io/fs"
	"time"
)

// SetSnapshotExpiry says when a snapshot of an instance may be deleted; the zero time is never. It is fs.ErrNotExist where there is
// none of that name. The instance's record has it, and a snapshot stays as it is.
func (t *Tree) SetSnapshotExpiry(name, snap string, at time.Time) error {
	err := t.withRecord(name, brief, func(rec record) error {
		snaps, err := t.listEntries(name, rec.entries)
		if err != nil {
			return err
		}
		e := findEntry(snaps, snap)
		if e == nil {
			return fs.ErrNotExist
		}
		if e.brief {
			if err := e.decode(); err != nil {
				return err
			}
		}
		if e.Config == nil { // it says nothing: then the snapshot's own record counts
			own := t.ownEntry(name, snap)
			own.CreatedAt, e.Snapshot = e.CreatedAt, own
		}
		e.ExpiresAt, e.changed = at.UTC(), true
		return t.writeRecord(t.InstancePath(name), rec.doc, rec.Container, snaps)
	})
	if err != nil {
		return fmt.Errorf("cannot change when %s/%s expires: %w", name, snap, err)
	}
	return nil
}
