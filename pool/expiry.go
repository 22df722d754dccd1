package pool

import (
	"context"
	"errors"

	"poolctl/pool/state"
)

// inAttachedPools calls remove for each pool that is attached, in the order of their
// names, and returns what it names of all. An error in one does not spare the others.
func (s *System) inAttachedPools(ctx context.Context, remove func(context.Context, state.PoolRecord) ([]string, error)) (gone []string, err error) {
	pools, err := s.dir.ListPools()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, name := range pools {
		rec, err := s.loadPool(name)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		attached := false
		if err == nil {
			attached, err = s.isAttached(rec)
		}
		if err == nil && attached {
			var some []string
			some, err = remove(ctx, rec)
			gone = append(gone, some...)
		}
		errs = append(errs, err)
	}
	return gone, errors.Join(append(errs, ctx.Err())...)
}
