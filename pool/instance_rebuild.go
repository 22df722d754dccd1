package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"poolctl/pool/tree"
)

// RebuildOptions are the arguments of Rebuild.
type RebuildOptions struct {
	Name  string
	Image string // [REMOTE:]IMAGE; "" = the one that it was made of
	Empty bool   // an empty root instead of an image
	Force bool   // stop it first when it runs, and start it again unless Empty
	// Progress is called while the image is pulled.
	Progress func(Progress)
}

// Rebuild gives an instance a new root disk of an image. Its configuration,
// devices, addresses and snapshots stay. The new root takes the place of the old
// one at once: when it fails, or is killed, the instance is as it was.
func (s *System) Rebuild(ctx context.Context, o RebuildOptions) (err error) {
	in, err := s.lockInstance(ctx, o.Name)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, in.close()); err != nil {
			err = fmt.Errorf("cannot rebuild %s: %w", o.Name, err)
		}
	}()
	if in.rec.Broken != nil {
		return in.rec.Broken
	}
	if err := s.checkNoLook(o.Name); err != nil {
		return err
	}
	running := s.isRunning(o.Name)
	if running && !o.Force {
		return withHint(errors.New("it is running"), "stop it first, or poolctl rebuild --force ... %s", o.Name)
	}
	image, unlock, err := s.rebuildImage(ctx, in, o)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.needSpace(ctx, in.openedPool.rec, sharingNeed("rebuilding it")); err != nil {
		return err
	}
	if running {
		if err := s.stopLocked(ctx, in, StopOptions{Force: true}); err != nil {
			return err
		}
	}
	err = s.rebuildStopped(ctx, in, image)
	if running && !o.Empty { // there is nothing to start
		again := context.WithoutCancel(ctx)
		if rec, rerr := in.Instance(o.Name); rerr == nil {
			in.rec = rec
		}
		if serr := s.startLocked(again, in); serr != nil {
			err = errors.Join(err, fmt.Errorf("cannot start it again: %w", serr))
		}
	}
	return err
}

// rebuildImage is the image, with its lock held; of an empty root it is a record
// without a fingerprint.
func (s *System) rebuildImage(ctx context.Context, in *lockedInstance, o RebuildOptions) (tree.ImageRecord, func(), error) {
	if o.Empty {
		return tree.ImageRecord{Architecture: in.rec.Architecture}, func() {}, nil
	}
	ref := o.Image
	if ref == "" {
		if ref = in.rec.Config["volatile.base_image"]; ref == "" {
			return tree.ImageRecord{}, nil, withHint(errors.New("it was made of no image"), "name one: poolctl rebuild IMAGE %s", o.Name)
		}
	}
	return s.imageFor(ctx, in.openedPool, CreateOptions{Name: o.Name, Image: ref, Progress: o.Progress})
}

// rebuildStopped exchanges the root.
func (s *System) rebuildStopped(ctx context.Context, in *lockedInstance, image tree.ImageRecord) error {
	name := in.rec.Name
	rec := in.rec
	if err := s.reexpand(&rec); err != nil {
		return err
	}
	limit, err := s.limitOf(ctx, in.openedPool, rec)
	if err != nil {
		return err
	}
	err = in.RebuildInstance(ctx, name, image.Fingerprint, func(r *tree.Instance) error {
		r.Architecture, r.Limit = image.Architecture, limit
		r.Config = rebuiltConfig(r.Config, image)
		return s.reexpand(r)
	})
	s.pruneQgroups(in.openedPool)
	if err == nil {
		return nil
	}
	return s.hintFull(in.openedPool.rec, createError(err, name, image, limit))
}

// rebuiltConfig is the configuration with what it says of the image, and of the
// ids on disk, replaced.
func rebuiltConfig(config map[string]string, image tree.ImageRecord) map[string]string {
	out := maps.Clone(config)
	if out == nil {
		out = map[string]string{}
	}
	maps.DeleteFunc(out, func(k, _ string) bool { return strings.HasPrefix(k, "image.") })
	for k, v := range image.Properties {
		out["image."+k] = v
	}
	out["volatile.apply_template"] = "create"
	out["volatile.last_state.idmap"], out["volatile.idmap.base"] = "[]", "0" // unshifted on disk: mapped when it is mounted
	delete(out, "volatile.base_image")
	if image.Fingerprint != "" {
		out["volatile.base_image"] = image.Fingerprint
	}
	return out
}
