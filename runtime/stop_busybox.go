package runtime

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// busyboxPoll is how often a busybox init that powers off is looked at.
const busyboxPoll = 20 * time.Millisecond

// watchBusybox ends a busybox init early when it powers off, and returns a
// function that ends the watch. Having run its shutdown actions and sent SIGTERM
// and SIGKILL to all processes, it sleeps a second after each (init/init.c,
// run_shutdown_and_kill_processes), for the sake of disks and drivers that are
// not an instance's business. There is nothing to wait for when both hold:
// it has begun to shut down, which shows in that it gave up the handler of
// SIGTSTP that it had before, and every other process of the instance is gone,
// in two looks in a row. An init of that name that does not behave so is waited
// for as any other.
func (i *Instance) watchBusybox(ctx context.Context) func() {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for alone, had := 0, false; alone < 2; {
			caught, err := i.catches(unix.SIGTSTP)
			if err != nil {
				return
			}
			had = had || caught
			alone++
			if !had || caught || !i.alone() {
				alone = 0
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(busyboxPoll):
			}
		}
		_ = unix.PidfdSendSignal(i.pidfd, unix.SIGKILL, nil, 0) // ESRCH: it has ended
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// catches reports whether init has a handler for the signal.
func (i *Instance) catches(sig unix.Signal) (bool, error) {
	data, err := os.ReadFile(i.proc("status"))
	if err != nil {
		return false, err
	}
	if ended(i.pidfd) {
		return false, errors.New("init has ended")
	}
	return signalIn(string(data), "SigCgt", sig), nil
}

// alone reports whether init is the only process of the instance.
func (i *Instance) alone() bool {
	g, err := i.group()
	if err != nil {
		return false
	}
	n, err := g.Count()
	return err == nil && n == 1
}
