package pool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// checkResize refuses sizes that cannot be reached, before anything is changed.
func (s *System) checkResize(ctx context.Context, rec state.PoolRecord, r resizing, room int64) error {
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
			return withHint(fmt.Errorf("%s is too small for what is in it: the smallest size is %s now", FormatSize(r.To), FormatSize(int64(least))),
				"poolctl pool resize %s min; poolctl pool usage shows what takes the space", rec.Name)
		}
		return s.needShrink(ctx, rec, uint64(r.To))
	}
	if rec.Kind == state.PoolDevice {
		if r.To > room {
			return withHint(fmt.Errorf("its device has only %s", FormatSize(room)), "poolctl pool resize %s max takes all of it", rec.Name)
		}
		return nil
	}
	var st unix.Stat_t
	var host unix.Statfs_t
	if err := errors.Join(unix.Stat(rec.Source, &st), unix.Statfs(rec.Source, &host)); err != nil {
		return fmt.Errorf("%s: %w", rec.Source, err)
	}
	if free := int64(host.Bavail) * host.Bsize; r.To-st.Blocks*512 > free && !isTrue(rec.Config["reserve"]) {
		s.noticef("pool %s may grow to %s, but %s has only %s free now", rec.Name, FormatSize(r.To), filepath.Dir(rec.Source), FormatSize(free))
	}
	return nil
}
