package pool

import (
	"errors"
	"io/fs"
	"maps"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// savePool saves a pool's record, and in the pool what is to travel with it: its
// name, description and configuration. The pool's own copy is not the truth
// here: one that cannot be written is made good when the pool is attached next.
// The caller holds the pool's lock.
func (s *System) savePool(rec state.PoolRecord) error {
	if err := s.dir.SavePool(rec); err != nil {
		return err
	}
	attached, err := s.isAttached(rec)
	if err != nil || !attached {
		return err
	}
	s.savePoolInside(rec)
	return nil
}

// savePoolInside writes what an attached pool says of itself. A pool that takes
// no more writes is no reason to fail; an older one has no place for it.
func (s *System) savePoolInside(rec state.PoolRecord) {
	t, err := tree.Open(s.dir.MountPoint(rec.Name))
	if err == nil {
		t.KeepReserve()
		err = errors.Join(t.SavePool(poolInside(rec)), t.Close())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.noticef("pool %s does not know its own settings yet: %s", rec.Name, err)
	}
}

// poolInside is what a pool says of itself: its record without what is another
// on another machine.
func poolInside(rec state.PoolRecord) tree.PoolRecord {
	config := maps.Clone(rec.Config)
	delete(config, "source")
	return tree.PoolRecord{Name: rec.Name, Driver: rec.Driver, Description: rec.Description, Config: config, CreatedAt: rec.CreatedAt}
}
