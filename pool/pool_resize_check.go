package pool

import (
	"context"
	"errors"
	"fmt"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// checkResize refuses sizes that cannot be reached, before anything is changed.
func (s *System) checkResize(rec state.PoolRecord, r resizing, room int64) error {
	if r.To == r.From {
		return nil
	}
	if r.To < minResize {
		return withHint(fmt.Errorf("%s is too small: the kernel resizes btrfs to %s at least", FormatSize(r.To), FormatSize(minResize)), "a smaller pool can only be made new")
	}
	if r.shrinks() {
		least, err := btrfs.MinimumSize(s.dir.MountPoint(rec.Name))
		if err != nil {
			return err
		}
		if r.To < int64(least) {
			return withHint(tooSmallError(fmt.Sprintf("%s is too small for what is in it: the smallest size is %s now", FormatSize(r.To), FormatSize(int64(least)))),
				"poolctl pool resize %s min; poolctl pool usage shows what takes the space", rec.Name)
		}
		return nil
	}
	if rec.Kind == state.PoolDevice && r.To > room {
		return withHint(fmt.Errorf("its device has only %s", FormatSize(room)), "poolctl pool resize %s max takes all of it", rec.Name)
	}
	return nil
}

// tooSmallError is the refusal of a size that what is in the pool does not fit into.
type tooSmallError string

func (e tooSmallError) Error() string { return string(e) }

// needResize is the guard before a resize: the host has to have room for what a
// shrink moves, and for what a pool is given that has its space reserved. A file
// that is sparse may be larger than what there is now, which is told.
func (s *System) needResize(ctx context.Context, rec state.PoolRecord, r resizing) error {
	switch {
	case r.shrinks():
		return s.needShrink(ctx, rec, uint64(r.To))
	case r.To == r.From || rec.Kind != state.PoolFile:
		return nil
	}
	plan, err := s.planGrowth(rec, r.To)
	if err != nil {
		return err
	}
	if plan.Warning != "" {
		s.notice(plan.Warning)
	}
	return plan.Err()
}

// planGrowth is the plan for a pool's file that becomes size bytes large.
func (s *System) planGrowth(rec state.PoolRecord, size int64) (SpacePlan, error) {
	st, lost := s.ownFile(rec)
	if lost != nil {
		return SpacePlan{}, lost
	}
	plan, err := planHost(rec.Name, "growing it", rec.Source, size-st.Blocks*512)
	if err != nil || plan.Problem == "" {
		return plan, err
	}
	if isTrue(rec.Config["reserve"]) {
		plan.Problem = fmt.Sprintf("cannot reserve its space: %s has %s free, and growing it takes %s more", plan.HostPath, FormatSize(plan.HostFree), FormatSize(plan.HostGrowth))
		plan.Hint = "make room there, or choose a smaller size; poolctl pool unset " + rec.Name + " reserve leaves the file sparse"
		return plan, nil
	}
	plan.Problem, plan.Hint = "", ""
	plan.Warning = fmt.Sprintf("pool %s may grow to %s, but %s has only %s free now", rec.Name, FormatSize(size), plan.HostPath, FormatSize(plan.HostFree))
	return plan, nil
}

// PlanResize says what a resize would take, and refuses what ResizePool refuses;
// nothing is changed.
func (s *System) PlanResize(ctx context.Context, name, size string) (SpacePlan, error) {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return SpacePlan{}, err
	}
	defer func() { _ = p.close() }()
	r, err := s.planResize(p.rec, size)
	var plan SpacePlan
	switch {
	case err != nil:
	case r.shrinks():
		plan, err = s.planMoved(ctx, p.rec, "shrinking it", movedByShrink(uint64(r.To)))
	case r.To == r.From:
		plan, err = s.planSpace(ctx, p.rec, spaceNeed{what: "nothing: it has that size"})
	case p.rec.Kind == state.PoolFile:
		plan, err = s.planGrowth(p.rec, r.To)
	default:
		plan, err = s.planSpace(ctx, p.rec, spaceNeed{what: "growing it"})
	}
	if small := tooSmallError(""); errors.As(err, &small) {
		if size, terr := trashSize(ctx, p.Tree); terr == nil && size.Total() > 0 {
			err = withHint(small, "without --plan, what is in its trash is deleted first, %s", FormatSize(int64(size.Total()))) //nolint:gosec // no pool has 8 EiB
		}
	}
	if err != nil {
		return plan, fmt.Errorf("cannot resize pool %s: %w", name, err)
	}
	return plan, nil
}
