package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// session is where a command's standard files lead: pipes or a terminal.
type session interface {
	// files are descriptors 0, 1 and 2 of the command.
	files() [3]*os.File
	// start begins to copy, once the command runs, and closes its files here.
	start() error
	// finish takes what the command has left in pipes or terminal, stops copying
	// and restores the caller's terminal.
	finish() error
	// abort undoes all when the command could not be run.
	abort() error
}

// catchSignals collects the signals that are passed on to a command, until the
// returned function is called.
func catchSignals() (signals <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 16)
	signal.Notify(c, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2)
	return c, func() { signal.Stop(c) }
}

// superviseCommand copies and forwards until the command, a child process, has
// ended, and returns its exit code.
func superviseCommand(ctx context.Context, pid int, s session, signals <-chan os.Signal) (code int, err error) {
	done := make(chan waitResult, 1)
	// The number is the child's until it is reaped, which is this one's doing:
	// after the result nothing is sent to it any more.
	go func() { done <- waitCommand(pid) }()
	copyErr := s.start()
	ended := ctx.Done()
	passedOn, killed := false, false
	pass := func(sig os.Signal) {
		if n, ok := sig.(syscall.Signal); ok {
			sendTo(pid, n)
			passedOn = true
		}
	}
	for {
		select {
		case sig := <-signals:
			pass(sig)
		case <-ended:
			ended = nil
			if passedOn {
				continue // what ended the context, the command has got as well
			}
			select {
			case sig := <-signals:
				pass(sig)
			case <-time.After(signalGrace):
				killed = true
				sendTo(pid, unix.SIGKILL)
			}
		case res := <-done:
			err := errors.Join(copyErr, s.finish())
			if killed {
				return -1, errors.Join(ctx.Err(), err)
			}
			if err := errors.Join(res.err, err); err != nil {
				return res.code, fmt.Errorf("cannot follow the command: %w", err)
			}
			return res.code, nil
		}
	}
}

// signalGrace is how much later than the end of the context a signal may come
// that was the cause of it.
const signalGrace = 50 * time.Millisecond

// sendTo sends a signal to a child, which may just have ended.
func sendTo(pid int, sig syscall.Signal) {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // reaped
	}
	_ = unix.PidfdSendSignal(fd, sig, nil, 0) // ESRCH: ended
	_ = unix.Close(fd)                        // nothing to lose
}

type waitResult struct {
	code int
	err  error
}

func waitCommand(pid int) waitResult {
	var st unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &st, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return waitResult{-1, fmt.Errorf("cannot wait for process %d: %w", pid, err)}
		case st.Signaled():
			return waitResult{code: codeSignal + int(st.Signal())}
		default:
			return waitResult{code: st.ExitStatus()}
		}
	}
}
