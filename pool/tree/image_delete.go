package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opImageDelete = "image-delete"

// imageArgs are the arguments of opImageDelete.
type imageArgs struct {
	Fingerprint string `json:"fingerprint"`
}

// DeleteImage deletes an image; fs.ErrNotExist when there is none. Instances that were made from it do not change.
func (t *Tree) DeleteImage(ctx context.Context, fingerprint string) error {
	if _, err := t.Image(fingerprint); err != nil {
		return err
	}
	args := imageArgs{fingerprint}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opImageDelete, args)
	if err != nil {
		return fmt.Errorf("cannot delete image %s: %w", fingerprint, err)
	}
	crash.Point("tree.imagedelete.begun")
	err = t.deleteVolume(ctx, e, t.ImagePath(fingerprint), args)
	if err == nil {
		crash.Point("tree.imagedelete.volume")
		err = t.removeImageRecord(fingerprint)
	}
	if err != nil {
		return t.undoDelete(e, t.ImagePath(fingerprint), fmt.Errorf("cannot delete image %s: %w", fingerprint, err))
	}
	return e.Done()
}

// deleteVolume deletes a volume: by one ioctl, or, when subvolumes in it prevent that, by moving it into the entry, whose
// intent is made durable first, and deleting it there.
func (t *Tree) deleteVolume(ctx context.Context, e *journal.Entry, path string, args any) error {
	err := btrfs.DeleteSubvolume(path)
	if !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	if err := e.Update(args); err != nil {
		return err
	}
	if err := moveOut(path, e.Path(entryVolume)); err != nil {
		return err
	}
	crash.Point("tree.delete.moved")
	return discard(context.WithoutCancel(ctx), e.Path(entryVolume))
}

// undoDelete ends the entry of a failed delete of an image or a snapshot. A volume that is still in its place is made
// read-only again; one that is in the entry is deleted by the next Recover.
func (t *Tree) undoDelete(e *journal.Entry, path string, cause error) error {
	err := protect(path)
	if err == nil {
		err = clearEntry(context.Background(), e)
	}
	if err != nil {
		return errors.Join(cause, err, e.Close())
	}
	return errors.Join(cause, e.Done())
}

// protect makes the volume at path read-only, if there is one and it is not.
func protect(path string) error {
	ok, err := isSubvolume(path)
	if err != nil || !ok {
		return err
	}
	readOnly, err := btrfs.IsReadOnly(path)
	if err != nil || readOnly {
		return err
	}
	return btrfs.SetReadOnly(path, true)
}

// removeImageRecord removes what there is of an image besides its volume.
func (t *Tree) removeImageRecord(fingerprint string) error {
	if err := discard(context.Background(), t.originals(fingerprint)); err != nil {
		return err
	}
	crash.Point("tree.imagedelete.originals")
	err := os.Remove(t.imageRecordPath(fingerprint))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// recoverImageDelete finishes a delete whose volume is gone from its place, and undoes one whose volume is not.
func (t *Tree) recoverImageDelete(ctx context.Context, e *journal.Entry) error {
	var args imageArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := ValidateFingerprint(args.Fingerprint); err != nil {
		return err
	}
	volume := t.ImagePath(args.Fingerprint)
	there, err := exists(volume)
	if err != nil {
		return err
	}
	if there {
		err = protect(volume)
	} else {
		err = t.removeImageRecord(args.Fingerprint)
	}
	if err != nil {
		return err
	}
	return clearEntry(ctx, e)
}
