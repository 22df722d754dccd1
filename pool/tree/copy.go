package tree

import (
	"context"
	"slices"

	"poolctl/btrfs"
)

// Source says what is copied or sent: an instance or a custom volume.
type Source struct {
	// Name is its name; Snapshot the one of its snapshots that is meant, "" for what it is now.
	Name, Snapshot string
	// Snapshots takes the snapshots along. One snapshot has none.
	Snapshots bool
}

// Ref is what is meant, as the user writes it: NAME or NAME/SNAPSHOT.
func (o Source) Ref() string {
	if o.Snapshot == "" {
		return o.Name
	}
	return o.Name + "/" + o.Snapshot
}

// CopyOptions say what CopyInstance copies.
type CopyOptions struct {
	Source
	// Adapt, if not nil, changes the configuration and the devices of every snapshot that is taken along, so that the copy
	// does not turn into its source when it is restored. It may be called several times for one.
	Adapt func(config map[string]string, devices map[string]map[string]string)
	// Setup, if not nil, is called with the copy's volume before it is there.
	Setup func(volume string) error
	// Still is that of SnapshotOptions, for the source.
	Still func(ctx context.Context, do func() error) error
	// Only, if not nil, names the snapshots that are taken along.
	Only []string
}

// CopyInstance makes an instance, with in as its record, of another one, which may be running, or of a snapshot of one. It
// shares all data with its source. Snapshots keep their names and dates. A name that is taken is fs.ErrExist, a source that
// is not there fs.ErrNotExist, a bad name ErrInvalidName. Of what failed the error says the cause.
func (t *Tree) CopyInstance(ctx context.Context, in Instance, o CopyOptions) error {
	if err := ValidateInstanceName(in.Name); err != nil {
		return err
	}
	from, err := t.copyOrigin(o, in.Name)
	if err == nil {
		err = t.create(ctx, in, from)
	}
	return err
}

func (t *Tree) copyOrigin(o CopyOptions, name string) (origin, error) {
	if o.Snapshot != "" {
		path, err := t.SnapshotPath(o.Name, o.Snapshot)
		return origin{volume: path, keepLimit: true, setup: o.Setup}, err
	}
	if err := checkComponent(o.Name); err != nil {
		return origin{}, err
	}
	from := origin{volume: t.InstancePath(o.Name), keepLimit: true, setup: o.Setup, still: o.Still}
	rec, broken, err := t.readInstance(from.volume, whole)
	if err == nil {
		err = broken
	}
	if err != nil || !o.Snapshots {
		return from, err
	}
	entries, err := t.listEntries(o.Name, rec.entries)
	if err != nil {
		return from, err
	}
	from.snapshots = asSnapshots(entries)
	if o.Only != nil {
		from.snapshots = slices.DeleteFunc(from.snapshots, func(s Snapshot) bool { return !slices.Contains(o.Only, s.Name) })
	}
	adapt := o.Adapt
	if adapt == nil {
		adapt = func(map[string]string, map[string]map[string]string) {}
	}
	for i := range from.snapshots {
		s := &from.snapshots[i]
		s.normalise()
		adapt(s.Config, s.Devices)
		adapt(s.ExpandedConfig, s.ExpandedDevices)
	}
	from.takeSnapshot = func(ctx context.Context, snap, path string) error {
		return t.copySnapshot(ctx, t.snapshotPath(o.Name, snap), path, name, adapt)
	}
	return from, nil
}

// copySnapshot makes dst a read-only copy of the snapshot src, for the instance name.
func (t *Tree) copySnapshot(ctx context.Context, src, dst, name string, adapt func(map[string]string, map[string]map[string]string)) error {
	if err := btrfs.SnapshotTree(ctx, src, dst, false); err != nil {
		return err
	}
	// A restore takes the configuration from here. What cannot be read, it does not use either. The list of the snapshots before
	// it, which nobody reads, is left out: of a thousand, it would take more than they do.
	if rec, err := t.readRecord(dst, alone); err == nil {
		rec.Container.Name = name
		adapt(rec.Container.Config, rec.Container.Devices)
		adapt(rec.Container.ExpandedConfig, rec.Container.ExpandedDevices)
		if err := t.writeRecord(dst, rec.doc, rec.Container, nil); err != nil {
			return err
		}
	}
	return freezeVolumes(ctx, dst)
}
