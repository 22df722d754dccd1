package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"poolctl/btrfs"
	"poolctl/images/compress"
	"poolctl/images/tarball"
	"poolctl/pool/backup"
	"poolctl/pool/tree"
)

// BackupOptions say how a backup is written.
type BackupOptions struct {
	NoSnapshots bool   // leave the snapshots out
	Optimized   bool   // btrfs send streams instead of files
	Compression string // as compress.ParseMethod takes it; "" = zstd
	Progress    func(Progress)
}

// BackupExtension is what the name of a backup ends in that is compressed that way,
// as Incus has it: ".tar.zst".
func BackupExtension(compression string) (string, error) {
	m, err := compressionOf(compression)
	return m.Format.Extension(), err
}

// compressionOf reads BackupOptions.Compression.
func compressionOf(how string) (compress.Method, error) {
	if how == "" {
		how = "zstd"
	}
	m, err := compress.ParseMethod(how)
	if err == nil && m.Format == compress.Squashfs {
		err = errors.New("a backup is an archive, and squashfs is none")
	}
	if err != nil {
		err = withHint(err, "bzip2, gzip, lz4, lzma, xz, zstd or none, with a level behind it: \"xz -9\"")
	}
	return m, err
}

// backupSource is what a backup is made of. It stays as it is until it is closed.
type backupSource struct {
	p      *openedPool
	what   string // for errors: "volume v"
	index  backup.Index
	frozen *tree.Frozen
	// size is how much is written at least, when that is known better than from all of frozen; 0 = it is not.
	size  int64
	sizes []int64 // of each version, when they were measured
	// together is what all versions reference, when that was measured.
	together *btrfs.ReferencedBytes
	close    func() error
}

// measure is how much each version references.
func (b *backupSource) measure(ctx context.Context) ([]int64, error) {
	if b.sizes != nil {
		return b.sizes, nil
	}
	for _, version := range b.frozen.Versions {
		n, err := btrfs.Referenced(ctx, version.Path)
		if err != nil {
			return nil, err
		}
		b.sizes = append(b.sizes, int64(n))
	}
	return b.sizes, nil
}

// measureTogether is what the versions reference together, each extent once.
func (b *backupSource) measureTogether(ctx context.Context) (btrfs.ReferencedBytes, error) {
	if b.together != nil {
		return *b.together, nil
	}
	paths := make([]string, 0, len(b.frozen.Versions))
	for _, version := range b.frozen.Versions {
		paths = append(paths, version.Path)
	}
	all, err := btrfs.ReferencedTogether(ctx, paths...)
	if err == nil {
		b.together = &all
	}
	return all, err
}

// expected is about how much is written, before it is compressed.
func (b *backupSource) expected(ctx context.Context) (total int64, err error) {
	if b.index.Optimized {
		all, err := b.measureTogether(ctx)
		return int64(all.Data + all.Trees), err
	}
	sizes, err := b.measure(ctx)
	for _, n := range sizes {
		total += n
	}
	return total, err
}

// exporting is a backup on its way.
type exporting struct {
	o BackupOptions
	// open freezes what it is of.
	open func(ctx context.Context, o BackupOptions) (*backupSource, error)
	// check, if not nil, is asked before anything is written.
	check func(*backupSource) error
	// write, if not nil, writes it in another format.
	write func(ctx context.Context, b *backupSource, w io.Writer) error
}

// verb is what is done, for errors.
func (x exporting) verb() string {
	if x.write != nil {
		return "send"
	}
	return "export"
}

// export writes the backup, in LXD's and Incus's format. Nothing is written to a
// disk besides.
func (s *System) export(ctx context.Context, x exporting, w io.Writer) (err error) {
	m, err := compressionOf(x.o.Compression)
	if err != nil {
		return err
	}
	b, err := x.open(ctx, x.o)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, b.close()); err != nil {
			err = fmt.Errorf("cannot %s %s: %w", x.verb(), b.what, err)
		}
	}()
	if x.check != nil {
		if err := x.check(b); err != nil {
			return err
		}
	}
	if x.write != nil {
		return x.write(ctx, b, w)
	}
	z, err := compress.NewWriter(ctx, m, w)
	if err != nil {
		return err
	}
	a := tarball.NewWriter(z)
	count := &counter{name: b.index.Name, report: x.o.Progress}
	if count.report != nil {
		if total, err := b.expected(ctx); err == nil { // else it is shown without
			count.total, count.estimated = total, true
		}
		a.Report = count.reach
	}
	if err = b.write(ctx, a); err == nil {
		err = a.Close()
	}
	if cerr := z.Close(); err == nil { // the first error is the cause of this one
		err = cerr
	}
	if err == nil {
		count.end()
	}
	return err
}

// write writes what package backup describes.
func (b *backupSource) write(ctx context.Context, a *tarball.Writer) error {
	now := time.Now()
	layout, _ := b.index.Layout()
	raw, err := b.index.Encode()
	if err == nil {
		err = a.AddFile(backup.IndexFile, raw, now)
	}
	if err != nil {
		return err
	}
	if !b.index.Optimized {
		for _, version := range b.frozen.Versions {
			if err := addVersion(ctx, a, version.Path, layout.Dir(version.Snapshot)); err != nil {
				return err
			}
		}
		return nil
	}
	var header backup.Header
	for _, m := range b.frozen.Members() {
		header.Subvolumes = append(header.Subvolumes, subvolumeOf(m))
	}
	if raw, err = header.Encode(); err == nil {
		err = a.AddFile(backup.HeaderFile, raw, now)
	}
	for _, m := range b.frozen.Members() {
		if err != nil {
			return err
		}
		err = b.addStream(ctx, a, m, layout.File(subvolumeOf(m)), now)
	}
	return err
}

// subvolumeOf is a member in the fields of a backup.
func subvolumeOf(m tree.Member) backup.Subvolume {
	return backup.Subvolume{Path: m.Path, Snapshot: m.Snapshot, ReadOnly: m.ReadOnly, UUID: m.UUID}
}

// addVersion writes the files of one state.
func addVersion(ctx context.Context, a *tarball.Writer, path, name string) error {
	root, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(a.AddTree(ctx, root, name), root.Close())
}

// addStream writes the send stream of one subvolume. Its size has to come before
// it: the stream is made twice, the first time to be counted. Of what is
// read-only it is the same each time.
func (b *backupSource) addStream(ctx context.Context, a *tarball.Writer, m tree.Member, name string, now time.Time) error {
	var size counter
	if err := b.frozen.Send(ctx, m, &size); err != nil {
		return err
	}
	return a.AddStream(name, size.done, now, func(w io.Writer) error { return b.frozen.Send(ctx, m, w) })
}
