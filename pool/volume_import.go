package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"poolctl/pool/backup"
	"poolctl/pool/tree"
)

// ImportVolumeOptions are the arguments of ImportVolume.
type ImportVolumeOptions struct {
	Pool     string
	Name     string // "" = as the backup says
	Progress func(Progress)
}

// ImportVolume makes a custom volume of a backup of one, of ours or of LXD's or
// Incus's, and returns its name. It is read as a stream, and unpacked aside: the
// volume is there when it is complete.
func (s *System) ImportVolume(ctx context.Context, o ImportVolumeOptions, r io.Reader) (name string, err error) {
	p, err := s.openPool(ctx, o.Pool)
	if err != nil {
		return "", err
	}
	im := &volumeImport{s: s, p: p, o: o}
	if err := errors.Join(s.importBackup(ctx, r, im, o.Name, o.Progress), p.close()); err != nil {
		return "", fmt.Errorf("cannot import a volume: %w", err)
	}
	return im.vol.Name, nil
}

// volumeImport is a backupTarget.
type volumeImport struct {
	s      *System
	p      *openedPool
	o      ImportVolumeOptions
	vol    tree.Volume
	unlock func()
	stage  *tree.VolumeStage
}

func (im *volumeImport) begin(ctx context.Context, in backup.Index, need *spaceNeed) (st importStage, err error) {
	switch {
	case in.Type == backup.TypeContainer:
		return st, withHint(errors.New("it is a backup of an instance"), "poolctl import FILE")
	case in.Type != backup.TypeCustom:
		return st, fmt.Errorf("it is a backup of type %q, not of a custom volume", in.Type)
	case in.Volume != nil && in.Volume.ContentType != "" && in.Volume.ContentType != contentFilesystem:
		return st, fmt.Errorf("its content is of type %q, which is not supported", in.Volume.ContentType)
	}
	if im.vol = im.describe(in); im.o.Name != "" {
		im.vol.Name = customName(im.o.Name)
	}
	if need != nil {
		if err := im.s.needSpace(ctx, im.p.rec, *need); err != nil {
			return st, err
		}
	}
	if im.unlock, err = im.s.lockNewVolume(ctx, im.p, im.vol.Name); err != nil {
		return st, err
	}
	if im.stage, err = im.p.StageVolume(ctx, im.vol.Name); err != nil {
		return st, err
	}
	return importStage{im.p, &im.stage.OwnerStage}, nil
}

func (im *volumeImport) commit(ctx context.Context) error {
	if err := im.s.limitVolume(ctx, im.p, im.vol.Name, im.stage.Path(), im.vol.Config, true); err != nil {
		return err
	}
	return im.stage.Commit(ctx, im.vol)
}

func (im *volumeImport) close() (err error) {
	if im.stage != nil {
		err = im.stage.Abort()
	}
	if im.unlock != nil {
		im.unlock()
		im.unlock = nil
	}
	return err
}

// describe is the record of the volume: what its keys mean nothing here is left
// out and told.
func (im *volumeImport) describe(in backup.Index) tree.Volume {
	v := tree.Volume{Name: in.Name, Config: map[string]string{}, CreatedAt: time.Now().UTC()}
	if in.Volume != nil {
		v.Description = in.Volume.Description
		for _, k := range sortedKeys(in.Volume.Config) {
			one := map[string]string{k: in.Volume.Config[k]}
			if strings.HasPrefix(k, "volatile.") {
				continue // of another machine
			}
			if err := checkVolumeConfig(one); err != nil {
				im.s.noticef("left out of the configuration: %s", err)
				continue
			}
			v.Config[k] = in.Volume.Config[k]
		}
	}
	v.Config[volatileUUID] = newUUID()
	for _, name := range in.Snapshots {
		sn := tree.VolumeSnapshot{Name: name, CreatedAt: v.CreatedAt}
		i := slices.IndexFunc(in.VolumeSnapshots, func(s backup.Snapshot) bool { return s.Name == name })
		if i >= 0 {
			of := in.VolumeSnapshots[i]
			sn.Description, sn.Config, sn.ExpiresAt = of.Description, of.Config, orZero(of.ExpiresAt)
			if !of.CreatedAt.IsZero() {
				sn.CreatedAt = of.CreatedAt.UTC()
			}
		}
		v.Snapshots = append(v.Snapshots, sn)
	}
	return v
}
