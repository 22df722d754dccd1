package pool

import (
	"context"

	"poolctl/pool/state"
)

// reservation is the space that a download is going to take, which downloads that
// begin meanwhile, here and in other processes, leave to it.
type reservation struct {
	whole state.Reservation
	size  int64 // bytes to load, with which it is used up
	held  *state.Reserved
}

// reserveSpace is needSpace for a download of size bytes, which holds what it needs
// until it is released.
func (s *System) reserveSpace(ctx context.Context, rec state.PoolRecord, need spaceNeed, size int64, keep bool) (*reservation, error) {
	unlock, err := s.dir.LockSpace(ctx, rec.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if need.others, err = s.dir.Reservations(rec.Name); err != nil {
		return nil, err
	}
	if err := s.needSpace(ctx, rec, need); err != nil {
		return nil, err
	}
	r := &reservation{whole: state.Reservation{Least: need.least, Most: max(need.least, need.most)}, size: max(size, 1)}
	if keep {
		r.whole.Kept = size
	}
	r.held, err = s.dir.Reserve(rec.Name, r.whole)
	return r, err
}

// reservations are what other commands have reserved in a pool.
func (s *System) reservations(ctx context.Context, rec state.PoolRecord) (state.Reservation, error) {
	unlock, err := s.dir.LockSpace(ctx, rec.Name)
	if err != nil {
		return state.Reservation{}, err
	}
	defer unlock()
	return s.dir.Reservations(rec.Name)
}

// loaded says how many bytes have come: about as much of the pool is used by then.
func (r *reservation) loaded(n int64) {
	left := func(whole int64) int64 { return int64(float64(whole) * float64(max(r.size-n, 0)) / float64(r.size)) }
	r.held.Set(state.Reservation{Least: left(r.whole.Least), Most: left(r.whole.Most), Kept: left(r.whole.Kept)})
}

func (r *reservation) release() error { return r.held.Release() }
