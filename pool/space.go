package pool

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// spaceNeed is what an operation is going to write, in bytes.
type spaceNeed struct {
	// what names it in errors: "image 0123456789ab".
	what string
	// least is written to the pool in any case; most is an estimate of how much
	// it can become. least 0: nothing is written to the pool.
	least, most int64
	// trees is the metadata that is written at least; with least, an estimate for so
	// much data is made besides, and the larger counts.
	trees int64
	// moved is written elsewhere in the pool, which has it back afterwards: it is the
	// host only that needs room for it.
	moved int64
	// others is what other commands are still going to write.
	others state.Reservation
	// size is the limit of what is written to; 0 for none.
	size int64
	// target is a directory on the host that a file of targetSize bytes is
	// written to; "" for none.
	target     string
	targetSize int64
}

// SpacePlan is what an operation is going to take, and what there is for it:
// bytes.
type SpacePlan struct {
	What string `json:"what" yaml:"what"`
	Pool string `json:"pool" yaml:"pool"`
	// Least is written to the pool in any case, Most is an estimate.
	Least int64 `json:"least" yaml:"least"`
	Most  int64 `json:"most" yaml:"most"`
	// Metadata is how much of the trees is estimated to be written besides.
	Metadata int64 `json:"metadata" yaml:"metadata"`
	// Reserved is what other commands write into the pool at the same time, in any case.
	Reserved int64 `json:"reserved,omitempty" yaml:"reserved,omitempty"`
	// What the pool has room for; Unallocated can become either.
	PoolFree     int64 `json:"pool_free" yaml:"pool_free"`
	MetadataFree int64 `json:"metadata_free" yaml:"metadata_free"`
	Unallocated  int64 `json:"unallocated" yaml:"unallocated"`
	// Trash is what becomes free when all that is in the pool's trash is deleted, where
	// the rest is not enough.
	Trash int64 `json:"trash,omitempty" yaml:"trash,omitempty"`
	// QuotaFree is what a quota around the pool leaves to it; -1 for none.
	QuotaFree int64 `json:"quota_free" yaml:"quota_free"`
	// Size is the limit of what is written to; 0 for none.
	Size int64 `json:"size" yaml:"size"`
	// HostGrowth is by how much the pool's file may grow, at most by its holes;
	// HostFree what the file system around it has. 0 and -1 where nothing grows.
	HostPath   string `json:"host_path,omitempty" yaml:"host_path,omitempty"`
	HostGrowth int64  `json:"host_growth" yaml:"host_growth"`
	HostFree   int64  `json:"host_free" yaml:"host_free"`
	// HostTrim is how much trimming the pool returns to the host, where that is done
	// first because HostFree is too little without it.
	HostTrim int64 `json:"host_trim,omitempty" yaml:"host_trim,omitempty"`
	// The same of a file that is written on the host.
	TargetPath string `json:"target_path,omitempty" yaml:"target_path,omitempty"`
	TargetSize int64  `json:"target_size" yaml:"target_size"`
	TargetFree int64  `json:"target_free" yaml:"target_free"`
	// Problem is what is too little; "" when it fits.
	Problem string `json:"problem" yaml:"problem"`
	Hint    string `json:"hint,omitempty" yaml:"hint,omitempty"`
	// Warning is why it may not fit although it is not refused.
	Warning string `json:"warning,omitempty" yaml:"warning,omitempty"`

	trashTrees int64 // of Trash
	atMost     bool  // Trash may be less
}

// Err is the refusal of an operation that does not fit; nil when it does.
func (p SpacePlan) Err() error {
	if p.Problem == "" {
		return nil
	}
	return withHint(noSpaceError(p.Problem), "%s", p.Hint)
}

// noSpaceError is the refusal of what does not fit: ENOSPC, told before it happens.
type noSpaceError string

func (e noSpaceError) Error() string { return string(e) }

// Is says so to errors.Is.
func (e noSpaceError) Is(target error) bool { return target == unix.ENOSPC }

// needSpace is the guard before everything that writes much: it refuses, with
// the numbers, what cannot fit. What is in the pool's trash makes room first, the
// oldest before the rest; none of it goes for what does not fit with that either.
func (s *System) needSpace(ctx context.Context, rec state.PoolRecord, need spaceNeed) error {
	plan, err := s.planSpace(ctx, rec, need)
	if err == nil && plan.lacksPoolRoom() {
		err = s.checkBeyondTrash(ctx, rec, plan)
	}
	for err == nil && plan.lacksPoolRoom() {
		gone, rerr := s.makeRoomIn(ctx, rec, need.what)
		if rerr != nil {
			return rerr
		}
		if !gone {
			break
		}
		plan, err = s.planSpace(ctx, rec, need)
	}
	if err != nil {
		return err
	}
	if plan.Warning != "" && plan.Problem == "" {
		s.notice(plan.Warning)
	}
	return plan.Err()
}

// planSpace holds what is needed against what there is: in the pool's data and
// metadata, on the host, where a file that runs out of room makes the kernel give
// up the pool, and where a file is to be written. A pool that is short waits for
// what was deleted a moment ago to be freed.
func (s *System) planSpace(ctx context.Context, rec state.PoolRecord, need spaceNeed) (SpacePlan, error) {
	mp := s.dir.MountPoint(rec.Name)
	usage, err := awaitSpace(ctx, mp, func(u btrfs.Usage) bool {
		return poolFree(u) >= need.least+need.others.Least && metadataFree(u) >= need.metadata()
	})
	if err != nil {
		return SpacePlan{}, err
	}
	plan := SpacePlan{
		What: need.what, Pool: rec.Name, Least: need.least, Most: max(need.least, need.most), Metadata: need.metadata(), PoolFree: poolFree(usage),
		Unallocated: int64(usage.Unallocated), MetadataFree: metadataFree(usage), Size: need.size, QuotaFree: -1, HostFree: -1, TargetFree: -1,
		TargetPath: need.target, TargetSize: need.targetSize, Reserved: need.others.Least,
	}
	if rec.Kind == state.PoolDirectory {
		if plan.QuotaFree, err = quotaAround(mp); err != nil {
			return plan, err
		}
	}
	if rec.Kind == state.PoolFile && (need.least > 0 || need.trees > 0 || need.moved > 0 || need.target == "") {
		if err := plan.lookAtHost(rec.Source, need.moved, need.others.Most); err != nil {
			return plan, err
		}
	}
	if need.target != "" {
		if plan.TargetFree, err = freeAt(need.target); err != nil {
			return plan, err
		}
	}
	plan.judge()
	return plan, nil
}

// lookAtHost finds out how much the pool's file can grow, and how much its file
// system has.
func (p *SpacePlan) lookAtHost(file string, moved, others int64) error {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	free, err := freeAt(file)
	if err != nil {
		return err
	}
	p.HostPath, p.HostFree = filepath.Dir(file), free
	written := moved
	if p.Least > 0 {
		written += p.Most
	} else if p.Metadata > 0 {
		written += p.Metadata
	}
	if written > 0 {
		written += others
		p.HostGrowth = min(max(st.Size-st.Blocks*512, 0), hostGrowth(written))
	}
	return nil
}

// freeAt is what the file system of a path has free for anyone.
func freeAt(path string) (int64, error) {
	var fsys unix.Statfs_t
	if err := unix.Statfs(path, &fsys); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return int64(fsys.Bavail) * fsys.Bsize, nil
}

// judge fills in what is too little, the worst first.
func (p *SpacePlan) judge() {
	free, trees, quota, besides := p.PoolFree+p.Trash, p.MetadataFree+p.trashTrees, p.QuotaFree+p.Trash, ""
	if p.Trash > 0 {
		besides = " and " + FormatSize(p.Trash) + " in its trash"
	}
	if p.Trash > 0 && p.atMost {
		besides = " and at most " + FormatSize(p.Trash) + " in its trash"
	}
	refuse := func(hint, format string, args ...any) {
		if p.Problem == "" {
			p.Problem, p.Hint = fmt.Sprintf(format, args...), hint
		}
	}
	if p.Reserved > 0 && p.Least+p.Reserved > free {
		refuse(fmt.Sprintf("wait for them, or make the pool larger: poolctl pool resize %s SIZE", p.Pool),
			"pool %s has %s free%s, of which other commands take at least %s, and %s takes at least %s", p.Pool, FormatSize(p.PoolFree), besides, FormatSize(p.Reserved), p.What, FormatSize(p.Least))
	}
	if p.Least > free {
		refuse(fmt.Sprintf("poolctl pool resize %[1]s SIZE makes it larger; or delete what is not needed: poolctl image list, poolctl pool usage %[1]s", p.Pool),
			"pool %s has %s free%s, and %s takes at least %s", p.Pool, FormatSize(p.PoolFree), besides, p.What, FormatSize(p.Least))
	}
	if p.Metadata > trees {
		refuse(fmt.Sprintf("poolctl pool balance %[1]s makes room for it out of free data space; poolctl pool resize %[1]s SIZE makes the pool larger", p.Pool),
			"pool %s has room for %s of metadata, and %s takes about %s", p.Pool, FormatSize(p.MetadataFree), p.What, FormatSize(p.Metadata))
	}
	if p.Size > 0 && p.Least > p.Size {
		refuse("give it a larger size", "the size is %s, and %s takes at least %s", FormatSize(p.Size), p.What, FormatSize(p.Least))
	}
	if p.QuotaFree >= 0 && p.Least+p.Metadata > quota {
		refuse("btrfs qgroup show -reF shows the quotas of the file system that the pool is in",
			"a quota around pool %s leaves %s to it, and %s takes at least %s", p.Pool, FormatSize(p.QuotaFree), p.What, FormatSize(p.Least+p.Metadata))
	}
	if p.HostPath != "" && p.HostGrowth > p.HostFree {
		if p.Least == 0 && p.Metadata == 0 && p.Pool == "" {
			refuse("make room there", "%s has %s free, and %s takes %s more", p.HostPath, FormatSize(p.HostFree), p.What, FormatSize(p.HostGrowth))
		}
		refuse("make room there, when it is full the kernel gives up the pool's file system; poolctl pool trim "+p.Pool+" returns what the pool does not use",
			"%s has %s free on the host, and pool %s may have to grow by %s", p.HostPath, FormatSize(p.HostFree), p.Pool, FormatSize(p.HostGrowth))
	}
	if p.TargetPath != "" && p.TargetSize > p.TargetFree {
		refuse("make room there, or write it elsewhere", "%s has %s free, and %s takes %s", p.TargetPath, FormatSize(p.TargetFree), p.What, FormatSize(p.TargetSize))
	}
	switch {
	case p.Problem != "":
	case p.Trash > 0:
		p.Warning = fmt.Sprintf("pool %s has %s free: what is in its trash is deleted for %s, the oldest first", p.Pool, FormatSize(p.PoolFree), p.What)
	case p.Most > p.PoolFree:
		p.Warning = fmt.Sprintf("%s may not fit: pool %s has %s free, and it can take up to %s", p.What, p.Pool, FormatSize(p.PoolFree), FormatSize(p.Most))
	}
}

// lacksPoolRoom says whether it is the pool that has too little, or a quota around
// it, which deleting something in the pool changes.
func (p *SpacePlan) lacksPoolRoom() bool {
	return p.Least+p.Reserved > p.PoolFree || p.Metadata > p.MetadataFree || p.QuotaFree >= 0 && p.Least+p.Metadata > p.QuotaFree
}

// poolFree is the room for data. The first MiB of a device counts as unallocated,
// and no block group is made there (BTRFS_DEVICE_RANGE_RESERVED).
func poolFree(u btrfs.Usage) int64 {
	if u.Unallocated == 0 {
		return int64(u.Free)
	}
	return max(int64(u.Free)-1<<20, 0)
}

// metadataFree is the room for trees: what their block groups have left beside
// the kernel's reserve, and what more of them could be made of.
func metadataFree(u btrfs.Usage) int64 {
	if u.Metadata.Allocated == 0 { // mixed block groups: data and trees share
		return int64(u.Free)
	}
	copies := uint64(1)
	if u.Metadata.Profile != "single" {
		copies = 2
	}
	left := int64(u.Metadata.Allocated) - int64(u.Metadata.Used) - int64(u.GlobalReserve)
	return max(left, 0) + int64(u.Unallocated/copies)
}

// metadata is how much of the trees is written.
func (n spaceNeed) metadata() int64 {
	if n.least > 0 {
		return max(n.trees, metadataNeed(max(n.least, n.most)))
	}
	return n.trees
}

// metadataNeed is what the trees of so much data take: a fiftieth, as measured of
// root file systems with many small files, and what a transaction needs.
func metadataNeed(data int64) int64 { return data/50 + 1<<20 }

// hostGrowth is how much larger so much data may make a pool's file: btrfs writes
// its trees anew, twice, beside the old ones.
func hostGrowth(data int64) int64 {
	if data > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return data + 16<<20
}

// nameFull says what is full when an operation ran out of room in spite of all:
// the host around the pool's file, or the pool.
func (s *System) nameFull(rec state.PoolRecord, err error) error {
	what, hint := whatIsFull(rec, err)
	if what == "" {
		return err
	}
	return withHint(fmt.Errorf("%s: %w", what, err), "%s", hint)
}

// hintFull is nameFull for an error that says already what could not be done.
func (s *System) hintFull(rec state.PoolRecord, err error) error {
	what, hint := whatIsFull(rec, err)
	if what == "" {
		return err
	}
	return withHint(err, "%s: %s", what, hint)
}

// whatIsFull is "" for an error that is about something else, and for a refusal, which
// says it.
func whatIsFull(rec state.PoolRecord, err error) (what, hint string) {
	switch {
	case errors.Is(err, unix.EDQUOT):
		return fmt.Sprintf("a quota of pool %s is used up", rec.Name), "poolctl config device set NAME root size=... gives an instance more, and poolctl pool volume set POOL NAME size=... a volume"
	case !errors.Is(err, unix.ENOSPC):
		return "", ""
	}
	if _, told := errors.AsType[noSpaceError](err); told {
		return "", ""
	}
	if free, ferr := freeAt(rec.Source); rec.Kind == state.PoolFile && ferr == nil && free < 1<<20 {
		return filepath.Dir(rec.Source) + " on the host is full", fmt.Sprintf("make room there: poolctl pool trim %s returns what the pool does not use", rec.Name)
	}
	return fmt.Sprintf("pool %s is full", rec.Name), fmt.Sprintf("poolctl pool resize %[1]s SIZE makes it larger; or delete what is not needed: poolctl pool usage %[1]s --exact shows what that frees", rec.Name)
}

// awaitSpace asks for the space of a pool. When that is not enough, it waits for
// what was deleted a moment ago to be freed, 10 s at most.
func awaitSpace(ctx context.Context, mnt string, enough func(btrfs.Usage) bool) (btrfs.Usage, error) {
	for end := time.Now().Add(10 * time.Second); ; {
		usage, err := btrfs.GetUsage(mnt)
		if err != nil || enough(usage) {
			return usage, err
		}
		deleting, err := btrfs.Deleting(mnt)
		if err != nil {
			return usage, err
		}
		if err := btrfs.Sync(mnt); err != nil { // also what was freed counts from the commit on
			return usage, err
		}
		if !deleting || time.Now().After(end) {
			return btrfs.GetUsage(mnt)
		}
		select {
		case <-ctx.Done():
			return usage, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}
