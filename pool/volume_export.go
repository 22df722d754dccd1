package pool

import (
	"context"
	"errors"
	"io"

	"poolctl/pool/backup"
	"poolctl/pool/tree"
)

// ExportVolumeOptions are the arguments of ExportVolume.
type ExportVolumeOptions struct {
	BackupOptions
	Pool, Volume string
}

// ExportVolume writes a backup of a custom volume, in use or not, with its
// snapshots: LXD's and Incus's format. It is read from a snapshot taken now, and
// nothing is written to a disk besides.
func (s *System) ExportVolume(ctx context.Context, o ExportVolumeOptions, w io.Writer) error {
	return s.export(ctx, s.exportingVolume(o), interruptibleWriter(ctx, w))
}

// ExportVolumeFile writes a backup of a custom volume to a file: see exportFile.
func (s *System) ExportVolumeFile(ctx context.Context, o ExportVolumeOptions, path string, force bool) error {
	return s.exportFile(ctx, s.exportingVolume(o), path, force)
}

func (s *System) exportingVolume(o ExportVolumeOptions) exporting {
	return exporting{o: o.BackupOptions, open: func(ctx context.Context, b BackupOptions) (*backupSource, error) {
		return s.openVolumeBackup(ctx, o.Pool, o.Volume, b)
	}}
}

// openVolumeBackup freezes a custom volume.
func (s *System) openVolumeBackup(ctx context.Context, pool, name string, o BackupOptions) (_ *backupSource, err error) {
	v, err := s.lockVolume(ctx, pool, name)
	if err != nil {
		return nil, err
	}
	b := &backupSource{p: v.openedPool, what: "volume " + v.vol.Name, close: v.close}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	s.dropExpired(ctx, v)
	vol := v.vol
	if vol.Broken != nil {
		return nil, vol.Broken
	}
	if o.NoSnapshots {
		vol.Snapshots = nil
	}
	b.index = volumeIndex(pool, o, vol)
	if b.frozen, err = v.FreezeVolume(ctx, tree.Source{Name: vol.Name}, b.index.Snapshots); err != nil {
		return nil, err
	}
	b.close = func() error { return errors.Join(b.frozen.Close(), v.close()) }
	return b, nil
}

// volumeIndex is the index of a custom volume's backup.
func volumeIndex(pool string, o BackupOptions, v tree.Volume) backup.Index {
	in := backup.Index{
		Name: v.Name, Backend: "btrfs", Pool: pool, Optimized: o.Optimized, OptimizedHeader: o.Optimized, Type: backup.TypeCustom,
		Volume: &backup.Volume{
			Config: v.Config, Description: v.Description, Name: v.Name, Type: volumeCustom, UsedBy: []string{}, Location: "none",
			ContentType: contentFilesystem, Project: v.Project, CreatedAt: v.CreatedAt,
		},
	}
	for _, sn := range v.Snapshots {
		in.Snapshots = append(in.Snapshots, sn.Name)
		expires := sn.ExpiresAt
		in.VolumeSnapshots = append(in.VolumeSnapshots, backup.Snapshot{
			Description: sn.Description, ExpiresAt: &expires, Name: sn.Name, Config: sn.Config, ContentType: contentFilesystem, CreatedAt: sn.CreatedAt,
		})
	}
	return in
}
