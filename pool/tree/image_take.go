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

const opImageTake = "image-take"

// takeArgs are the arguments of opImageTake.
type takeArgs struct {
	Fingerprint string   `json:"fingerprint"`
	Aliases     []string `json:"aliases"`
}

// Taking moves aliases from whatever images of the pool have them to one. The record of that, with the claims that Claim
// adds, is the moment of the move: from then on no other image is listed with them (Images). Afterwards the others' records
// are changed, one by one by Lose, and those that have no other alias are deleted. A kill in between leaves that to the next
// Recover.
type Taking struct {
	tree  *Tree
	entry *journal.Entry
	args  takeArgs
}

// TakeAliases begins to move aliases to the image fingerprint, which need not be there yet. The caller has the lock of the
// pool's aliases from here until the record is written.
func (t *Tree) TakeAliases(ctx context.Context, fingerprint string, aliases []string) (*Taking, error) {
	k := &Taking{tree: t, args: takeArgs{fingerprint, aliases}}
	var err error
	if k.entry, err = journal.Begin(ctx, t.staging(), opImageTake, k.args); err != nil {
		return nil, fmt.Errorf("cannot take aliases for image %s: %w", fingerprint, err)
	}
	crash.Point("tree.take.begun")
	return k, nil
}

// Claim gives the aliases to a record, which is to be written.
func (k *Taking) Claim(rec *ImageRecord) error {
	all, err := k.tree.imageRecords()
	if err != nil {
		return err
	}
	rec.Aliases, rec.AliasTaken = slices.Clone(rec.Aliases), maps.Clone(rec.AliasTaken)
	if rec.AliasTaken == nil {
		rec.AliasTaken = map[string]time.Time{}
	}
	for _, a := range k.args.Aliases {
		if !slices.Contains(rec.Aliases, a) {
			rec.Aliases = append(rec.Aliases, a)
		}
		now := time.Now().UTC()
		for _, im := range all { // whatever the clock was
			if had := im.AliasTaken[a]; !had.Before(now) {
				now = had.Add(1)
			}
		}
		rec.AliasTaken[a] = now
	}
	return nil
}

// Losers are the images whose records have to change.
func (k *Taking) Losers() ([]string, error) {
	all, err := k.tree.imageRecords()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, im := range all {
		if im.Fingerprint != k.args.Fingerprint && slices.ContainsFunc(im.Aliases, k.takes) {
			out = append(out, im.Fingerprint)
		}
	}
	return out, nil
}

func (k *Taking) takes(alias string) bool { return slices.Contains(k.args.Aliases, alias) }

// Lose takes from an image the aliases that it has lost, which may be none by now, and deletes it if it has no other.
func (k *Taking) Lose(ctx context.Context, fingerprint string) error {
	all, err := k.tree.imageRecords()
	if err != nil {
		return err
	}
	owner := aliasOwners(all)
	lost := func(a string) bool { return k.takes(a) && owner[a] != fingerprint }
	i := slices.IndexFunc(all, func(im ImageRecord) bool { return im.Fingerprint == fingerprint })
	if i < 0 || !slices.ContainsFunc(all[i].Aliases, lost) {
		return nil
	}
	if len(slices.DeleteFunc(slices.Clone(all[i].Aliases), lost)) == 0 {
		return ignoreNotExist(k.tree.DeleteImage(ctx, fingerprint))
	}
	_, err = k.tree.UpdateImage(fingerprint, func(r *ImageRecord) error {
		r.Aliases = slices.DeleteFunc(slices.Clone(r.Aliases), lost)
		r.AliasDescriptions, r.AliasTaken = maps.Clone(r.AliasDescriptions), maps.Clone(r.AliasTaken)
		maps.DeleteFunc(r.AliasDescriptions, func(a, _ string) bool { return lost(a) })
		maps.DeleteFunc(r.AliasTaken, func(a string, _ time.Time) bool { return lost(a) })
		return nil
	})
	crash.Point("tree.take.lost")
	return ignoreNotExist(err)
}

// End ends it: done, or after an error left to the next Recover.
func (k *Taking) End(err error) error {
	if err != nil {
		return errors.Join(err, k.entry.Close())
	}
	return k.entry.Done()
}

// recoverImageTake finishes what got as far as the new record; otherwise nothing was done.
func (t *Tree) recoverImageTake(ctx context.Context, e *journal.Entry) error {
	k := &Taking{tree: t, entry: e}
	if err := e.Args(&k.args); err != nil {
		return err
	}
	if err := k.finish(ctx); err != nil {
		return err
	}
	return clearEntry(ctx, e)
}

// finish changes the losers' records, if there is an image to lose to.
func (k *Taking) finish(ctx context.Context) error {
	losers, err := k.Losers()
	for _, fingerprint := range losers {
		err = errors.Join(err, k.Lose(ctx, fingerprint))
	}
	return err
}

// aliasOwners says whose each alias is: the image's that took it last; of several that did not take it, the newest's.
func aliasOwners(all []ImageRecord) map[string]string {
	owner := map[string]ImageRecord{}
	for _, im := range all {
		for _, a := range im.Aliases {
			have, taken := owner[a]
			order := im.AliasTaken[a].Compare(have.AliasTaken[a])
			if !taken || order > 0 || order == 0 && im.UploadedAt.After(have.UploadedAt) {
				owner[a] = im
			}
		}
	}
	out := make(map[string]string, len(owner))
	for a, im := range owner {
		out[a] = im.Fingerprint
	}
	return out
}

// leaveOwned takes aliases that are another image's now out of the records.
func leaveOwned(all []ImageRecord) {
	owner := aliasOwners(all)
	for i := range all {
		im := &all[i]
		im.Aliases = slices.DeleteFunc(slices.Clone(im.Aliases), func(a string) bool { return owner[a] != im.Fingerprint })
	}
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
