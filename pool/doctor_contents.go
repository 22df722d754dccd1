package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// contents checks what is in an attached pool: records that cannot be read, disks
// that are missing, sizes that are not held, leftovers, and operations that could
// not be undone. A pool that another command has for itself just now is not waited
// for.
func (d *doctor) contents(ctx context.Context, rec state.PoolRecord) {
	object := "pool " + rec.Name
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	unlock, err := d.dir.LockPool(short, rec.Name, true)
	if err != nil {
		if ctx.Err() == nil {
			d.add(Finding{Severity: SeverityNotice, Object: object, Problem: "another command is at work on it: what is in it was not looked at", Remedy: "try again later"})
		}
		return
	}
	defer unlock()
	t, err := d.peek(rec)
	if err != nil {
		d.failed(object, err)
		return
	} else if t == nil {
		return // detached meanwhile
	}
	defer func() { _ = t.Close() }()
	for _, err := range flatten(t.Recover(ctx)) {
		d.add(Finding{
			Severity: SeverityError, Object: object, Problem: "an unfinished operation cannot be undone: " + err.Error(),
			Remedy: "see to what it names; each command tries again",
		})
	}
	p := &openedPool{Tree: t, rec: rec}
	instances, err := t.Instances(ctx)
	if err != nil {
		d.failed(object, err)
	}
	for _, in := range instances {
		if in.Broken != nil {
			d.add(Finding{
				Severity: SeverityError, Object: "instance " + in.Name, Problem: "it cannot be used: " + in.Broken.Error(),
				Remedy: "restore one of its snapshots, or look into it with poolctl mount",
			})
		}
		d.missingVolumes(p, in)
	}
	d.sizes(ctx, p)
	d.leftovers(ctx, p, d.volumes(ctx, p))
	d.trash(p)
}

// trash tells of what is in a pool's trash and cannot be undeleted.
func (d *doctor) trash(p *openedPool) {
	all, err := trashOf(p, TrashQuery{})
	if err != nil {
		d.failed("pool "+p.rec.Name, err)
	}
	for _, it := range all {
		if it.Problem == "" {
			continue
		}
		d.add(Finding{
			Severity: SeverityWarning, Object: "pool " + p.rec.Name, Problem: "what is " + it.Name + " in its trash cannot be undeleted: " + it.Problem,
			Remedy: fmt.Sprintf("look at %s, and then poolctl trash empty --pool %s %s", filepath.Join(p.Path(), ".poolctl/trash", it.Name), p.rec.Name, it.Name),
		})
	}
}

// missingVolumes tells of the disks of an instance whose volume is gone from the
// pool.
func (d *doctor) missingVolumes(p *openedPool, in tree.Instance) {
	for _, disk := range disksOf(in.ExpandedDevices) {
		name := customName(disk.dev["source"])
		if disk.dev["pool"] != p.rec.Name {
			continue
		}
		if _, err := p.Volume(name); !errors.Is(err, fs.ErrNotExist) {
			continue // volumes tells of what is wrong with one that is there
		}
		f := Finding{
			Severity: SeverityWarning, Object: "instance " + in.Name, Problem: fmt.Sprintf("its disk %s cannot be mounted: there is no volume %s in pool %s", disk.name, name, p.rec.Name),
			Remedy: fmt.Sprintf("poolctl config device remove %s %s", in.Name, disk.name),
		}
		if r := disk.dev["required"]; r != "" && !isTrue(r) {
			f.Severity = SeverityNotice
		}
		d.add(f)
	}
}

// volumes tells of custom volumes whose record cannot be read, and of records
// whose volume is gone, which it returns.
func (d *doctor) volumes(ctx context.Context, p *openedPool) []tree.LostVolume {
	all, err := p.Volumes(ctx)
	if err != nil {
		d.failed("pool "+p.rec.Name, err)
		return nil
	}
	for _, v := range all {
		if v.Broken != nil && v.Project == tree.DefaultProject {
			d.add(Finding{
				Severity: SeverityError, Object: volumeObject(p, v.Name), Problem: "it cannot be used: " + v.Broken.Error(),
				Remedy: "move that file away: what is in the volume stays, its configuration and the expiry of its snapshots are lost",
			})
		}
	}
	lost, err := p.LostVolumes()
	if err != nil {
		d.failed("pool "+p.rec.Name, err)
		return nil
	}
	for _, v := range lost {
		d.lostVolume(ctx, p, v)
	}
	return lost
}

func volumeObject(p *openedPool, name string) string { return "volume " + p.rec.Name + "/" + name }

// lostVolume tells of a record without a volume, unless somebody is at work on it:
// while a volume is made its record is there first.
func (d *doctor) lostVolume(ctx context.Context, p *openedPool, v tree.LostVolume) {
	drop := func(ctx context.Context, forget bool) (lost bool, err error) {
		short, cancel := context.WithTimeout(ctx, upkeepWait)
		defer cancel()
		unlock, err := d.dir.LockVolume(short, p.rec.Name, v.Name)
		if err != nil {
			return false, nil // it is somebody's
		}
		defer unlock()
		return d.forgetVolume(ctx, p.rec.Name, v.Name, forget)
	}
	if lost, err := drop(ctx, false); err != nil {
		d.failed(volumeObject(p, v.Name), err)
		return
	} else if !lost {
		return
	}
	f := Finding{
		Severity: SeverityWarning, Object: volumeObject(p, v.Name), Problem: "its record is there, and it is gone: somebody has deleted its subvolume",
		Remedy: "poolctl doctor --fix forgets it", does: "it was forgotten",
		fix: func(ctx context.Context) error { _, err := drop(ctx, true); return err },
	}
	if v.Snapshots > 0 {
		f.Problem += fmt.Sprintf(", but for %d snapshots", v.Snapshots)
		f.Remedy, f.fix = "take what you need out of its snapshots in "+v.SnapshotDir+", and delete them: btrfs subvolume delete", nil
	}
	d.add(f)
}

// forgetVolume says whether there is a record without a volume of that name, and
// removes it.
func (d *doctor) forgetVolume(_ context.Context, pool, name string, forget bool) (lost bool, err error) {
	t, err := tree.Open(d.dir.MountPoint(pool))
	if err != nil {
		return false, ignoreNotExist(err)
	}
	all, err := t.LostVolumes()
	lost = slices.ContainsFunc(all, func(v tree.LostVolume) bool { return v.Name == name })
	if err == nil && lost && forget {
		err = t.ForgetVolume(name)
	}
	return lost, errors.Join(err, t.Close())
}

// leftovers tells of what is the pool's and nobody's: snapshots of what is gone,
// and what LXD or Incus did not finish. What is there for a moment only, while
// another command is at work, is not among it, nor are the snapshots of lost
// volumes.
func (d *doctor) leftovers(ctx context.Context, p *openedPool, lost []tree.LostVolume) {
	left, err := p.Debris()
	if err == nil && len(left) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
		var still []string
		still, err = p.Debris()
		left = slices.DeleteFunc(left, func(path string) bool { return !slices.Contains(still, path) })
	}
	if err != nil {
		d.failed("pool "+p.rec.Name, err)
		return
	}
	for _, path := range left {
		full := filepath.Join(p.Path(), path)
		if slices.ContainsFunc(lost, func(v tree.LostVolume) bool { return v.SnapshotDir == filepath.Dir(full) }) {
			continue
		}
		d.add(Finding{
			Severity: SeverityWarning, Object: "pool " + p.rec.Name, Problem: fmt.Sprintf("%q in it is left over from something that is gone", path),
			Remedy: "look into it, and if it is not needed: btrfs subvolume delete '" + strings.ReplaceAll(full, "'", `'\''`) + "'",
		})
	}
}
