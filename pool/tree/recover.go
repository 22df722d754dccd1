package tree

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"poolctl/pool/journal"
)

// Recover finishes or undoes what killed processes, or a power cut, left in the pool. When there is nothing, it costs the
// reading of one empty directory. What another process is at, it leaves alone. An error concerns what it names; the rest
// was recovered, and the pool can be used.
func (t *Tree) Recover(ctx context.Context) error {
	err := journal.Recover(ctx, t.staging(), map[string]journal.Handler{
		"":                t.recoverTorn,
		opImageStage:      t.recoverStage,
		opImageDelete:     t.recoverImageDelete,
		opImageReplace:    t.recoverImageReplace,
		opImageUpdate:     clearHandler,
		opImageTake:       t.recoverImageTake,
		opCreate:          t.recoverOwner,
		opRestore:         clearHandler, // the new volume before the exchange, the old one after it
		opRebuild:         clearHandler, // as above
		opInstanceSend:    clearHandler,
		opInstanceReplace: t.recoverReplace(instances()),
		opInstanceDelete:  t.recoverOwner,
		opSnapshotCreate:  t.recoverSnapshotCreate,
		opSnapshotDelete:  t.recoverSnapshotDelete,
		opSnapshotRename:  t.recoverSnapshotRename,
		opSnapshotReplace: t.recoverSnapshotReplace,

		opClone:      clearHandler,
		opTrash:      t.recoverTrash,
		opUndelete:   t.recoverUndelete,
		opTrashEmpty: clearHandler,

		opVolumeCreate:          t.recoverOwner,
		opVolumeDelete:          t.recoverOwner,
		opVolumeUpdate:          clearHandler,
		opVolumeSend:            clearHandler,
		opVolumeRename:          t.recoverVolumeRename,
		opVolumeRestore:         clearHandler,
		opVolumeReplace:         t.recoverReplace(customs()),
		opVolumeSnapshot:        t.recoverVolumeSnapshot,
		opVolumeSnapshotDelete:  t.recoverVolumeSnapshotDelete,
		opVolumeSnapshotReplace: t.recoverVolumeSnapshotReplace,

		opInstanceKeep: t.recoverKeep(opInstanceKeep),
		opVolumeKeep:   t.recoverKeep(opVolumeKeep),
	})
	if err != nil {
		return fmt.Errorf("cannot recover pool %s: %w", t.mnt, err)
	}
	return nil
}

func clearHandler(ctx context.Context, e *journal.Entry) error { return clearEntry(ctx, e) }

// recoverTorn ends an entry whose intent a power cut tore. What it was is not known, but apart from an instance's creation or
// deletion, which can be told from the entry, only records can be behind the volumes: those of deleted images and the lists of
// snapshots.
func (t *Tree) recoverTorn(ctx context.Context, e *journal.Entry) error {
	if err := errors.Join(t.fetchSnapshots(e), t.finishCans(e, nil)); err != nil {
		return err
	}
	records, err := readNames(filepath.Join(t.mnt, dirOwn, "images"))
	if err != nil {
		return err
	}
	for _, name := range records {
		fingerprint, found := strings.CutSuffix(name, ".json")
		if !found || ValidateFingerprint(fingerprint) != nil {
			continue
		}
		there, err := exists(t.ImagePath(fingerprint))
		if err == nil && !there {
			err = t.removeImageRecord(fingerprint)
		}
		if err != nil {
			return err
		}
	}
	if err := t.sweepOriginals(ctx); err != nil {
		return err
	}
	owners, err := readNames(filepath.Join(t.mnt, dirContainers))
	if err != nil {
		return err
	}
	for _, name := range owners {
		if err := errors.Join(t.syncSnapshots(name, nil), removeIfEmpty(t.snapshotDir(name))); err != nil {
			return err
		}
	}
	if err := t.finishVolumeSnapshots(ctx); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}

// finishVolumeSnapshots makes the snapshots of custom volumes what they are to be when it is not known of which an
// operation was torn: the directories of those that have none go.
func (t *Tree) finishVolumeSnapshots(ctx context.Context) error {
	dirs, err := readNames(filepath.Join(t.mnt, dirCustomSnapshots))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := errors.Join(removeIfEmpty(t.snapshotsIn(customs(), dir)), ctx.Err()); err != nil {
			return err
		}
	}
	return nil
}

// clearEntry deletes everything that an operation put into its entry.
func clearEntry(ctx context.Context, e *journal.Entry) error {
	names, err := readNames(e.Dir())
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range names {
		if !journal.OwnFile(name) {
			errs = append(errs, discard(ctx, e.Path(name)))
		}
	}
	return errors.Join(errs...)
}

// abandon undoes an operation that has changed nothing outside its entry, and returns cause with what went wrong in that.
func abandon(e *journal.Entry, cause error) error {
	// An undo is not cancelled.
	if err := clearEntry(context.Background(), e); err != nil {
		return errors.Join(cause, err, e.Close())
	}
	return errors.Join(cause, e.Done())
}
