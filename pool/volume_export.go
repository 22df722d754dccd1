package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"poolctl/images/tarball"
	"poolctl/pool/backup"
	"poolctl/pool/tree"
)

// ExportVolumeOptions are the arguments of ExportVolume.
type ExportVolumeOptions struct {
	Pool, Volume string
	VolumeOnly   bool   // leave the snapshots out
	Optimized    bool   // btrfs send streams instead of files
	Compression  string // "" or "zstd", "gzip" or "none"
	Progress     func(Progress)
}

// ExportVolumeFile writes a backup of a custom volume to a file, which is there
// when it is complete and not before. One that exists is replaced with force only.
func (s *System) ExportVolumeFile(ctx context.Context, o ExportVolumeOptions, path string, force bool) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot export to %s: %w", path, err) }
	if _, err := os.Lstat(path); err == nil && !force {
		return withHint(fail(ErrExists), "--force overwrites it")
	}
	dir := filepath.Dir(path)
	// A file without a name: a kill leaves nothing of it.
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return s.exportInPlace(ctx, o, path, force)
	} else if err != nil {
		return fail(err)
	}
	defer func() { _ = f.Close() }() // synced before
	if err := s.ExportVolume(ctx, o, f); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fail(err)
	}
	if err := linkFile(f, path, force); err != nil {
		return fail(err)
	}
	return nil
}

// linkFile gives an open file without a name one.
func linkFile(f *os.File, path string, force bool) error {
	link := func(to string) error {
		return unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(f.Fd())), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
	}
	err := link(path)
	if !errors.Is(err, fs.ErrExist) || !force {
		return err
	}
	beside := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+newUUID())
	if err := link(beside); err != nil {
		return err
	}
	if err := os.Rename(beside, path); err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	return nil
}

// exportInPlace is for file systems without files that have no name.
func (s *System) exportInPlace(ctx context.Context, o ExportVolumeOptions, path string, force bool) error {
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if force {
		flags = os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return fmt.Errorf("cannot export to %s: %w", path, err)
	}
	err = s.ExportVolume(ctx, o, f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// ExportVolume writes a backup of a custom volume, in use or not, with its
// snapshots: LXD's and Incus's format. It is read from a snapshot taken now, and
// nothing is written to a disk besides.
func (s *System) ExportVolume(ctx context.Context, o ExportVolumeOptions, w io.Writer) (err error) {
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
	frozen, err := v.FreezeVolume(ctx, tree.VolumeSource{Name: vol.Name}, names)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, frozen.Close()) }()
	z, err := compressor(o.Compression, w)
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
	return errors.Join(err, z.Close())
}

// compressor is the end of an archive that is compressed that way.
func compressor(how string, w io.Writer) (io.WriteCloser, error) {
	switch how {
	case "", "zstd":
		return zstd.NewWriter(w)
	case "gzip":
		return gzip.NewWriter(w), nil
	case "none":
		return nopCloser{w}, nil
	}
	return nil, withHint(fmt.Errorf("unknown compression %q", how), "zstd, gzip or none")
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

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
