package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"poolctl/images/compress"
	"poolctl/images/tarball"
	"poolctl/pool/backup"
	"poolctl/pool/tree"
)

// ExportVolumeOptions are the arguments of ExportVolume.
type ExportVolumeOptions struct {
	Pool, Volume string
	VolumeOnly   bool   // leave the snapshots out
	Optimized    bool   // btrfs send streams instead of files
	Compression  string // as compress.ParseMethod takes it; "" = zstd
	Progress     func(Progress)
}

// ExportVolume writes a backup of a custom volume, in use or not, with its
// snapshots: LXD's and Incus's format. It is read from a snapshot taken now, and
// nothing is written to a disk besides.
func (s *System) ExportVolume(ctx context.Context, o ExportVolumeOptions, w io.Writer) error {
	return s.exportVolume(ctx, o, w, func(*openedPool, *tree.Frozen) error { return nil })
}

// exportVolume is ExportVolume, which asks check before it writes.
func (s *System) exportVolume(ctx context.Context, o ExportVolumeOptions, w io.Writer, check func(*openedPool, *tree.Frozen) error) (err error) {
	v, err := s.lockVolume(ctx, o.Pool, o.Volume)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot export volume %s: %w", v.vol.Name, err)
		}
	}()
	s.dropExpired(ctx, v)
	vol := v.vol
	if vol.Broken != nil {
		return vol.Broken
	}
	if o.VolumeOnly {
		vol.Snapshots = nil
	}
	var names []string
	for _, sn := range vol.Snapshots {
		names = append(names, sn.Name)
	}
	frozen, err := v.FreezeVolume(ctx, tree.Source{Name: vol.Name}, names)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, frozen.Close()) }()
	if err := check(v.openedPool, frozen); err != nil {
		return err
	}
	z, err := compressor(ctx, o.Compression, w)
	if err != nil {
		return err
	}
	a := tarball.NewWriter(z)
	if o.Progress != nil {
		a.Report = func(n int64) { o.Progress(Progress{Name: vol.Name, Done: n}) }
	}
	err = writeBackup(ctx, a, frozen, o, vol)
	if err == nil {
		err = a.Close()
	}
	if cerr := z.Close(); err == nil { // the first error is the cause of this one
		err = cerr
	}
	return err
}

// compressor is the end of an archive that is compressed that way.
func compressor(ctx context.Context, how string, w io.Writer) (io.WriteCloser, error) {
	if how == "" {
		how = "zstd"
	}
	m, err := compress.ParseMethod(how)
	if err == nil && m.Format == compress.Squashfs {
		err = errors.New("a backup is an archive, and squashfs is none")
	}
	if err != nil {
		return nil, withHint(err, "bzip2, gzip, lz4, lzma, xz, zstd or none, with a level behind it: \"xz -9\"")
	}
	return compress.NewWriter(ctx, m, w)
}

// writeBackup writes what package backup describes.
func writeBackup(ctx context.Context, a *tarball.Writer, frozen *tree.Frozen, o ExportVolumeOptions, v tree.Volume) error {
	now := time.Now()
	raw, err := volumeIndex(o, v).Encode()
	if err == nil {
		err = a.AddFile(backup.IndexFile, raw, now)
	}
	if err != nil {
		return err
	}
	if !o.Optimized {
		for _, version := range frozen.Versions {
			if err := addVersion(ctx, a, version); err != nil {
				return err
			}
		}
		return nil
	}
	var header backup.Header
	for _, m := range frozen.Members() {
		header.Subvolumes = append(header.Subvolumes, memberOf(m))
	}
	if raw, err = header.Encode(); err == nil {
		err = a.AddFile(backup.HeaderFile, raw, now)
	}
	for _, m := range frozen.Members() {
		if err != nil {
			return err
		}
		err = addStream(ctx, a, frozen, m, now)
	}
	return err
}

// memberOf is a member in the fields of a backup.
func memberOf(m tree.Member) backup.Subvolume {
	return backup.Subvolume{Path: m.Path, Snapshot: m.Snapshot, ReadOnly: m.ReadOnly, UUID: m.UUID}
}

// addVersion writes the files of one state of a volume.
func addVersion(ctx context.Context, a *tarball.Writer, version tree.FrozenVersion) error {
	root, err := os.Open(version.Path)
	if err != nil {
		return err
	}
	return errors.Join(a.AddTree(ctx, root, backup.Dir(version.Snapshot)), root.Close())
}

// addStream writes the send stream of one subvolume. Its size has to come before
// it: the stream is made twice, the first time to be counted. Of what is
// read-only it is the same each time.
func addStream(ctx context.Context, a *tarball.Writer, frozen *tree.Frozen, m tree.Member, now time.Time) error {
	var size counter
	if err := frozen.Send(ctx, m, &size); err != nil {
		return err
	}
	return a.AddStream(memberOf(m).File(), size.done, now, func(w io.Writer) error { return frozen.Send(ctx, m, w) })
}

// volumeIndex is the index of a backup.
func volumeIndex(o ExportVolumeOptions, v tree.Volume) backup.Index {
	in := backup.Index{
		Name: v.Name, Backend: "btrfs", Pool: o.Pool, Optimized: o.Optimized, OptimizedHeader: o.Optimized, Type: backup.TypeCustom,
		Config: &backup.Config{Volume: &backup.Volume{
			Config: v.Config, Description: v.Description, Name: v.Name, Type: volumeCustom, UsedBy: []string{}, Location: "none",
			ContentType: contentFilesystem, Project: v.Project, CreatedAt: v.CreatedAt,
		}},
	}
	for _, sn := range v.Snapshots {
		in.Snapshots = append(in.Snapshots, sn.Name)
		expires := sn.ExpiresAt
		in.Config.VolumeSnapshots = append(in.Config.VolumeSnapshots, backup.Snapshot{
			Description: sn.Description, ExpiresAt: &expires, Name: sn.Name, Config: sn.Config, ContentType: contentFilesystem, CreatedAt: sn.CreatedAt,
		})
	}
	return in
}
