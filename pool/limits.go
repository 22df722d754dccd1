package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// setLimit limits what the subvolume at path, which the user calls what, takes;
// 0 ends the limit. Less than it takes already is refused.
func (s *System) setLimit(ctx context.Context, p *openedPool, what, path string, size int64) error {
	if size > 0 {
		if err := s.readyQuotas(ctx, p); err != nil {
			return limitError(err, what, size)
		}
	}
	return limitError(p.SetLimit(ctx, path, size), what, size)
}

// limitError says what a limit was refused for in the user's words.
func limitError(err error, what string, size int64) error {
	if over, ok := errors.AsType[*tree.OverLimitError](err); ok {
		return withHint(fmt.Errorf("cannot limit %s to %s: it takes %s already", what, FormatSize(size), FormatSize(over.Used)), "give it more, or delete something in it first")
	}
	if err != nil {
		return fmt.Errorf("cannot limit %s to %s: %w", what, FormatSize(size), err)
	}
	return nil
}

// keepLimit sets a limit that was there before again, for what is at path now.
// That it cannot be held, or is exceeded already, is told and no error.
func (s *System) keepLimit(ctx context.Context, p *openedPool, what, path string, size int64) error {
	if size == 0 || !s.canHold(ctx, p, what, size) {
		return ctx.Err()
	}
	over, err := p.KeepLimit(ctx, path, size)
	if over && err == nil {
		s.noticef("%s takes more than its size of %s: nothing can be written in it until something is deleted", what, FormatSize(size))
	}
	return err
}

// canHold is readyQuotas for a size that was there before: it tells why not.
func (s *System) canHold(ctx context.Context, p *openedPool, what string, size int64) bool {
	if size == 0 {
		return true
	}
	err := s.readyQuotas(ctx, p)
	if err != nil && ctx.Err() == nil {
		s.noticef("the size of %s, %s, is not held: %s", what, FormatSize(size), err)
	}
	return err == nil
}

// limitedVolume is something with a size.
type limitedVolume struct {
	what, path string
	instance   string // its name, "" for a custom volume
	size       int64
}

// limitedVolumes are the instances and custom volumes of a pool that have a size.
func limitedVolumes(ctx context.Context, p *openedPool) ([]limitedVolume, error) {
	all, err := sizedVolumes(ctx, p)
	return slices.DeleteFunc(all, func(v limitedVolume) bool { return v.size == 0 }), err
}

// sizedVolumes are the instances and custom volumes of a pool whose size is known,
// which is 0 for those that have none.
func sizedVolumes(ctx context.Context, p *openedPool) ([]limitedVolume, error) {
	instances, err := p.Instances(ctx)
	if err != nil {
		return nil, err
	}
	var out []limitedVolume
	for _, in := range instances {
		size, err := rootSize(in.ExpandedDevices)
		if err == nil && in.Broken == nil { // a bad size says so itself when the instance is used
			out = append(out, limitedVolume{in.Name, p.InstancePath(in.Name), in.Name, size})
		}
	}
	volumes, err := p.Volumes(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range volumes {
		if v.Broken != nil || v.Project != tree.DefaultProject {
			continue
		}
		size := int64(0)
		if text := v.Config["size"]; text != "" {
			if size, err = ParseSize(text); err != nil {
				continue
			}
		}
		out = append(out, limitedVolume{"volume " + v.Name, p.VolumePath(v.Name), "", size})
	}
	return out, nil
}

// keepAllLimits sets the limits of all instances and volumes of a pool again.
func (s *System) keepAllLimits(ctx context.Context, p *openedPool) error {
	if st, err := btrfs.Quota(p.Path()); err != nil || st.Mode == btrfs.QuotaNone {
		return err
	}
	all, err := limitedVolumes(ctx, p)
	if err != nil {
		return err
	}
	for _, v := range all {
		if err := s.keepLimit(ctx, p, v.what, v.path, v.size); err != nil {
			return err
		}
	}
	return nil
}

// pruneQgroups removes the qgroups of what was deleted. What stays is a matter
// for the next deletion.
func (s *System) pruneQgroups(p *openedPool) {
	if err := p.PruneQgroups(); err != nil {
		s.noticef("qgroups of what was deleted are left in pool %s: %s", p.rec.Name, err)
	}
}

// fullError names the limit that an operation ran into: the size of the
// instance that it wrote in.
func fullError(err error, in tree.Instance) error {
	size, serr := rootSize(in.ExpandedDevices)
	if !errors.Is(err, unix.EDQUOT) || serr != nil || size == 0 {
		return err
	}
	return withHint(fmt.Errorf("%s is full, its size is %s: %w", in.Name, FormatSize(size), err),
		"give it more: poolctl config device set %s %s size=..., or delete something in it", in.Name, rootDevice(in.ExpandedDevices))
}

// rootSize is what an instance's root disk is limited to, in bytes; 0 for no limit.
func rootSize(expanded map[string]map[string]string) (int64, error) {
	text := expanded[rootDevice(expanded)]["size"]
	if text == "" {
		return 0, nil
	}
	return ParseSize(text)
}

// limitOf is the limit for the volume of a record that is about to be made, once
// quotas are ready for it.
func (s *System) limitOf(ctx context.Context, p *openedPool, rec tree.Instance) (int64, error) {
	size, err := rootSize(rec.ExpandedDevices)
	if err != nil || size == 0 {
		return 0, err
	}
	return size, s.readyQuotas(ctx, p)
}

// keepSize gives a record that is restored the size that the instance has now:
// what an instance may take is not part of its past. Incus restores the device,
// and loses the limit.
func (s *System) keepSize(present tree.Instance, restored *tree.Instance) error {
	if present.Broken != nil {
		present = *restored
	}
	if err := s.reexpand(&present); err != nil && present.ExpandedDevices == nil {
		return err
	}
	want := present.ExpandedDevices[rootDevice(present.ExpandedDevices)]["size"]
	if err := s.reexpand(restored); err != nil && restored.ExpandedDevices == nil {
		return err
	}
	root := rootDevice(restored.ExpandedDevices)
	if root == "" || restored.ExpandedDevices[root]["size"] == want {
		return nil
	}
	restored.Devices = overrideDevice(restored.Devices, restored.ExpandedDevices, root, map[string]string{"size": want})
	err := s.reexpand(restored)
	if errors.Is(err, ErrNotFound) { // a profile is not here: as it was expanded last, but for the size
		restored.ExpandedDevices = cloneDevices(restored.ExpandedDevices)
		restored.ExpandedDevices[root] = maps.Clone(restored.Devices[root])
		return nil
	}
	return err
}

// keepInstanceLimit sets the limit of an instance again after what changed its
// snapshots. With simple quotas what only they have is not to count; with full
// ones the kernel may have to count anew. The change itself is done by then.
func (s *System) keepInstanceLimit(ctx context.Context, in *lockedInstance) {
	name := in.rec.Name
	size, err := rootSize(in.rec.ExpandedDevices)
	if err == nil {
		err = s.keepLimit(context.WithoutCancel(ctx), in.openedPool, name, in.InstancePath(name), size)
	}
	if err != nil {
		s.noticef("the size of %s is not counted anew: %s", name, err)
	}
}

// overrideDevices lays keys over devices that a new instance has of its own or
// of its profiles.
func (s *System) overrideDevices(profiles []string, config map[string]string, devices, overrides map[string]map[string]string) (map[string]map[string]string, error) {
	for _, name := range sortedKeys(overrides) {
		_, expanded, err := s.expand(profiles, config, devices)
		if err != nil {
			return nil, err
		}
		if _, there := expanded[name]; !there {
			return nil, withHint(fmt.Errorf("device %s: %w", name, ErrNotFound), "it has the devices %v", sortedKeys(expanded))
		}
		devices = overrideDevice(devices, expanded, name, overrides[name])
		if err := s.checkDevice(name, devices[name]); err != nil {
			return nil, err
		}
	}
	return devices, nil
}

// defaultSize gives a new instance's root disk the pool's volume.size, unless it
// has a size.
func (s *System) defaultSize(profiles []string, config map[string]string, devices map[string]map[string]string, pool state.PoolRecord) (map[string]map[string]string, error) {
	_, expanded, err := s.expand(profiles, config, devices)
	if err != nil {
		return nil, err
	}
	root := rootDevice(expanded)
	if pool.Config["volume.size"] == "" || expanded[root]["size"] != "" {
		return devices, nil
	}
	return overrideDevice(devices, expanded, root, map[string]string{"size": pool.Config["volume.size"]}), nil
}

// afterDelete looks after the quotas once something was deleted.
func (s *System) afterDelete(ctx context.Context, p *openedPool) {
	s.pruneQgroups(p)
	s.tightenLimits(ctx, p)
}

// cleanerTime is how long is waited for deleted subvolumes to be freed before
// limits are counted anew.
const cleanerTime = 5 * time.Second

// tightenLimits counts limits anew after something was deleted in a pool with
// simple quotas. What an instance wrote and only the deleted one still had was
// added to its limit (tree.Tree.SetLimit), and it could now write that much more.
// Looked at are those with a limit above the size: the others can have at most as
// much too much as their image has bytes, until they are started next.
func (s *System) tightenLimits(ctx context.Context, p *openedPool) {
	if err := s.tighten(context.WithoutCancel(ctx), p); err != nil {
		s.noticef("sizes in pool %s are not counted anew: %s", p.rec.Name, err)
	}
}

func (s *System) tighten(ctx context.Context, p *openedPool) error {
	st, err := btrfs.Quota(p.Path())
	if err != nil || st.Mode != btrfs.QuotaSimple {
		return err
	}
	limits, err := p.Limits()
	if err != nil || len(limits) == 0 {
		return err
	}
	all, err := limitedVolumes(ctx, p)
	if err != nil {
		return err
	}
	waited := false
	for _, v := range all {
		sub, err := btrfs.Stat(v.path)
		if err != nil || limits[sub.ID] <= v.size {
			continue // deleted just now, or not above
		}
		if !waited {
			if err := awaitCleaner(ctx, p.Path()); err != nil {
				return err
			}
			waited = true
		}
		if err := s.keepLimitOf(ctx, p, v); err != nil {
			return err
		}
	}
	return nil
}

// tightenInstance is tightenLimits for the instance that a snapshot was deleted
// of.
func (s *System) tightenInstance(ctx context.Context, in *lockedInstance) {
	size, err := rootSize(in.rec.ExpandedDevices)
	if err != nil || size == 0 {
		return
	}
	if st, err := btrfs.Quota(in.Path()); err == nil && st.Mode == btrfs.QuotaSimple {
		_ = awaitCleaner(ctx, in.Path()) // who does not wait counts what is there
	}
	s.keepInstanceLimit(ctx, in)
}

// keepLimitOf is keepLimit, under the lock of an instance unless somebody has
// it, who may be changing the size, or is the caller, who counts anew himself.
func (s *System) keepLimitOf(ctx context.Context, p *openedPool, v limitedVolume) error {
	if v.instance != "" {
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		defer cancel()
		unlock, err := s.dir.LockInstance(short, v.instance)
		if err != nil {
			return nil // who has it sees to it
		}
		defer unlock()
	}
	return s.keepLimit(ctx, p, v.what, v.path, v.size)
}

// awaitCleaner waits until what was deleted is freed, and the numbers say so,
// but not for long.
func awaitCleaner(ctx context.Context, mnt string) error {
	for end := time.Now().Add(cleanerTime); ; {
		if err := btrfs.Sync(mnt); err != nil {
			return err
		}
		deleting, err := btrfs.Deleting(mnt)
		if err != nil || !deleting {
			return errors.Join(err, btrfs.Sync(mnt))
		}
		if time.Now().After(end) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}
