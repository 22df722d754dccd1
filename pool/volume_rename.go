package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/tree"
)

// moving is the intent of a custom volume that gets another name or pool: what
// names it has to follow.
type moving struct {
	Pool   string `json:"pool"`
	Name   string `json:"name"`
	ToPool string `json:"to_pool"`
	To     string `json:"to"`
	// Copy is the UUID of the subvolume of a copy that nothing counts on yet; "" once the
	// volume is what is there.
	Copy string `json:"copy,omitempty"`
}

// opVolumeMove is the operation of that intent.
const opVolumeMove = "volume-rename"

// RenameVolume gives a custom volume another name, also in the devices of the
// instances and profiles that use it. It is refused while one of them runs.
//
// Order: intent, volume (the commit), devices. Killed in between, the next
// command has the devices follow the volume.
func (s *System) RenameVolume(ctx context.Context, pool, from, to string) (err error) {
	from, to = customName(from), customName(to)
	p, unlock, err := s.lockForMove(ctx, pool, from, pool, to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	defer unlock()
	m := moving{Pool: pool, Name: from, ToPool: pool, To: to}
	entry, err := journal.Begin(ctx, s.journalDir(), opVolumeMove, m)
	if err != nil {
		return err
	}
	crash.Point("pool.volumerename.begun")
	if err := p.RenameVolume(ctx, from, to); err != nil {
		return errors.Join(s.hintFull(p.rec, err), entry.Done())
	}
	crash.Point("pool.volumerename.renamed")
	if err := s.followVolume(context.WithoutCancel(ctx), m); err != nil {
		return errors.Join(fmt.Errorf("volume %s is renamed to %s, but not everywhere that it is used: %w", from, to, err), entry.Close())
	}
	return entry.Done()
}

// lockForMove opens the pool of a custom volume that is renamed or moved, and
// locks the instances that use it, and the old and the new volume.
func (s *System) lockForMove(ctx context.Context, pool, from, toPool, to string) (p *openedPool, unlock func(), err error) {
	if err := tree.ValidateVolumeName(to); err != nil {
		return nil, nil, fmt.Errorf("cannot rename volume %s to %q: %w", from, to, err)
	}
	if err := s.checkUnseenBefore(ctx, pool, from); errors.Is(err, ErrNotFound) {
		return nil, nil, err
	} else if err != nil {
		return nil, nil, fmt.Errorf("cannot rename volume %s to %s: %w", from, to, err)
	}
	if p, err = s.openPool(ctx, pool); err != nil {
		return nil, nil, err
	}
	unlock, err = s.lockMoved(ctx, p, from, toPool, to)
	if err != nil {
		return nil, nil, errors.Join(err, p.close())
	}
	return p, unlock, nil
}

func (s *System) lockMoved(ctx context.Context, p *openedPool, from, toPool, to string) (unlock func(), err error) {
	pool := p.rec.Name
	if _, err := p.Volume(from); err != nil {
		return nil, volumeError(err, pool, from)
	}
	if pool == toPool && from == to {
		return nil, fmt.Errorf("cannot rename volume %s to %s: %w", from, to, ErrExists)
	}
	before, err := s.volumeUsers(ctx, pool, from)
	if err != nil {
		return nil, err
	}
	unlockInstances, err := s.lockNames(ctx, userInstances(before)...)
	if err != nil {
		return nil, err
	}
	unlockVolumes, err := s.lockVolumePair(ctx, pool, from, toPool, to)
	if err != nil {
		unlockInstances()
		return nil, err
	}
	unlock = func() { unlockVolumes(); unlockInstances() }
	err = s.checkNotRunning(ctx, pool, from)
	if now, uerr := s.volumeUsers(ctx, pool, from); err == nil && uerr != nil {
		err = uerr
	} else if err == nil && !slices.Equal(userInstances(now), userInstances(before)) {
		err = withHint(errors.New("other instances use it now than a moment ago"), "try again")
	}
	if err == nil && pool == toPool {
		if _, verr := p.Volume(to); verr == nil {
			err = ErrExists
		}
	}
	if err != nil {
		unlock()
		return nil, fmt.Errorf("cannot rename volume %s to %s: %w", from, to, err)
	}
	return unlock, nil
}

// lockVolumePair locks two volumes in an order that is the same for everybody.
func (s *System) lockVolumePair(ctx context.Context, poolA, a, poolB, b string) (unlock func(), err error) {
	pair := [][2]string{{poolA, a}, {poolB, b}}
	slices.SortFunc(pair, func(x, y [2]string) int { return strings.Compare(x[0]+"/"+x[1], y[0]+"/"+y[1]) })
	first, err := s.dir.LockVolume(ctx, pair[0][0], pair[0][1])
	if err != nil {
		return nil, err
	}
	second, err := s.dir.LockVolume(ctx, pair[1][0], pair[1][1])
	if err != nil {
		first()
		return nil, err
	}
	return func() { second(); first() }, nil
}

// userInstances names the instances among the users, sorted, each once.
func userInstances(users []volumeUser) []string {
	var names []string
	for _, u := range users {
		if u.instance != "" {
			names = append(names, u.instance)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// followVolume has the devices of profiles and instances name a volume as it is
// called now.
func (s *System) followVolume(ctx context.Context, m moving) error {
	follow := func(devices map[string]map[string]string) (changed bool) {
		for name, dev := range devices {
			if isVolumeDevice(dev, m.Pool, m.Name) {
				dev = maps.Clone(dev)
				dev["pool"], dev["source"] = m.ToPool, m.To
				devices[name], changed = dev, true
			}
		}
		return changed
	}
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	err = s.followInProfiles(follow)
	unlock()
	if err != nil {
		return err
	}
	instances, err := s.records(ctx)
	if err != nil {
		return err
	}
	for _, in := range instances {
		if !follow(in.ExpandedDevices) {
			continue
		}
		p, _, err := s.findInstance(ctx, in.Name)
		if err == nil {
			_, err = p.UpdateInstance(in.Name, func(r *tree.Instance) error {
				follow(r.Devices)
				return s.reexpand(r)
			})
			err = errors.Join(err, p.close())
		}
		if err != nil {
			return err
		}
		crash.Point("pool.volumerename.followed")
	}
	return nil
}

func (s *System) followInProfiles(follow func(map[string]map[string]string) bool) error {
	all, err := s.profiles()
	if err != nil {
		return err
	}
	for _, p := range all {
		if follow(p.Devices) {
			if err := s.dir.SaveProfile(p); err != nil {
				return err
			}
		}
	}
	return nil
}

// recoverVolumeRename finishes what an unlocked intent tells of: the devices name
// the volume that is there.
func (s *System) recoverVolumeRename(ctx context.Context, e *journal.Entry) error {
	var m moving
	if err := e.Args(&m); err != nil {
		return err
	}
	if m.Copy != "" {
		return s.dropMoveCopy(ctx, m)
	}
	there, err := s.hasVolume(ctx, m.ToPool, m.To)
	if err != nil || !there {
		return err // nothing was done yet
	}
	if m.Pool == m.ToPool {
		return s.followVolume(ctx, m)
	}
	return s.finishMove(ctx, m)
}

// hasVolume says whether there is a custom volume of that name.
func (s *System) hasVolume(ctx context.Context, pool, name string) (bool, error) {
	p, err := s.openPool(ctx, pool)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	_, err = p.Volume(name)
	there := err == nil
	return there, errors.Join(ignoreNotExist(err), p.close())
}
