package pool

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/state"
)

// needMoved is the guard before block groups are moved within a pool: a pool's
// file grows by what is moved into its holes, whatever is free in the pool, and a
// host that is full makes the kernel give up the pool's file system. Where the
// host has too little, what the pool has free is given back to it first.
func (s *System) needMoved(ctx context.Context, rec state.PoolRecord, what string, measure func(mountPoint string) (uint64, error)) error {
	if rec.Kind != state.PoolFile {
		return nil
	}
	plan, err := s.planMoved(ctx, rec, what, measure)
	if err == nil && plan.Problem == "" && plan.HostTrim > 0 {
		s.notice(plan.Warning)
		if _, err = s.trim(ctx, rec); err == nil {
			plan, err = s.planMoved(ctx, rec, what, measure)
		}
	}
	if err != nil {
		return err
	}
	return plan.Err()
}

// planMoved is the plan for moving block groups. Where the host has too little room
// until the pool is trimmed, HostTrim says how much that gives back.
func (s *System) planMoved(ctx context.Context, rec state.PoolRecord, what string, measure func(mountPoint string) (uint64, error)) (SpacePlan, error) {
	moved, err := measure(s.dir.MountPoint(rec.Name))
	if err != nil {
		return SpacePlan{}, err
	}
	// Even where nothing is moved a few blocks are written.
	plan, err := s.planSpace(ctx, rec, spaceNeed{what: what, moved: int64(max(moved, 1))})
	if err != nil || plan.Problem == "" || rec.Kind != state.PoolFile {
		return plan, err
	}
	trim, err := s.trimmable(rec)
	if err != nil {
		return plan, err
	}
	growth := min(holes(rec)+trim, hostGrowth(int64(moved)))
	if trim == 0 || plan.HostFree+trim < growth {
		return plan, nil
	}
	plan.HostGrowth = growth
	plan.HostTrim, plan.Problem, plan.Hint = trim, "", ""
	plan.Warning = fmt.Sprintf("%s has %s free on the host, and pool %s may have to grow by %s: it is trimmed first, which returns about %s",
		plan.HostPath, FormatSize(plan.HostFree), rec.Name, FormatSize(plan.HostGrowth), FormatSize(trim))
	return plan, nil
}

// needShrink is needMoved for a pool that is shrunk to a size.
func (s *System) needShrink(ctx context.Context, rec state.PoolRecord, size uint64) error {
	return s.needMoved(ctx, rec, "shrinking it", movedByShrink(size))
}

func movedByShrink(size uint64) func(string) (uint64, error) {
	return func(mp string) (uint64, error) { return btrfs.MovedByShrink(mp, size) }
}

// trimSlack is what of a pool's file neither is in use nor is given back by trimming:
// superblocks, and what is being written.
const trimSlack = 2 << 20

// trimmable is how much trimming a pool gives back to the host, about: what its file
// has of it and its file system does not use.
func (s *System) trimmable(rec state.PoolRecord) (int64, error) {
	if isTrue(rec.Config["reserve"]) || !canDiscard(rec) {
		return 0, nil
	}
	used, err := btrfs.UsedOfDevices(s.dir.MountPoint(rec.Name))
	if err != nil {
		return 0, err
	}
	return max(0, allocatedOnHost(rec)-int64(used)-trimSlack), nil
}

// canDiscard says whether the loop device of a pool can punch holes into its file
// (Documentation/ABI/stable/sysfs-block).
func canDiscard(rec state.PoolRecord) bool {
	loops, err := loopdev.Find(rec.Source)
	if err != nil || len(loops) == 0 {
		return false
	}
	data, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(loops[0].Path), "queue/discard_max_bytes"))
	if err != nil {
		return false
	}
	most, err := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 64)
	return err == nil && most > 0
}

// holes is how much a pool's file can grow without becoming longer.
func holes(rec state.PoolRecord) int64 {
	var st unix.Stat_t
	if unix.Stat(rec.Source, &st) != nil {
		return 0
	}
	return max(st.Size-st.Blocks*512, 0)
}
