package pool

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// endedTime bounds how long the end of an ephemeral instance may take: another
// command may have it locked.
const endedTime = 10 * time.Minute

// endedInstance is runtime.Hooks.Ended: it deletes an ephemeral instance. One that
// was started again by then, or was deleted by the command that stopped it, is left
// alone, and so is one that is not ephemeral any more.
func endedInstance(ctx context.Context, about string) error {
	s, of, err := upkeepSystem(about)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, endedTime)
	defer cancel()
	in, err := s.lockInstance(ctx, of.Instance)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot delete the ephemeral instance %s: %w", of.Instance, err)
	}
	if in.rec.Ephemeral && in.openedPool.rec.Name == of.Pool && !s.isRunning(of.Instance) {
		err = s.deleteLocked(ctx, in)
	}
	return errors.Join(err, in.close())
}
