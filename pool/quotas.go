package pool

import (
	"context"
	"errors"
	"fmt"

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
