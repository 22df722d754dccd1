package pool

import (
	"context"
	"errors"
	"fmt"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

// ForgetPool detaches a pool and forgets it. What it lies on, which is returned,
// stays whole with all that is in it, and AdoptPool takes it in again. A pool in
// use is refused, as DetachPool does, and one whose file was removed while it is
// attached. Profiles lose the devices that are on it, and the logs of its instances go.
//
// Order: what the pool says of itself, unmount (which can still be taken back),
// intent, record (the commit). Killed after the intent, the next command finishes it.
func (s *System) ForgetPool(ctx context.Context, name string) (source string, err error) {
	if _, err := s.loadPool(name); err != nil { // before a lock of that name is made
		return "", err
	}
	unlock, err := s.dir.LockPool(ctx, name, false)
	if err != nil {
		return "", err
	}
	defer unlock()
	if source, err = s.forgetLocked(ctx, name); err != nil {
		return "", fmt.Errorf("cannot forget pool %s: %w", name, err)
	}
	return source, nil
}

func (s *System) forgetLocked(ctx context.Context, name string) (source string, err error) {
	rec, err := s.loadPool(name)
	if err != nil {
		return "", err
	}
	if err := s.checkNotLast(rec); err != nil {
		return "", err
	}
	if attached, err := s.isAttached(rec); err != nil {
		return "", err
	} else if attached {
		s.savePoolInside(rec) // so that it is adopted with its settings
	}
	left, err := s.leavesBehind(ctx, rec)
	if err != nil {
		s.noticef("of the instances in pool %s logs may be left: %s", name, err)
	}
	if err := s.unmountPool(ctx, rec); err != nil {
		return "", err
	}
	intent := creating{Name: rec.Name, Kind: rec.Kind, Path: rec.Source, UUID: rec.UUID, Kept: true, Left: left}
	entry, err := journal.Begin(ctx, s.journalDir(), "pool-delete", intent)
	if err != nil {
		return "", err
	}
	crash.Point("pool.forget.begun")
	if err := s.finishDelete(ctx, intent); err != nil {
		return "", errors.Join(err, entry.Close()) // the next command goes on with it
	}
	return rec.Source, entry.Done()
}
