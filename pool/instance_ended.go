package pool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poolctl/pool/tree"
	"poolctl/runtime"
)

// endedTime bounds how long the end of an instance may take: another command may
// have it locked.
const endedTime = 10 * time.Minute

// endedInstance is runtime.Hooks.Ended: it deletes an ephemeral instance, and records
// of another that has ended of itself that it is stopped, so that it is not started
// with the machine. One that was started again by then, or was deleted by the command
// that stopped it, is left alone.
func endedInstance(ctx context.Context, about string, how runtime.EndKind) error {
	s, of, err := upkeepSystem(about)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, endedTime)
	defer cancel()
	rec, err := s.loadPool(of.Pool)
	if err != nil {
		return err
	}
	detached := rec.Detached // meanwhile
	in, err := s.lockInstance(ctx, of.Instance)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot see to the end of %s: %w", of.Instance, err)
	}
	switch {
	case in.openedPool.rec.Name != of.Pool || s.isRunning(of.Instance):
	case in.rec.Ephemeral:
		err = s.deleteLocked(ctx, in, forGood)
	case how == runtime.EndedByItself && in.rec.Broken == nil && in.rec.Config[powerKey] == "RUNNING":
		_, err = in.UpdateInstance(of.Instance, func(r *tree.Instance) error {
			r.Config[powerKey] = "STOPPED"
			return s.reexpandKnown(r)
		})
	}
	err = errors.Join(err, in.close())
	if detached {
		s.detachAgain(ctx, of.Pool)
	}
	return err
}
