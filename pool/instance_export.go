package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"poolctl/pool/backup"
	"poolctl/pool/tree"
)

// ExportOptions are the arguments of Export.
type ExportOptions struct {
	BackupOptions
	Instance string
}

// Export writes a backup of an instance, running or not, with its snapshots: LXD's
// and Incus's format. It is read from snapshots taken now, for which a running
// instance is held for a moment; then it can be used again, and its snapshots be
// deleted, while the backup is written. Nothing is written to a disk besides.
func (s *System) Export(ctx context.Context, o ExportOptions, w io.Writer) error {
	if err := checkExported(o.Instance); err != nil {
		return err
	}
	return s.export(ctx, s.exportingInstance(o), interruptibleWriter(ctx, w))
}

// ExportFile writes a backup of an instance to a file: see exportFile.
func (s *System) ExportFile(ctx context.Context, o ExportOptions, path string, force bool) error {
	if err := checkExported(o.Instance); err != nil {
		return err
	}
	return s.exportFile(ctx, s.exportingInstance(o), path, force)
}

// checkExported refuses a snapshot, with the ways that there are.
func checkExported(ref string) error {
	if !strings.Contains(ref, "/") {
		return nil
	}
	return withHint(fmt.Errorf("cannot export %s: a backup is of an instance with its snapshots, not of one of them", ref),
		"poolctl copy %[1]s NEW makes an instance of it, which can be exported; poolctl send %[1]s FILE writes it as a stream, and poolctl publish %[1]s makes an image of it", ref)
}

func (s *System) exportingInstance(o ExportOptions) exporting {
	return exporting{o: o.BackupOptions, open: func(ctx context.Context, b BackupOptions) (*backupSource, error) {
		return s.openInstanceBackup(ctx, o.Instance, b)
	}}
}

// openInstanceBackup freezes an instance.
func (s *System) openInstanceBackup(ctx context.Context, name string, o BackupOptions) (_ *backupSource, err error) {
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return nil, err
	}
	b := &backupSource{p: in.openedPool, what: name, close: in.close}
	defer func() {
		if err != nil {
			err = errors.Join(err, b.close())
		}
	}()
	if in.rec.Broken != nil {
		return nil, in.rec.Broken
	}
	var snaps []tree.Snapshot
	if !o.NoSnapshots {
		if snaps, err = in.Snapshots(name); err != nil {
			return nil, err
		}
	}
	b.index = backup.Index{
		Name: name, Backend: "btrfs", Pool: in.openedPool.rec.Name, Optimized: o.Optimized, OptimizedHeader: o.Optimized, Type: backup.TypeContainer,
	}
	for _, sn := range snaps {
		b.index.Snapshots = append(b.index.Snapshots, sn.Name)
	}
	still := func(do func() error) error { return s.still(ctx, in, do) }
	if b.frozen, err = in.FreezeInstance(ctx, tree.Source{Name: name}, b.index.Snapshots, still); err != nil {
		return nil, err
	}
	b.close = func() error { return errors.Join(b.frozen.Close(), in.close()) }
	if err := b.frozen.Aside(ctx); err != nil {
		return nil, err
	}
	if b.index.Record, err = b.frozen.Record(name, snaps); err != nil {
		return nil, err
	}
	// The instance is free again; its pool is kept.
	in.unlock()
	in.unlock = func() {}
	return b, b.frozen.Sync()
}
