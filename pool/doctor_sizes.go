package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// quotas tells of full qgroups that have lost count, and hold no limit until they
// are counted anew.
func (d *doctor) quotas(rec state.PoolRecord) {
	object, mp := "pool "+rec.Name, d.dir.MountPoint(rec.Name)
	status, err := btrfs.Quota(mp)
	if err != nil {
		d.failed(object, err)
		return
	}
	if status.Inconsistent {
		d.add(Finding{
			Severity: SeverityWarning, Object: object, Problem: "what its quotas have counted is not right any more, and no size is held",
			Remedy: "poolctl doctor --fix counts anew, and so does btrfs quota rescan " + mp, does: "it was counted anew",
			fix: func(ctx context.Context) error { return btrfs.RescanQuota(ctx, mp) },
		})
	}
}

// sizes tells of sizes that the kernel does not hold, and of limits that nobody
// wants. In a file system that is not poolctl's those are its owner's.
func (d *doctor) sizes(ctx context.Context, p *openedPool) {
	object := "pool " + p.rec.Name
	all, err := sizedVolumes(ctx, p)
	var st btrfs.QuotaStatus
	if err == nil {
		st, err = btrfs.Quota(p.Path())
	}
	if err == nil && st.Mode == btrfs.QuotaNone {
		d.noQuotas(object, p, all)
		return
	}
	var limits map[uint64]int64
	if err == nil {
		limits, err = p.Limits()
	}
	if err != nil {
		d.failed(object, err)
		return
	}
	for _, v := range all {
		d.size(p, v, st.Mode, limits)
	}
}

// size compares what the kernel holds something to with the size it has.
func (d *doctor) size(p *openedPool, v limitedVolume, mode btrfs.QuotaMode, limits map[uint64]int64) {
	sub, err := btrfs.Stat(v.path)
	if err != nil {
		return // deleted just now
	}
	limit, held := limits[sub.ID] // 0 is what more than its size is in already
	f := Finding{
		Severity: SeverityWarning, Object: limitedObject(p, v), Remedy: "poolctl doctor --fix sets the limit", does: "the limit was set",
		fix: func(ctx context.Context) error { return d.setWanted(ctx, p.rec.Name, v) },
	}
	switch {
	case v.size == 0 && held && p.rec.Kind != state.PoolDirectory:
		f.Problem, f.Remedy, f.does = "it has no size, and cannot take more than "+FormatSize(limit), "poolctl doctor --fix ends the limit", "the limit was ended"
		if v.instance == "" { // LXD keeps the sizes of volumes to itself
			f.Severity, f.fix = SeverityNotice, nil
			f.Remedy = fmt.Sprintf("poolctl pool volume set %s %s size=%d, if that is meant", p.rec.Name, v.what[len("volume "):], limit)
		}
	case v.size == 0:
		return
	case !held, limit != v.size && mode == btrfs.QuotaFull: // with simple quotas it is another number
		f.Problem = fmt.Sprintf("its size, %s, is not held", FormatSize(v.size))
	case mode == btrfs.QuotaFull:
		live, err := btrfs.NewLiveQuota(v.path)
		if err != nil {
			return // deleted just now
		}
		if _, all, err := live.Nested(); err != nil || all {
			return
		}
		f.Problem = "subvolumes nested in it do not count"
	default:
		return
	}
	d.add(f)
}

func limitedObject(p *openedPool, v limitedVolume) string {
	if v.instance != "" {
		return "instance " + v.instance
	}
	return volumeObject(p, strings.TrimPrefix(v.what, "volume "))
}

// noQuotas tells of sizes in a pool without quotas.
func (d *doctor) noQuotas(object string, p *openedPool, all []limitedVolume) {
	var names []string
	for _, v := range all {
		if v.size > 0 {
			names = append(names, v.what)
		}
	}
	if len(names) == 0 {
		return
	}
	d.add(Finding{
		Severity: SeverityWarning, Object: object, Problem: "its quotas are off, and the sizes in it are not held: " + strings.Join(names, ", "),
		Remedy: fmt.Sprintf("poolctl pool set %s %s=qgroups, or simple", p.rec.Name, quotasKey),
	})
}

// setWanted sets a limit that is not held, or ends one.
func (d *doctor) setWanted(ctx context.Context, pool string, v limitedVolume) (err error) {
	p, err := d.openPool(ctx, pool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	var unlock state.Unlock
	if v.instance != "" {
		unlock, err = d.dir.LockInstance(ctx, v.instance)
	} else {
		unlock, err = d.dir.LockVolume(ctx, pool, strings.TrimPrefix(v.what, "volume "))
	}
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(v.path); err != nil {
		return ignoreNotExist(err)
	}
	if v.size == 0 {
		return p.SetLimit(ctx, v.path, 0)
	}
	return d.keepLimit(ctx, p, v.what, v.path, v.size)
}
