package pool

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// quotasKey says how a pool counts what its volumes take, without which no size
// can be held. The values are those of quotaModes.
//
// A new pool has simple quotas where the kernel has them (Linux 6.7): they cost
// next to nothing and also tell what each volume wrote. They are a feature of
// the file system that stays: older kernels cannot mount the pool, btrfs-progs
// before 6.7 cannot check it. Who takes a pool to such a machine makes it with
// btrfs.quotas=none or qgroups.
//
// A pool that was not made here keeps what it has. One without any gets full
// qgroups, which LXD and Incus use, when a size is asked for.
const quotasKey = "btrfs.quotas"

const quotasAuto = "auto"

// quotaModes are the values of quotasKey.
var quotaModes = map[string]btrfs.QuotaMode{
	"simple":  btrfs.QuotaSimple,
	"qgroups": btrfs.QuotaFull,
	"none":    btrfs.QuotaNone,
}

// checkQuotas takes the values of quotasKey.
func checkQuotas(v string) error {
	if _, ok := quotaModes[v]; !ok && v != quotasAuto {
		return withHint(errors.New("unknown mode"), "the modes are auto, simple, qgroups and none")
	}
	return nil
}

// startQuotas gives the file system of a new pool the quotas that are wanted. One
// that is not poolctl's gets them when a size is asked for.
func (s *System) startQuotas(ctx context.Context, rec state.PoolRecord) error {
	mnt := s.dir.MountPoint(rec.Name)
	mode, ok := quotaModes[rec.Config[quotasKey]]
	switch {
	case rec.Kind == state.PoolDirectory:
		return checkForeignQuotas(mnt, rec)
	case ok:
		return changeQuotas(ctx, mnt, mode)
	}
	err := btrfs.EnableQuota(mnt, btrfs.QuotaSimple)
	if errors.Is(err, btrfs.ErrSimpleQuota) {
		return nil // an older kernel: full qgroups when a size is asked for
	}
	return err
}

// checkForeignQuotas refuses a mode for a pool in somebody else's file system
// that counts in another way: that is not poolctl's to change.
func checkForeignQuotas(mnt string, rec state.PoolRecord) error {
	st, err := btrfs.Quota(mnt)
	mode, ok := quotaModes[rec.Config[quotasKey]]
	if err != nil || !ok || mode == btrfs.QuotaNone || st.Mode == btrfs.QuotaNone || st.Mode == mode {
		return err
	}
	return withHint(fmt.Errorf("the file system around it counts in another way already: %s", st.Mode), "it is not poolctl's: leave %s out, it uses those", quotasKey)
}

// changeQuotas brings a file system to a mode, whichever it is in. Limits of
// another mode are gone then.
func changeQuotas(ctx context.Context, mnt string, mode btrfs.QuotaMode) error {
	st, err := btrfs.Quota(mnt)
	if err != nil || st.Mode == mode {
		return err
	}
	if st.Mode != btrfs.QuotaNone {
		if err := btrfs.DisableQuota(mnt); err != nil {
			return err
		}
	}
	crash.Point("pool.quotas.disabled")
	if mode == btrfs.QuotaNone {
		return nil
	}
	if err := btrfs.EnableQuota(mnt, mode); err != nil {
		return err
	}
	return btrfs.RescanQuota(ctx, mnt)
}

// applyQuotas brings an attached pool to the mode of its new configuration, and
// sets all limits anew. A detached one gets it with the next attach.
func applyQuotas(ctx context.Context, s *System, from, to state.PoolRecord) error {
	if attached, err := s.isAttached(from); err != nil || !attached {
		return err
	}
	t, err := tree.Open(s.dir.MountPoint(to.Name))
	if err != nil {
		return err
	}
	return errors.Join(s.alignQuotas(ctx, &openedPool{Tree: t, rec: to}), t.Close())
}

// alignQuotas makes an attached pool's quotas what its configuration says; with
// none, or auto, it leaves them, as it does those of a file system that is not
// poolctl's.
func (s *System) alignQuotas(ctx context.Context, p *openedPool) error {
	if p.rec.Kind == state.PoolDirectory {
		return checkForeignQuotas(p.Path(), p.rec)
	}
	mode, ok := quotaModes[p.rec.Config[quotasKey]]
	if !ok {
		return nil
	}
	st, err := btrfs.Quota(p.Path())
	if err != nil || st.Mode == mode {
		return err
	}
	if err := changeQuotas(ctx, p.Path(), mode); err != nil {
		return err
	}
	return s.keepAllLimits(ctx, p)
}

// attachQuotas looks after the quotas of a pool that was attached just now. It is
// attached whatever becomes of them.
func (s *System) attachQuotas(ctx context.Context, rec state.PoolRecord) {
	t, err := tree.Open(s.dir.MountPoint(rec.Name))
	if err == nil {
		p := &openedPool{Tree: t, rec: rec}
		err = errors.Join(s.alignQuotas(ctx, p), p.PruneQgroups(), t.Close())
	}
	if err != nil {
		s.noticef("the quotas of pool %s are not as wanted: %s", rec.Name, err)
	}
}

// readyQuotas makes sure that a limit can be held in a pool: quotas are on and
// counted. Why they cannot be is an error.
func (s *System) readyQuotas(ctx context.Context, p *openedPool) error {
	st, err := btrfs.Quota(p.Path())
	if err != nil {
		return err
	}
	if st.Mode != btrfs.QuotaNone {
		return countQuotas(ctx, p.Path(), st)
	}
	value := p.rec.Config[quotasKey]
	if value == "none" {
		return withHint(fmt.Errorf("pool %s counts nothing: %s is none", p.rec.Name, quotasKey), "poolctl pool set %s %s=qgroups, or simple", p.rec.Name, quotasKey)
	}
	if p.rec.Kind == state.PoolDirectory && value == "" {
		return withHint(fmt.Errorf("the file system around pool %s has no quotas, and is not poolctl's", p.rec.Name),
			"poolctl pool set %s %s=qgroups enables them for all of it", p.rec.Name, quotasKey)
	}
	mode, ok := quotaModes[value]
	if !ok {
		mode = btrfs.QuotaFull
	}
	s.noticef("enabling quotas (%s) in pool %s: what is in it is counted", mode, p.rec.Name)
	return changeQuotas(ctx, p.Path(), mode)
}

// countQuotas has full qgroups counted that the kernel gave up counting.
func countQuotas(ctx context.Context, mnt string, st btrfs.QuotaStatus) error {
	if !st.Inconsistent {
		return nil
	}
	return btrfs.RescanQuota(ctx, mnt)
}

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

// keepAllLimits sets the limits of all instances and volumes of a pool again.
func (s *System) keepAllLimits(ctx context.Context, p *openedPool) error {
	if st, err := btrfs.Quota(p.Path()); err != nil || st.Mode == btrfs.QuotaNone {
		return err
	}
	instances, err := p.Instances(ctx)
	if err != nil {
		return err
	}
	for _, in := range instances {
		if size, err := rootSize(in.ExpandedDevices); err != nil || in.Broken != nil {
			continue // it says so itself when it is used
		} else if err := s.keepLimit(ctx, p, in.Name, p.InstancePath(in.Name), size); err != nil {
			return err
		}
	}
	volumes, err := p.Volumes(ctx)
	if err != nil {
		return err
	}
	for _, v := range volumes {
		size, err := ParseSize(v.Config["size"])
		if v.Config["size"] == "" || err != nil || v.Project != tree.DefaultProject {
			continue
		}
		if err := s.keepLimit(ctx, p, "volume "+v.Name, p.VolumePath(v.Name), size); err != nil {
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
	return s.reexpand(restored)
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
