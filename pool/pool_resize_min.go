package pool

import (
	"context"
	"errors"
	"strconv"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// leastTries is how many sizes are tried where the smallest is asked for.
const leastTries = 8

// tryResize resizes a pool, and where what is in it turns out not to be packed as
// densely as was planned, tries sizes somewhat larger, so many in all.
func (s *System) tryResize(ctx context.Context, rec state.PoolRecord, size string, tries int, progress func(Progress)) error {
	for ; ; tries-- {
		r, err := s.planResize(rec, size)
		for isTooSmall(err) {
			if gone, rerr := s.makeRoomIn(ctx, rec, "a size of "+size); rerr != nil || !gone {
				err = errors.Join(err, rerr)
				break
			}
			// The block groups that are empty now would be in the way.
			if _, rerr := btrfs.StartBalance(ctx, s.dir.MountPoint(rec.Name), btrfs.Balance{DataUsage: 0, MetadataUsage: -1}); rerr != nil {
				err = rerr
				break
			}
			r, err = s.planResize(rec, size)
		}
		if err == nil {
			err = s.needResize(ctx, rec, r)
		}
		if err == nil && r.To != r.From {
			err = s.resize(ctx, rec, r, progress)
		}
		next := (r.To + max(r.To/16, 32<<20)) &^ (1<<20 - 1)
		if !errors.Is(err, btrfs.ErrNoRoom) || tries <= 1 || next >= r.From {
			return err
		}
		s.noticef("what is in pool %s cannot be packed into %s; trying %s", rec.Name, FormatSize(r.To), FormatSize(next))
		size = strconv.FormatInt(next, 10) + "B"
	}
}

// isTooSmall says whether it is the refusal of a size that is too small for what is
// in the pool.
func isTooSmall(err error) bool {
	_, is := errors.AsType[tooSmallError](err)
	return is
}

// hintNoRoom says what to try after a shrink to a size for which there turned out
// to be no room, although there is that much in sum.
func (s *System) hintNoRoom(rec state.PoolRecord, size int64, err error) error {
	least, merr := btrfs.MinimumSize(s.dir.MountPoint(rec.Name))
	if merr != nil {
		return errors.Join(err, merr)
	}
	if int64(least) > size {
		return withHint(err, "it was written to meanwhile; the smallest size is %s now", FormatSize(int64(least)))
	}
	return withHint(err, "what is free lies in pieces too short for what is in it; choose a larger size, or let poolctl pool resize %s min try several", rec.Name)
}
