package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"
)

// SetSnapshotExpiry says when a snapshot of an instance may be deleted: a span from now
// on ("3d 2H") or a date; "" is never.
func (s *System) SetSnapshotExpiry(ctx context.Context, instance, snap, expiry string) (err error) {
	in, err := s.lockInstance(ctx, instance)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	fail := func(err error) error {
		return fmt.Errorf("cannot change when %s/%s expires: %w", instance, snap, err)
	}
	if in.rec.Broken != nil {
		return fail(in.rec.Broken)
	}
	at, err := parseExpiry(expiry, time.Now())
	if err != nil {
		return fail(err)
	}
	err = s.withRoom(ctx, in.openedPool, "the change", func() error { return in.SetSnapshotExpiry(instance, snap, at) })
	if errors.Is(err, fs.ErrNotExist) {
		return fail(snapshotError(fs.ErrNotExist, instance))
	}
	return s.hintFull(in.openedPool.rec, err)
}
