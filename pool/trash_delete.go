package pool

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"poolctl/pool/tree"
)

// disposal says how something of the user's is deleted.
type disposal bool

const (
	// forGood frees what it took.
	forGood disposal = false
	// intoTrash keeps it for a while, if the pool has a trash.
	intoTrash disposal = true
)

// dispose deletes something of a pool: by trash, or for good by remove. In a pool that is so full that not even the rename is
// possible, the trash makes room for it, and where there is nothing in it, it is deleted for good.
func (s *System) dispose(ctx context.Context, p *openedPool, what string, ob tree.Doomed, how disposal, trash, remove func(context.Context) error) error {
	if how == forGood || trashSpan(p.rec) == trashOff {
		return s.removeFrom(ctx, p, ob, remove)
	}
	err := s.withRoom(ctx, p, "deleting "+what, func() error { return trash(ctx) })
	if errors.Is(err, unix.ENOSPC) {
		s.noticef("pool %s is full: %s cannot be kept in the trash, and is deleted for good", p.rec.Name, what)
		return s.removeFrom(ctx, p, ob, remove)
	}
	if err != nil {
		return err
	}
	if err := errors.Join(s.dropOldTrash(ctx, p), s.relieve(ctx, p)); err != nil && ctx.Err() == nil {
		s.notice(err.Error()) // it is deleted all the same
	}
	return nil
}

// TrashInstance moves a stopped instance into the trash of its pool, with its snapshots; with force a running one is stopped at
// once first. An ephemeral one is deleted for good, as it is when it stops.
func (s *System) TrashInstance(ctx context.Context, name string, force bool) error {
	return s.deleteInstance(ctx, name, force, intoTrash)
}

// TrashSnapshot moves a snapshot of an instance into the trash.
func (s *System) TrashSnapshot(ctx context.Context, instance, snap string) error {
	return s.deleteSnapshot(ctx, instance, snap, intoTrash)
}

// TrashVolume moves a custom volume into the trash, with its snapshots; refused where DeleteVolume is.
func (s *System) TrashVolume(ctx context.Context, pool, name string) error {
	return s.deleteVolume(ctx, pool, name, intoTrash)
}

// TrashVolumeSnapshot moves a snapshot of a custom volume into the trash.
func (s *System) TrashVolumeSnapshot(ctx context.Context, pool, volume, snap string) error {
	return s.deleteVolumeSnapshot(ctx, pool, volume, snap, intoTrash)
}

// TrashImageFrom moves an image into the trash of a pool; "" is of every pool that has it.
func (s *System) TrashImageFrom(ctx context.Context, ref, pool string) error {
	return s.deleteImagesOf(ctx, ref, pool, intoTrash)
}

// disposeInstance deletes an instance, which the caller has locked.
func (s *System) disposeInstance(ctx context.Context, in *lockedInstance, how disposal) error {
	name := in.rec.Name
	if in.rec.Ephemeral {
		how = forGood
	}
	return s.dispose(ctx, in.openedPool, name, tree.Doomed{Kind: tree.KindInstance, Name: name}, how,
		func(ctx context.Context) error { return in.TrashInstance(ctx, name) },
		func(ctx context.Context) error {
			if err := in.DeleteInstance(ctx, name); err != nil {
				return err
			}
			s.afterDelete(ctx, in.openedPool)
			return nil
		})
}

// disposeSnapshot deletes a snapshot of an instance, which the caller has locked.
func (s *System) disposeSnapshot(ctx context.Context, in *lockedInstance, snap string, how disposal) error {
	name := in.rec.Name
	return s.dispose(ctx, in.openedPool, name+"/"+snap, tree.Doomed{Kind: tree.KindInstance, Name: name, Snapshot: snap}, how,
		func(ctx context.Context) error { return in.TrashSnapshot(ctx, name, snap) },
		func(ctx context.Context) error {
			if err := in.DeleteSnapshot(ctx, name, snap); err != nil {
				return err
			}
			s.pruneQgroups(in.openedPool)
			s.tightenInstance(ctx, in)
			return nil
		})
}

// disposeImage deletes an image, which the caller has locked.
func (s *System) disposeImage(ctx context.Context, p *openedPool, rec tree.ImageRecord, how disposal) error {
	return s.dispose(ctx, p, "image "+rec.Fingerprint[:12], tree.Doomed{Kind: tree.KindImage, Name: rec.Fingerprint}, how,
		func(ctx context.Context) error { return p.TrashImage(ctx, rec.Fingerprint) },
		func(ctx context.Context) error {
			err := p.DeleteImage(ctx, rec.Fingerprint)
			s.afterDelete(ctx, p)
			return err
		})
}
