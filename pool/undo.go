package pool

import (
	"context"
	"errors"
	"slices"

	"poolctl/runtime"
)

// undoSteps are how to take back what a change has done so far.
type undoSteps []func(context.Context) error

// add notes how to take back what was done just now.
func (u *undoSteps) add(back func(context.Context) error) { *u = append(*u, back) }

// run takes all back, the last first, whatever fails of it.
func (u *undoSteps) run(ctx context.Context) error {
	var errs []error
	for _, back := range slices.Backward(*u) {
		errs = append(errs, back(ctx))
	}
	return errors.Join(errs...)
}

// failed takes all back because of err, also when ctx has ended, and returns that with
// what failed of it.
func (u *undoSteps) failed(ctx context.Context, err error) error {
	return errors.Join(err, u.run(context.WithoutCancel(ctx)))
}

// ifRunning is a step that does something to an instance, unless it has ended by then.
func (s *System) ifRunning(instance string, do func(context.Context, *runtime.Instance) error) func(context.Context) error {
	return func(ctx context.Context) error {
		live, err := s.runningInstance(instance)
		if errors.Is(err, runtime.ErrNotRunning) {
			return nil
		} else if err != nil {
			return err
		}
		return errors.Join(do(ctx, live), live.Close())
	}
}
