package tree

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	opImageStage = "image-stage"
	// entryVolume is the subvolume in a journal entry: the one being made, or the one being deleted.
	entryVolume = "vol"
	// entryFrozen is the subvolume, in a stage's entry, that an image is made of.
	entryFrozen = "frozen"
	// entryRecord is the record of the image in a stage's entry. Once it is there, the image is complete and synced.
	entryRecord = "record.json"
)

// Stage is an image in the making: an empty subvolume to unpack into. It ends with CommitImage or Abort, or with the
// process: then the next Recover removes it.
type Stage struct {
	tree  *Tree
	entry *journal.Entry
	moved string // the volume's place among the images once it is there
}

// StageImage makes the subvolume for a new image.
func (t *Tree) StageImage(ctx context.Context) (*Stage, error) {
	e, err := journal.BeginUnsynced(ctx, t.staging(), opImageStage, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot stage an image: %w", err)
	}
	crash.Point("tree.stage.begun")
	s := &Stage{tree: t, entry: e}
	if err := btrfs.CreateSubvolume(s.Dir()); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot stage an image: %w", err), e.Done())
	}
	crash.Point("tree.stage.made")
	return s, nil
}

// Dir is the subvolume to unpack into.
func (s *Stage) Dir() string { return s.entry.Path(entryVolume) }

// TempDir is a directory of the pool for unnamed temporary files (O_TMPFILE).
func (s *Stage) TempDir() string { return s.entry.Dir() }

// Freeze snapshots the instance, or snapshot, whose volume is at path into the stage, with the subvolumes in it, and returns
// where: it stays as it is until the stage ends.
func (s *Stage) Freeze(ctx context.Context, path string) (string, error) {
	frozen := s.entry.Path(entryFrozen)
	if err := btrfs.SnapshotTree(ctx, path, frozen, true); err != nil {
		return "", err
	}
	crash.Point("tree.stage.frozen")
	return frozen, nil
}

// CommitImage makes what was unpacked into Dir the image rec.Fingerprint: it syncs the pool, moves the volume into place,
// makes it read-only and adds its original files and the record, which is the step that makes the image exist. An image that exists already is
// fs.ErrExist. An image that rec replaces, which its record says, is deleted then. After an error Abort undoes the rest.
func (s *Stage) CommitImage(ctx context.Context, rec ImageRecord) (err error) {
	var replace *journal.Entry
	args := replaceArgs{rec.Replaces, rec.Fingerprint}
	if rec.Replaces != "" {
		if replace, err = journal.Begin(ctx, s.tree.staging(), opImageReplace, args); err != nil {
			return fmt.Errorf("cannot commit image %s: %w", rec.Fingerprint, err)
		}
	}
	if err := s.commit(ctx, rec); err != nil {
		err = fmt.Errorf("cannot commit image %s: %w", rec.Fingerprint, err)
		if replace != nil {
			err = errors.Join(err, replace.Done())
		}
		return err
	}
	e := s.entry
	s.entry = nil
	if err := discard(context.WithoutCancel(ctx), e.Path(entryFrozen)); err != nil {
		return errors.Join(fmt.Errorf("cannot commit image %s: %w", rec.Fingerprint, err), e.Close())
	}
	if err := e.Done(); err != nil {
		err = fmt.Errorf("cannot commit image %s: %w", rec.Fingerprint, err)
		if replace != nil {
			err = errors.Join(err, replace.Close())
		}
		return err
	}
	if replace != nil {
		_, err = s.tree.endReplace(context.WithoutCancel(ctx), replace, args)
	}
	return err
}

func (s *Stage) commit(ctx context.Context, rec ImageRecord) error {
	if err := checkImageRecord(rec); err != nil {
		return err
	}
	volume := s.tree.ImagePath(rec.Fingerprint)
	if err := s.tree.clearLeftover(ctx, rec.Fingerprint); err != nil {
		return err
	}
	// LXD's mode for an image's volume; the directory above keeps everyone out.
	if err := os.Chmod(s.Dir(), 0o711); err != nil {
		return err
	}
	raw, err := encodeImageRecord(rec)
	if err != nil {
		return err
	}
	// Its content is synced with the rest, and gets its name after that: the name says that all is there.
	record, err := writeBeside(s.entry.Dir(), entryRecord, raw, 0o600)
	if err != nil {
		return err
	}
	crash.Point("tree.commit.written")
	if err := errors.Join(record.Close(), btrfs.Sync(s.tree.mnt)); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	crash.Point("tree.commit.synced")
	if err := os.Rename(record.Name(), s.entry.Path(entryRecord)); err != nil {
		return err
	}
	crash.Point("tree.commit.recorded")
	if err := renameNew(s.Dir(), volume); err != nil {
		return err
	}
	s.moved = volume
	return s.tree.finishImage(s.entry, rec.Fingerprint)
}

// finishImage takes the last steps of a commit, once the volume is in its place.
func (t *Tree) finishImage(e *journal.Entry, fingerprint string) error {
	crash.Point("tree.commit.moved")
	if err := btrfs.SetReadOnly(t.ImagePath(fingerprint), true); err != nil {
		return err
	}
	crash.Point("tree.commit.readonly")
	if err := t.placeOriginals(e, fingerprint); err != nil {
		return err
	}
	if err := os.Rename(e.Path(entryRecord), t.imageRecordPath(fingerprint)); err != nil {
		return err
	}
	crash.Point("tree.commit.done")
	return nil
}

// clearLeftover deletes a volume that is in the way of an image's but is no image: it has no record and is writable, which
// is what an import that was killed leaves (LXD's as well).
func (t *Tree) clearLeftover(ctx context.Context, fingerprint string) error {
	volume := t.ImagePath(fingerprint)
	there, err := exists(volume)
	if err != nil || !there {
		return err
	}
	_, err = t.Image(fingerprint)
	if err == nil {
		return &fs.PathError{Op: "commit", Path: volume, Err: fs.ErrExist}
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return discard(ctx, volume)
}

// Abort deletes what was staged. After a CommitImage that succeeded, and a second time, it does nothing.
func (s *Stage) Abort() error {
	if s.entry == nil {
		return nil
	}
	e := s.entry
	s.entry = nil
	// An undo is not cancelled.
	ctx := context.Background()
	var err error
	if s.moved != "" {
		err = errors.Join(discard(ctx, s.moved), discard(ctx, s.tree.originals(filepath.Base(s.moved))))
	}
	if err == nil {
		err = clearEntry(ctx, e)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot remove the staged image: %w", err), e.Close())
	}
	return e.Done()
}

// recoverStage finishes the commit of a stage that got as far as its record, and deletes any other.
func (t *Tree) recoverStage(ctx context.Context, e *journal.Entry) error {
	rec, err := readStagedRecord(e.Path(entryRecord))
	if err != nil {
		return err
	}
	if rec != nil {
		// The entry of that may have been looked at before the image is there.
		take, err := t.TakeAliases(ctx, rec.Fingerprint, slices.Sorted(maps.Keys(rec.AliasTaken)))
		if err != nil {
			return err
		}
		if err := t.rollForward(e, rec.Fingerprint); err != nil {
			return take.End(err)
		}
		if err := t.finishReplacing(ctx, e, rec.Fingerprint); err != nil {
			return take.End(err)
		}
		if err := take.End(take.finish(ctx)); err != nil {
			return err
		}
	}
	return clearEntry(ctx, e)
}

// rollForward moves the staged volume into place unless it is there already. It does nothing when the image exists: then
// somebody pulled it again.
func (t *Tree) rollForward(e *journal.Entry, fingerprint string) error {
	recorded, err := exists(t.imageRecordPath(fingerprint))
	if err != nil {
		return err
	}
	placed, err := exists(t.ImagePath(fingerprint))
	if err != nil || placed && recorded {
		return err
	}
	if !placed {
		err := renameNew(e.Path(entryVolume), t.ImagePath(fingerprint))
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrExist) {
			return nil // deleted, or pulled again, meanwhile
		} else if err != nil {
			return err
		}
	}
	return t.finishImage(e, fingerprint)
}

// readStagedRecord reads a stage's record: nil when it is not there, or says nothing that could be an image.
func readStagedRecord(path string) (*ImageRecord, error) {
	raw, err := readFile(path, maxImageRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return parseStagedRecord(raw), nil
}

func parseStagedRecord(raw []byte) *ImageRecord {
	var rec ImageRecord
	if json.Unmarshal(raw, &rec) != nil || checkImageRecord(rec) != nil {
		return nil
	}
	return &rec
}

// finishReplacing deletes the image that a recovered one replaces: the entry of that may have been looked at before the
// new image was there.
func (t *Tree) finishReplacing(ctx context.Context, e *journal.Entry, fingerprint string) error {
	rec, err := t.Image(fingerprint)
	if errors.Is(err, fs.ErrNotExist) || err == nil && rec.Replaces == "" {
		return nil
	}
	if err == nil {
		_, err = t.finishReplace(ctx, e, replaceArgs{rec.Replaces, fingerprint})
	}
	return err
}
