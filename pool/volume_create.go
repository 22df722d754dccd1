package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"poolctl/pool/tree"
)

// CreateVolume makes an empty custom volume. What its configuration does not say
// is as the pool's volume.* keys have it.
func (s *System) CreateVolume(ctx context.Context, o CreateVolumeOptions) (err error) {
	o.Name = customName(o.Name)
	if o.ContentType != "" && o.ContentType != contentFilesystem {
		return withHint(fmt.Errorf("cannot create volume %s: content of type %q is not supported", o.Name, o.ContentType), "volumes of a btrfs pool hold a file system tree: --type filesystem")
	}
	if err := checkVolumeConfig(o.Config); err != nil {
		return fmt.Errorf("cannot create volume %s: %w", o.Name, err)
	}
	p, err := s.openPool(ctx, o.Pool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	unlock, err := s.lockNewVolume(ctx, p, o.Name)
	if err != nil {
		return err
	}
	defer unlock()
	v := tree.Volume{Name: o.Name, Description: o.Description, Config: volumeDefaults(p.rec, o.Config), CreatedAt: time.Now().UTC()}
	v.Config[volatileUUID] = newUUID()
	withoutKeep(v.Config)
	return s.hintFull(p.rec, p.CreateVolume(ctx, v, func(path string) error {
		if err := applyInitial(path, v.Config); err != nil {
			return err
		}
		return s.limitVolume(ctx, p, v.Name, path, v.Config, false)
	}))
}

// applyInitial gives the root of a new volume the owner and mode that it is to have.
func applyInitial(path string, config map[string]string) error {
	uid, gid := 0, 0
	for key, id := range map[string]*int{"initial.uid": &uid, "initial.gid": &gid} {
		if v := config[key]; v != "" {
			n, err := strconv.ParseUint(v, 10, 32)
			if err != nil {
				return err
			}
			*id = int(n)
		}
	}
	if err := os.Lchown(path, uid, gid); err != nil {
		return err
	}
	if v := config["initial.mode"]; v != "" {
		mode, err := strconv.ParseUint(v, 8, 32)
		if err != nil {
			return err
		}
		return chmodAll(path, uint32(mode))
	}
	return nil
}

// DeleteVolume deletes a custom volume with its snapshots for good. One that an
// instance or a profile has a device on is refused.
func (s *System) DeleteVolume(ctx context.Context, pool, name string) error {
	return s.deleteVolume(ctx, pool, name, forGood)
}

func (s *System) deleteVolume(ctx context.Context, pool, name string, how disposal) (err error) {
	if err := s.checkUnseenBefore(ctx, pool, customName(name)); errors.Is(err, ErrNotFound) {
		return err
	} else if err != nil {
		return fmt.Errorf("cannot delete volume %s: %w", customName(name), err)
	}
	v, err := s.lockVolume(ctx, pool, name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	if err := s.checkNoUsers(ctx, pool, v.vol.Name); err != nil {
		return fmt.Errorf("cannot delete volume %s: %w", v.vol.Name, err)
	}
	return s.dispose(ctx, v.openedPool, "volume "+v.vol.Name, tree.Doomed{Kind: tree.KindVolume, Name: v.vol.Name}, how,
		func(ctx context.Context) error { return v.TrashVolume(ctx, v.vol.Name) },
		func(ctx context.Context) error { return v.DeleteVolume(ctx, v.vol.Name) })
}
