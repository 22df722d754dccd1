package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/holders"
	"poolctl/pool/state"
)

// pool checks one pool: its record, what it lies on, who else has that, and when
// it is attached what is in it.
func (d *doctor) pool(ctx context.Context, name string) {
	object := "pool " + name
	rec, err := d.dir.LoadPool(name)
	if errors.Is(err, fs.ErrNotExist) {
		return // deleted meanwhile
	} else if err != nil {
		d.add(Finding{
			Severity: SeverityError, Object: object, Problem: err.Error(),
			Remedy: fmt.Sprintf("remove %s/%s.json and take the pool's file in again: poolctl pool adopt FILE", d.dir.Pools(), name),
		})
		return
	}
	attached, err := d.isAttached(rec)
	if err != nil {
		d.failed(object, err)
		return
	}
	d.otherDevices(rec)
	if attached {
		d.attachedPool(ctx, rec)
		return
	}
	err = d.checkSource(rec)
	if err == nil {
		d.mountable(ctx, rec)
		return
	}
	severity := SeverityError
	if rec.Detached { // its disk may be in a drawer
		severity = SeverityWarning
	}
	d.add(Finding{Severity: severity, Object: object, Problem: "it cannot be attached: " + err.Error(), Remedy: hintOf(err)})
}

// mountable tries whether a detached pool can be mounted, without changing a byte
// of it and where nobody sees it. One that another command or somebody else is at
// work on is left alone.
func (d *doctor) mountable(ctx context.Context, rec state.PoolRecord) {
	if rec.Kind == state.PoolDirectory {
		return // whose file system is mounted
	}
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	unlock, err := d.dir.LockPool(short, rec.Name, true) // who attaches it waits
	if err != nil {
		return
	}
	defer unlock()
	path, err := sourcePath(rec)
	if err != nil {
		return // checkSource tells of it
	}
	if attached, err := d.isAttached(rec); err != nil || attached {
		return
	}
	c, err := d.candidateAt(path)
	if err != nil {
		return // of several devices, or gone meanwhile
	}
	root, dev, err := d.mountUntouched(short, c)
	if err == nil {
		err = root.Close()
		if dev != nil {
			err = errors.Join(err, dev.Close())
		}
		if err != nil {
			d.failed("pool "+rec.Name, err)
		}
		return
	}
	if !errors.Is(err, errUnmountable) {
		return
	}
	d.add(Finding{
		Severity: SeverityError, Object: "pool " + rec.Name, Problem: "it cannot be attached: " + err.Error(),
		Remedy: fmt.Sprintf("poolctl pool check %[1]s tells more; put it back from a copy, or save what can be read: mount -o ro,rescue=all %[2]s DIR", rec.Name, path),
	})
}

// checkSource says why a detached pool could not be attached.
func (s *System) checkSource(rec state.PoolRecord) error {
	switch rec.Kind {
	case state.PoolDevice:
		_, err := findDevice(rec)
		return err
	case state.PoolDirectory:
		return checkDirectory(rec)
	}
	return s.checkFile(rec)
}

// otherDevices tells of the other loop devices on the pool's file, and of
// devices that hold a copy of the pool.
func (d *doctor) otherDevices(rec state.PoolRecord) {
	object := "pool " + rec.Name
	strangers, err := d.strangers(rec)
	if err != nil {
		d.failed(object, err)
		return
	}
	known := map[string]bool{}
	for _, st := range strangers {
		known[st.Device] = true
		f := Finding{Severity: SeverityWarning, Object: object, Problem: fmt.Sprintf("%s has its file attached as well: writing to it destroys the pool", st), Remedy: st.remedy()}
		switch {
		case st.Harmful:
			f.Severity, f.Problem = SeverityError, fmt.Sprintf("%s has its file attached as well: two that write to one file destroy what is in it", st)
		case st.ReadOnly:
			f.Severity, f.Problem = SeverityNotice, fmt.Sprintf("%s has its file attached as well, read-only", st)
		}
		d.add(f)
	}
	loops, err := loopdev.List()
	if err != nil {
		d.failed(object, err)
		return
	}
	own, err := d.loopsOf(rec)
	if ignoreNotExist(err) != nil {
		d.failed(object, err)
		return
	}
	for _, l := range own {
		known[l.Path] = true
	}
	source := d.sourceNumbers(rec)
	for _, l := range loops {
		if slices.Contains(source, loopNumber(l)) {
			continue // a pool on a block device that is a loop device
		}
		if super, err := btrfs.ReadSuper(l.Path); err == nil && super.UUID == rec.UUID && !known[l.Path] {
			d.copyOf(rec, l)
		}
	}
}

// sourceNumbers are the device numbers of what a pool on a block device lies on, and
// is mounted from.
func (d *doctor) sourceNumbers(rec state.PoolRecord) []uint64 {
	if rec.Kind != state.PoolDevice {
		return nil
	}
	var out []uint64
	if device, err := findDevice(rec); err == nil {
		out = append(out, deviceNumber(device))
	}
	if own, err := d.ownMount(rec); err == nil && own != nil {
		out = append(out, deviceNumber(own.Source))
	}
	return out
}

// copyOf tells of a loop device with a copy of a pool.
func (d *doctor) copyOf(rec state.PoolRecord, l loopdev.Info) {
	f := Finding{
		Severity: SeverityNotice, Object: "pool " + rec.Name, Problem: fmt.Sprintf("%s has a copy of it: %s", l.Path, l.BackingFile),
		Remedy: "losetup -d " + l.Path,
	}
	mounts, err := holders.Mounts(mountedFrom(l))
	if err != nil {
		d.failed(f.Object, err)
		return
	}
	if len(mounts) > 0 {
		f.Severity = SeverityWarning
		f.Problem += ", mounted at " + mounts[0].String() + ": while the pool is not attached, it cannot be"
		if f.Remedy = umountCommand(mounts[0]); !l.Autoclear { // else it goes with its mount
			f.Remedy += " && losetup -d " + l.Path
		}
	}
	d.add(f)
}

// attachedPool checks a mounted pool.
func (d *doctor) attachedPool(ctx context.Context, rec state.PoolRecord) {
	object, mp := "pool "+rec.Name, d.dir.MountPoint(rec.Name)
	if strayed, err := d.findStrayed(rec); err != nil {
		d.failed(object, err)
	} else if strayed != nil {
		f := Finding{Severity: SeverityError, Object: object, Problem: strayed.String(), Remedy: strayed.remedy(mp)}
		if strayed.path != "" {
			f.Severity, f.does = SeverityWarning, "the new place is remembered"
			f.fix = func(ctx context.Context) error { return d.movePool(ctx, rec.Name, strayed.path) }
		}
		d.add(f)
	}
	d.truncated(rec)
	d.health(rec)
	d.space(rec)
	d.quotas(rec)
	mounts, err := d.poolMounts(rec)
	if err != nil {
		d.failed(object, err)
	}
	for _, m := range d.otherWholeMounts(rec, mounts) {
		d.add(Finding{
			Severity: SeverityNotice, Object: object, Problem: "it is mounted at " + m.MountPoint + " too",
			Remedy: fmt.Sprintf("poolctl pool umount %s %s, when you are done", rec.Name, m.MountPoint),
		})
	}
	d.contents(ctx, rec)
}

// truncated tells of a file that has become smaller than what is mounted of it.
func (d *doctor) truncated(rec state.PoolRecord) {
	if err := d.truncation(rec); err != nil {
		d.add(Finding{Severity: SeverityError, Object: "pool " + rec.Name, Problem: err.Error(), Remedy: hintOf(err)})
	}
}

// health tells of a pool that can only be read, and of the errors that btrfs has
// counted on its device.
func (d *doctor) health(rec state.PoolRecord) {
	object := "pool " + rec.Name
	h, err := d.poolHealth(rec)
	if err != nil {
		d.failed(object, err)
		return
	}
	if h.ReadOnly {
		d.add(Finding{Severity: SeverityError, Object: object, Problem: "it is read-only: " + h.Reason, Remedy: h.Remedy})
	}
	if text := errorCounts(h.Errors); text != "" {
		d.add(Finding{
			Severity: SeverityWarning, Object: object, Problem: "its device has had " + text,
			Remedy: fmt.Sprintf("poolctl pool scrub start %[1]s shows what is damaged, and with --reset forgets what is dealt with", rec.Name),
		})
	}
}

// errorCounts names the counters that are not zero: "3 write errors, 1 read errors".
func errorCounts(s btrfs.DevStats) string {
	var out []string
	for _, c := range []struct {
		n    uint64
		what string
	}{
		{s.WriteErrors, "write"}, {s.ReadErrors, "read"}, {s.FlushErrors, "flush"}, {s.CorruptionErrors, "corruption"}, {s.GenerationErrors, "generation"},
	} {
		if c.n > 0 {
			out = append(out, fmt.Sprintf("%d %s errors", c.n, c.what))
		}
	}
	return strings.Join(out, ", ")
}
