package pool

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// Pools lists the pools by name. Those that are not attached are not attached
// for it: what uses them is then not known.
func (s *System) Pools(ctx context.Context) ([]Pool, error) {
	records, damaged, err := s.poolRecords()
	if err != nil {
		return nil, err
	}
	out := make([]Pool, 0, len(records)+len(damaged))
	for _, n := range damaged {
		out = append(out, Pool{Config: map[string]string{}, Name: n, Driver: "btrfs", UsedBy: []string{}, Status: "Unavailable", Locations: []string{"none"}})
	}
	for _, rec := range records {
		p, err := s.showPool(ctx, rec)
		if err != nil {
			return nil, err
		}
		if strayed, err := s.findStrayed(rec); err != nil {
			return nil, err
		} else if strayed != nil {
			s.noticef("pool %s: %s (%s)", rec.Name, strayed, strayed.remedy(s.dir.MountPoint(rec.Name)))
		}
		if p.Status == statusTruncated {
			err := s.truncation(rec)
			s.noticef("pool %s: %s (%s)", rec.Name, err, hintOf(err))
		}
		out = append(out, p)
	}
	return out, ctx.Err()
}

// Pool shows one pool, attaching it if need be.
func (s *System) Pool(ctx context.Context, name string) (Pool, error) {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return Pool{}, err
	}
	out, err := s.showPool(ctx, p.rec)
	return out, errors.Join(err, p.close())
}

// showPool is a pool in LXD's fields. Status is Created when it is attached,
// Truncated when its file has become too small meanwhile, Read-only when the
// kernel then lets nothing be written (PoolInfo says why),
// Detached when not, Unavailable when its file is gone or cannot be read.
func (s *System) showPool(ctx context.Context, rec state.PoolRecord) (Pool, error) {
	out := Pool{
		Config: rec.Config, Description: rec.Description, Name: rec.Name, Driver: rec.Driver,
		Status: "Created", UsedBy: []string{}, Locations: []string{"none"},
	}
	attached, err := s.isAttached(rec)
	if err != nil {
		return out, err
	}
	profiles, err := s.profiles()
	if err != nil {
		return out, err
	}
	if !attached {
		out.Status = "Detached"
		if sourceGone(rec) {
			out.Status = "Unavailable"
		}
	} else if used, err := s.poolUsers(ctx, rec); err == nil {
		for _, u := range used {
			out.UsedBy = append(out.UsedBy, u.path)
		}
	} else if err = s.leftOut(ctx, rec.Name, err); err != nil {
		return out, err
	} else {
		out.Status = "Unavailable" // the kernel gave it up: its disk failed, or had no room left
	}
	if attached && out.Status == "Created" {
		if st, err := btrfs.GetState(s.dir.MountPoint(rec.Name)); err == nil && st.ReadOnly {
			out.Status = "Read-only"
		} else if s.truncation(rec) != nil {
			out.Status = statusTruncated
		}
	}
	for _, p := range profiles {
		for _, dev := range p.Devices {
			if dev["type"] == "disk" && dev["pool"] == rec.Name {
				out.UsedBy = append(out.UsedBy, "/1.0/profiles/"+p.Name)
				break
			}
		}
	}
	return out, nil
}

// PoolInfo tells of what a pool lies on, of its loop device and its space. A detached pool is
// described without attaching it.
func (s *System) PoolInfo(ctx context.Context, name string) (PoolInfo, error) {
	rec, err := s.loadPool(name)
	if err != nil {
		return PoolInfo{}, err
	}
	shown, err := s.showPool(ctx, rec)
	if err != nil {
		return PoolInfo{}, err
	}
	out := PoolInfo{Pool: shown, Kind: kindWord(rec.Kind), UUID: rec.UUID, Loop: []loopdev.Info{}, Strangers: []Stranger{}}
	if err := s.describeSource(rec, &out); err != nil {
		return out, err
	}
	if out.Attached, err = s.isAttached(rec); err != nil || !out.Attached {
		return out, err
	}
	out.MountPoint = s.dir.MountPoint(name)
	usage, err := btrfs.GetUsage(out.MountPoint)
	if err != nil {
		return out, err
	}
	out.Usage = &usage
	quotas, err := btrfs.Quota(out.MountPoint)
	if err != nil {
		return out, err
	}
	out.Quotas = &PoolQuotas{Mode: quotas.Mode.String(), Inconsistent: quotas.Inconsistent}
	health, err := s.poolHealth(rec)
	if err != nil {
		return out, err
	}
	out.Health = &health
	for _, u := range shown.UsedBy {
		switch {
		case strings.HasPrefix(u, "/1.0/images/"):
			out.Images++
		case strings.HasPrefix(u, "/1.0/instances/") && !strings.Contains(u, "/snapshots/"):
			out.Instances++
		}
	}
	return out, ctx.Err()
}

// kindWord is the kind of a pool for people.
func kindWord(kind string) string {
	if kind == state.PoolFile {
		return "file"
	}
	return kind
}

// describeSource tells of the file, device or subvolume that a pool lies on, as
// far as it is there.
func (s *System) describeSource(rec state.PoolRecord, out *PoolInfo) error {
	switch rec.Kind {
	case state.PoolDirectory:
		out.Directory = &DirectoryInfo{Path: rec.Source, SubvolumeID: rec.SubvolumeID, SubvolumeUUID: rec.SubvolumeUUID}
		return nil
	case state.PoolDevice:
		out.Device = &DeviceInfo{Path: rec.Source}
		path, err := findDevice(rec)
		if err != nil {
			return nil //nolint:nilerr // a pool whose device is gone is described, as Unavailable
		}
		out.Device.Path = path
		rec.Source = path
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		size, err := deviceSize(f)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
		out.Device.Size = size
	default:
		out.File = &FileInfo{Path: rec.Source}
		strayed, err := s.findStrayed(rec)
		if err != nil {
			return err
		}
		path := rec.Source
		if strayed != nil {
			out.File.Problem, path = strayed.String(), strayed.path
			out.File.Remedy = strayed.remedy(s.dir.MountPoint(rec.Name))
		} else if err := s.truncation(rec); err != nil {
			out.File.Problem, out.File.Remedy = err.Error(), hintOf(err)
		}
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil {
			out.File.Size, out.File.Allocated = st.Size, st.Blocks*512
		} else if strayed == nil {
			return nil
		}
		loops, err := s.loopsOf(rec)
		if err != nil {
			return err
		}
		out.Loop = append(out.Loop, loops...)
	}
	strangers, err := s.strangers(rec)
	out.Strangers = append(out.Strangers, strangers...)
	return err
}

// statusTruncated is the status of an attached pool whose file is too small.
const statusTruncated = "Truncated"

// truncation says, with a hint, that the file of an attached pool has become smaller
// than what is mounted of it; nil when it has not, or when that cannot be seen.
func (s *System) truncation(rec state.PoolRecord) error {
	if rec.Kind != state.PoolFile {
		return nil
	}
	if attached, err := s.isAttached(rec); err != nil || !attached {
		return nil //nolint:nilerr // attaching it tells
	}
	info, err := btrfs.FSInfo(s.dir.MountPoint(rec.Name))
	if err != nil || len(info.Devices) != 1 {
		return nil //nolint:nilerr // its health tells
	}
	path, _, err := s.poolFile(rec)
	if err != nil {
		return nil //nolint:nilerr // findStrayed tells
	}
	need := info.Devices[0].TotalBytes
	if err := checkWhole(path, need, 1); err != nil {
		return withHint(err, "make it as large as it was, truncate -s %d %s; what was in the rest is lost: poolctl pool scrub start %s shows of which files", need, path, rec.Name)
	}
	return nil
}

// sourceGone says whether what a detached pool lies on is not there.
func sourceGone(rec state.PoolRecord) bool {
	switch rec.Kind {
	case state.PoolDevice:
		_, err := findDevice(rec)
		return err != nil
	case state.PoolDirectory:
		return checkDirectory(rec) != nil
	}
	return unix.Access(rec.Source, unix.F_OK) != nil
}

// peek opens an attached pool's tree for reading, without a lock; nil when the
// pool is not attached.
func (s *System) peek(rec state.PoolRecord) (*tree.Tree, error) {
	attached, err := s.isAttached(rec)
	if err != nil || !attached {
		return nil, err
	}
	t, err := tree.Open(s.dir.MountPoint(rec.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return t, err
}

// poolNames lists the pools: those that lists show, and those that were
// detached on purpose, which only a command that names something in them
// attaches.
func (s *System) poolNames() (shown, detached []string, err error) {
	records, _, err := s.poolRecords()
	for _, rec := range records {
		if rec.Detached {
			detached = append(detached, rec.Name)
		} else {
			shown = append(shown, rec.Name)
		}
	}
	return shown, detached, err
}

// poolRecords reads the records of all pools. One that is damaged is told of, and
// its pool named: that is no reason to keep the others from the user.
func (s *System) poolRecords() (records []state.PoolRecord, damaged []string, err error) {
	names, err := s.dir.ListPools()
	if err != nil {
		return nil, nil, err
	}
	for _, n := range names {
		rec, err := s.dir.LoadPool(n)
		switch {
		case errors.Is(err, fs.ErrNotExist): // deleted meanwhile
		case err != nil:
			s.noticef("pool %s cannot be used: %s (poolctl doctor)", n, err)
			damaged = append(damaged, n)
		default:
			records = append(records, rec)
		}
	}
	return records, damaged, nil
}

// leftOut tells the user of a pool that a list over all pools cannot read: that
// is no reason to keep the others from him. The end of ctx is returned.
func (s *System) leftOut(ctx context.Context, pool string, err error) error {
	if err == nil || ctx.Err() != nil {
		return err
	}
	if !errors.Is(err, ErrNotFound) { // else it was deleted meanwhile
		s.noticef("what is in pool %s is left out: %s", pool, err)
	}
	return nil
}

// shownPools are the pools that lists show; of the others the user is told.
func (s *System) shownPools() ([]string, error) {
	shown, detached, err := s.poolNames()
	for _, n := range detached {
		s.noticef("pool %s is detached: what is in it is left out (poolctl pool attach %s)", n, n)
	}
	return shown, err
}
