package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opImageReplace = "image-replace"

// replaceArgs are the arguments of opImageReplace.
type replaceArgs struct {
	Old string `json:"old"`
	New string `json:"new"`
}

// TakeOver makes rec the successor of old, an older version of the same image: it gets old's aliases, what a user can
// set of an image and where old came from (takeOrigin), and Replaces says that old is to go.
func (rec *ImageRecord) TakeOver(old ImageRecord) {
	descriptions := map[string]string{}
	maps.Copy(descriptions, rec.AliasDescriptions)
	for _, a := range old.Aliases {
		if !slices.Contains(rec.Aliases, a) {
			rec.Aliases = append(rec.Aliases, a)
		}
		if d := old.AliasDescriptions[a]; d != "" {
			descriptions[a] = d
		}
	}
	rec.AliasDescriptions = descriptions
	taken := map[string]time.Time{}
	maps.Copy(taken, rec.AliasTaken)
	for a, at := range old.AliasTaken {
		if at.After(taken[a]) {
			taken[a] = at
		}
	}
	rec.AliasTaken = taken
	rec.Properties = maps.Clone(rec.Properties)
	if rec.Properties == nil {
		rec.Properties = map[string]string{}
	}
	for _, key := range old.ChangedProperties {
		if value, ok := old.Properties[key]; ok {
			rec.Properties[key] = value
		} else {
			delete(rec.Properties, key)
		}
		if !slices.Contains(rec.ChangedProperties, key) {
			rec.ChangedProperties = append(rec.ChangedProperties, key)
		}
	}
	rec.takeOrigin(old)
	rec.Public = rec.Public || old.Public
	if len(rec.Profiles) == 0 {
		rec.Profiles = old.Profiles
	}
	if old.LastUsedAt.After(rec.LastUsedAt) {
		rec.LastUsedAt = old.LastUsedAt
	}
	rec.Replaces = old.Fingerprint
}

// ReplaceImage makes the image fingerprint, which is there, the successor of the image old (ImageRecord.TakeOver) and
// deletes old: at once, by the new record, after which old is not listed any more. It returns the record. The caller has
// both images' locks. A new version that is not there yet takes the place by CommitImage, with a record that has taken over.
func (t *Tree) ReplaceImage(ctx context.Context, old, fingerprint string) (ImageRecord, error) {
	was, err := t.Image(old)
	if err != nil {
		return ImageRecord{}, err
	}
	args := replaceArgs{old, fingerprint}
	e, err := journal.Begin(ctx, t.staging(), opImageReplace, args)
	if err != nil {
		return ImageRecord{}, fmt.Errorf("cannot replace image %s: %w", old, err)
	}
	crash.Point("tree.imagereplace.begun")
	_, err = t.changeImageRecord(e, fingerprint, func(r *ImageRecord) error { r.TakeOver(was); return nil })
	if err != nil {
		return ImageRecord{}, abandon(e, err)
	}
	crash.Point("tree.imagereplace.taken")
	return t.endReplace(ctx, e, args)
}

// endReplace is finishReplace and the end of its entry, which stays for the next Recover when that fails.
func (t *Tree) endReplace(ctx context.Context, e *journal.Entry, args replaceArgs) (ImageRecord, error) {
	rec, err := t.finishReplace(ctx, e, args)
	if err != nil {
		return rec, errors.Join(fmt.Errorf("cannot delete image %s, which image %s has replaced: %w", args.Old, args.New, err), e.Close())
	}
	return rec, e.Done()
}

// finishReplace deletes an image whose place another has taken, and then the note of that.
func (t *Tree) finishReplace(ctx context.Context, e *journal.Entry, args replaceArgs) (ImageRecord, error) {
	err := t.deleteVolume(ctx, e, t.ImagePath(args.Old), args)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		crash.Point("tree.imagereplace.volume")
		err = t.removeImageRecord(args.Old)
	}
	if err != nil {
		return ImageRecord{}, err
	}
	crash.Point("tree.imagereplace.record")
	return t.changeImageRecord(e, args.New, func(r *ImageRecord) error { r.Replaces = ""; return nil })
}

// recoverImageReplace finishes what got as far as the new record. When that does not say so, nothing was done: the image
// that was to be the new one may not even be there.
func (t *Tree) recoverImageReplace(ctx context.Context, e *journal.Entry) error {
	var args replaceArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	if err := errors.Join(ValidateFingerprint(args.Old), ValidateFingerprint(args.New)); err != nil {
		return err
	}
	rec, err := t.Image(args.New)
	if err == nil && rec.Replaces == args.Old {
		_, err = t.finishReplace(ctx, e, args)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return clearEntry(ctx, e)
}
