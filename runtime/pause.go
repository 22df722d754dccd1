package runtime

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// ErrPaused says that an instance does nothing until it is resumed.
var ErrPaused = errors.New("the instance is paused")

// pauseTime bounds how long an instance may take to stop where it is: a process
// that waits for a disk or a file server cannot be stopped.
const pauseTime = 10 * time.Second

// Pause stops all processes of the instance where they are. That it is paused is
// known to the kernel alone. When not all stop in time, they go on, which is an
// error.
func (i *Instance) Pause(ctx context.Context) error {
	g, err := i.group()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, pauseTime, errors.New("some processes do not stop"))
	defer cancel()
	return g.Freeze(ctx)
}

// Resume lets the processes go on.
func (i *Instance) Resume() error {
	g, err := i.group()
	if err != nil {
		return err
	}
	return g.Thaw()
}

// Paused says whether Pause is in effect.
func (i *Instance) Paused() (bool, error) {
	g, err := i.group()
	if err != nil {
		return false, err
	}
	return g.Frozen()
}

// kill ends the instance's init and waits until it is gone. What is frozen, by
// Pause or by the instance itself, has to be thawed for that with v1, and can
// freeze others until it has died.
func (i *Instance) kill(ctx context.Context) error {
	g, err := i.group()
	if err != nil {
		return err
	}
	for {
		if err := unix.PidfdSendSignal(i.pidfd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		if err := g.ThawAll(); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(ctx, thawAgain)
		err := waitEnd(short, i.pidfd)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// thawAgain is how often.
const thawAgain = 200 * time.Millisecond
