package tree

import (
	"context"
	"errors"
	"fmt"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opRestore = "instance-restore"

// RestoreOptions say what of an instance a restore keeps.
type RestoreOptions struct {
	// Adapt, if not nil, changes the record that the instance is to have, knowing the present one, which may be Broken, and
	// sets the Limit of the restored volume.
	Adapt func(present Instance, restored *Instance) error
}

// RestoreSnapshot gives an instance the content and the configuration of one of its snapshots. The present volume is
// exchanged with the restored one in one step and deleted after that; the snapshots stay. It fails with fs.ErrNotExist
// when there is no such instance or snapshot. Whether the instance runs is for the caller to look at.
func (t *Tree) RestoreSnapshot(ctx context.Context, name, snap string, o RestoreOptions) error {
	if err := t.restore(ctx, name, snap, o); err != nil {
		return fmt.Errorf("cannot restore %s/%s: %w", name, snap, err)
	}
	return nil
}

func (t *Tree) restore(ctx context.Context, name, snap string, o RestoreOptions) error {
	source, err := t.SnapshotPath(name, snap)
	if err != nil {
		return err
	}
	present, err := t.Instance(name)
	if err != nil {
		return err
	}
	return t.replaceBy(ctx, opRestore, nameArgs{name, snap}, source, func(staged string) error {
		if err := prepareVolume(staged); err != nil {
			return err
		}
		return t.replace(ctx, staged, present, snap, o)
	})
}

// replaceBy makes a writable snapshot of source, or where that is "" an empty subvolume, in an entry of the operation op, calls swap to exchange it with what it is
// to replace, and deletes what is in the entry then.
func (t *Tree) replaceBy(ctx context.Context, op string, args any, source string, swap func(staged string) error) error {
	e, err := journal.BeginUnsynced(ctx, t.staging(), op, args)
	if err != nil {
		return err
	}
	crash.Point("tree.restore.begun")
	staged := e.Path(entryVolume)
	if source == "" {
		err = btrfs.CreateSubvolume(staged)
	} else {
		err = btrfs.SnapshotTree(ctx, source, staged, false)
	}
	if err == nil {
		crash.Point("tree.restore.snapshot")
		err = swap(staged)
	}
	if err != nil {
		return abandon(e, err)
	}
	crash.Point("tree.restore.exchanged")
	if err := clearEntry(context.WithoutCancel(ctx), e); err != nil {
		return errors.Join(fmt.Errorf("it is restored, but the space of the former state is not free yet: %w", err), e.Close())
	}
	crash.Point("tree.restore.cleared")
	return e.Done()
}

// replace writes the record of the restored volume and exchanges it with the present one, while nobody else writes the
// present record.
func (t *Tree) replace(ctx context.Context, staged string, present Instance, snap string, o RestoreOptions) (err error) {
	lock, err := lockVolume(t.InstancePath(present.Name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	rec, err := t.readRecord(t.InstancePath(present.Name), brief)
	if err == nil {
		present.adopt(*rec.Container)
	}
	restored := t.restoredRecord(staged, present, rec.entries, snap)
	if o.Adapt != nil {
		if err := o.Adapt(present, &restored); err != nil {
			return err
		}
	}
	snaps, err := t.mergeEntries(present.Name, rec.entries)
	if err != nil {
		return err
	}
	if err := t.writeRecord(staged, rec.doc, &restored, snaps); err != nil {
		return err
	}
	crash.Point("tree.restore.recorded")
	if err := t.limitStaged(ctx, staged, restored.Limit, true); err != nil {
		return err
	}
	crash.Point("tree.restore.limited")
	if err := ctx.Err(); err != nil {
		return err
	}
	return exchange(staged, t.InstancePath(present.Name))
}

// InstanceAt is the record that an instance would have if it were restored to one of its snapshots; fs.ErrNotExist when
// there is no such instance or snapshot. It is Broken when neither the snapshot's record nor the instance's can be read.
func (t *Tree) InstanceAt(name, snap string) (Instance, error) {
	in, err := t.instanceAt(name, snap)
	if err != nil {
		return in, fmt.Errorf("cannot read %s/%s: %w", name, snap, err)
	}
	return in, nil
}

func (t *Tree) instanceAt(name, snap string) (Instance, error) {
	path, err := t.SnapshotPath(name, snap)
	if err != nil {
		return Instance{}, err
	}
	rec, broken, err := t.readInstance(t.InstancePath(name), brief)
	if err != nil {
		return Instance{}, err
	}
	present := Instance{Name: name, Broken: broken}
	if broken == nil {
		present.adopt(*rec.Container)
	} else if !t.hasRecord(path) {
		return present, nil // neither says what the instance is
	}
	return t.restoredRecord(path, present, rec.entries, snap), nil
}

// hasRecord says whether the record of the volume at path can be read.
func (t *Tree) hasRecord(path string) bool {
	_, err := t.readRecord(path, alone)
	return err == nil
}

// adopt takes over all that a record says, but not the name.
func (i *Instance) adopt(from Instance) {
	name := i.Name
	*i = from
	i.Name = name
}

// restoredRecord is the record of an instance after a restore: the configuration is the snapshot's, from the entry in the
// instance's record or, where there is none, from the snapshot's own; what is not configuration (when the instance was made
// and last used, where it is) is the present one's. The two agree, but an instance that was adopted has entries which say
// what the configuration is here, and its snapshots what it was there.
func (t *Tree) restoredRecord(staged string, present Instance, entries []entry, snap string) Instance {
	restored := present
	own, ownErr := t.readRecord(staged, alone)
	s := findEntry(entries, snap)
	if s != nil && s.brief && s.decode() != nil {
		s = nil
	}
	switch {
	case s != nil && s.Config != nil && present.Broken == nil:
		if ownErr == nil {
			restored.Description = own.Container.Description // which an entry does not have
		}
		restored.Architecture, restored.Stateful, restored.Ephemeral = s.Architecture, s.Stateful, s.Ephemeral
		restored.Profiles, restored.Config, restored.Devices = s.Profiles, s.Config, s.Devices
		restored.ExpandedConfig, restored.ExpandedDevices = s.ExpandedConfig, s.ExpandedDevices
	case ownErr == nil:
		restored.adopt(*own.Container)
		if present.Broken == nil {
			restored.CreatedAt, restored.LastUsedAt = present.CreatedAt, present.LastUsedAt
			restored.Project, restored.Location = present.Project, present.Location
			restored.Pool, restored.ProfileInfo = present.Pool, present.ProfileInfo
		}
	}
	restored.Broken = nil
	for _, config := range []*Config{&restored.Config, &restored.ExpandedConfig} {
		*config = withoutIDs(*config)
		delete(*config, ScheduledKey)
		for _, key := range []string{IDMapCurrentKey, IDMapNextKey} {
			if ids, there := present.Config[key]; there && *config != nil {
				(*config)[key] = ids
			}
		}
	}
	return restored
}
