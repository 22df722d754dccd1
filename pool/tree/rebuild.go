package tree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"poolctl/pool/crash"
)

const opRebuild = "instance-rebuild"

// RebuildInstance gives an instance a new volume, of an image or, with the fingerprint "", with an empty root; its record
// stays, with what change changes in it, and so do its snapshots. The new volume takes the place of the old one by one
// exchange. An instance or image that is not there is fs.ErrNotExist; one that is Broken cannot be rebuilt.
func (t *Tree) RebuildInstance(ctx context.Context, name, fingerprint string, change func(*Instance) error) error {
	source := ""
	if fingerprint != "" {
		if _, err := t.Image(fingerprint); err != nil {
			return err
		}
		source = t.ImagePath(fingerprint)
	}
	return t.replaceBy(ctx, opRebuild, nameArgs{Instance: name}, source, func(staged string) error {
		if source == "" {
			if err := emptyRoot(staged); err != nil {
				return err
			}
		}
		if err := prepareVolume(staged); err != nil {
			return err
		}
		return t.exchangeRebuilt(ctx, staged, name, change)
	})
}

// emptyRoot makes what the volume of an image has at least.
func emptyRoot(volume string) error {
	return errors.Join(os.Mkdir(filepath.Join(volume, "rootfs"), 0o755), os.Mkdir(filepath.Join(volume, "templates"), 0o755)) //nolint:gosec // as of an image
}

// exchangeRebuilt writes the record and exchanges the volumes, while nobody else writes the present record.
func (t *Tree) exchangeRebuilt(ctx context.Context, staged, name string, change func(*Instance) error) (err error) {
	lock, err := lockVolume(t.InstancePath(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	rec, err := t.readRecord(t.InstancePath(name), brief)
	if err != nil {
		return fmt.Errorf("cannot read the record of %s: %w", name, err)
	}
	in := *rec.Container
	in.Name = name
	if err := change(&in); err != nil {
		return err
	}
	snaps, err := t.mergeEntries(name, rec.entries)
	if err != nil {
		return err
	}
	if err := t.writeRecord(staged, rec.doc, &in, snaps); err != nil {
		return err
	}
	crash.Point("tree.restore.recorded")
	if err := t.limitStaged(ctx, staged, in.Limit, false); err != nil {
		return err
	}
	crash.Point("tree.restore.limited")
	if err := ctx.Err(); err != nil {
		return err
	}
	return exchange(staged, t.InstancePath(name))
}
