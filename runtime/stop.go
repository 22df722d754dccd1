package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
)

// StopOptions say how to stop.
type StopOptions struct {
	// Force ends all processes at once.
	Force bool
	// Timeout bounds a clean stop; 0 means no bound but the context's.
	Timeout time.Duration
}

// Stop stops the instance and returns when it has been cleaned up: nothing of it
// is left then. A clean stop sends the signal that the instance's kind of init
// takes as a request to power off. When it takes longer than the timeout, the
// instance keeps running and the error is ErrTimeout.
func (i *Instance) Stop(ctx context.Context, o StopOptions) error {
	note, err := i.announceStop(o.Force)
	if err != nil {
		return err
	}
	defer func() { _ = note.Close() }() // it is only locked
	if err := i.end(ctx, o); err != nil {
		return err
	}
	reason := ExitPoweredOff
	if o.Force {
		reason = ExitForced
	}
	again, err := i.awaitCleanUp(reason)
	if again == nil {
		return err
	}
	// It had begun to reboot before it could be told not to.
	return errors.Join(again.Stop(ctx, o), again.Close())
}

// announceStop tells the supervisor that somebody stops the instance: a reboot
// that the instance asks for just now must not bring it back. The note is a
// shared lock, which ends with this process if it is killed; nil when there is
// no run directory any more.
func (i *Instance) announceStop(force bool) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(i.dir, stopFile), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot announce the stop: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot announce the stop: %w", err), f.Close())
	}
	if force {
		if _, err := f.Write([]byte{forced}); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot announce the stop: %w", err), f.Close())
		}
	}
	return f, nil
}

// forced is in the file of a stop with force.
const forced = 'f'

// stopAnnounced is the supervisor's side of announceStop.
func stopAnnounced(runDir string) (stopped, force bool) {
	f, err := os.OpenFile(filepath.Join(runDir, stopFile), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false, false
	}
	defer func() { _ = f.Close() }() // ends the lock
	var how [1]byte
	n, _ := f.Read(how[:])
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK), n == 1 && how[0] == forced
}

// end ends the instance's init, one way or the other.
func (i *Instance) end(ctx context.Context, o StopOptions) error {
	if o.Force {
		return i.kill(ctx)
	}
	wait := ctx
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		wait, cancel = context.WithTimeoutCause(ctx, o.Timeout, ErrTimeout)
		defer cancel()
	}
	kind, err := i.kind()
	if err != nil {
		return err
	}
	ending := func() {}
	if kind.lingers {
		ending = i.watchBusybox(wait)
	}
	err = i.askToStop(wait)
	if err == nil && kind.runlevels {
		i.tellInit(wait)
	}
	if err == nil {
		err = waitEnd(wait, i.pidfd)
	}
	ending()
	if err != nil && wait.Err() != nil {
		err = context.Cause(wait)
	}
	return err
}

// awaitCleanUp returns when the supervisor is done. When that has been killed,
// it does the supervisor's work, and notes the reason. When the supervisor has started the instance
// once more, it returns that.
func (i *Instance) awaitCleanUp(reason ExitReason) (again *Instance, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), finishTime)
	defer cancel()
	for {
		lock, err := tryLock(i.dir, false)
		if errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		if err == nil {
			_, _, err := finish(ctx, lock, i.state, i.state.Cgroup, Exit{At: time.Now().UTC(), Reason: reason})
			return nil, err
		}
		if !errors.Is(err, errLocked) {
			return nil, err
		}
		if now, err := Open(i.dir); err == nil && now.state.InitPID != i.state.InitPID {
			if now.state.SupervisorPID == i.state.SupervisorPID {
				return now, nil
			}
			return nil, now.Close() // started anew by somebody else
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("the instance has stopped, but its supervisor does not finish")
		case <-time.After(lockPoll):
		}
	}
}

// initKind says how an init is asked to power off.
type initKind struct {
	signal unix.Signal
	// lingers says that it sleeps for nothing before it powers off, see
	// waitBusybox.
	lingers bool
	// runlevels says that it can also be told by telinit.
	runlevels bool
}

// kinds maps the name of the program that runs as PID 1, without directory, to
// what it understands: systemd starts poweroff.target's sibling halt.target on
// SIGRTMIN+3 (man systemd, "Signals"); busybox powers off on SIGUSR2 (its
// init/init.c). Everything else gets SIGPWR, as from LXC (man
// lxc.container.conf, lxc.signal.halt): images for containers have a powerfail
// action for it. Debian's sysvinit as it is has none: it is told by telinit.
var kinds = map[string]initKind{
	"systemd": {signal: unix.Signal(sigRTMin + 3)},
	"busybox": {signal: unix.SIGUSR2, lingers: true},
	"init":    {signal: unix.SIGPWR, runlevels: true},
}

// sigRTMin is SIGRTMIN as C libraries have it, which is not the kernel's 32.
const sigRTMin = 34

// How often it is looked whether init is ready for its signal, and how often it
// is sent to one that does not seem to be.
const (
	signalPoll   = 5 * time.Millisecond
	signalRepeat = 100 * time.Millisecond
)

// askToStop sends the signal. The kernel drops signals to a pid namespace's init
// that it does not handle (man pid_namespaces), as it does not yet right after
// its start; so unless a handler can be seen, the signal is sent again until the
// init ends. One that fetches its signals by sigtimedwait, as busybox does,
// cannot be told from that while it waits, and is not disturbed by more of them.
func (i *Instance) askToStop(ctx context.Context) error {
	if err := i.Resume(); err != nil { // it would not get the signal
		if _, none := errors.AsType[*cgroup.MissingError](err); !none {
			return err
		}
	}
	var last time.Time
	for !ended(i.pidfd) {
		kind, err := i.kind()
		if err != nil {
			return err
		}
		ready, err := i.handles(kind.signal)
		if err != nil {
			return err
		}
		if ready || time.Since(last) >= signalRepeat {
			err := unix.PidfdSendSignal(i.pidfd, kind.signal, nil, 0)
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("cannot send a signal to the instance's init: %w", err)
			}
			last = time.Now()
		}
		if ready {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(signalPoll):
		}
	}
	return nil
}

// tellInit asks a sysvinit for runlevel 0 (man telinit). An init of that name
// that is none has no telinit, and has had its signal.
func (i *Instance) tellInit(ctx context.Context) {
	_, _ = i.Exec(ctx, ExecOptions{Args: []string{"/sbin/telinit", "0"}}) // it has ended, or has none
}

// kind looks at the file that PID 1 executes. The name is the instance's word,
// and decides nothing but which signal it gets.
func (i *Instance) kind() (initKind, error) {
	exe, err := os.Readlink(i.proc("exe"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return initKind{}, fmt.Errorf("cannot look at the instance's init: %w", err)
	}
	name := strings.TrimSuffix(path.Base(exe), " (deleted)")
	if k, ok := kinds[name]; ok {
		return k, nil
	}
	return initKind{signal: unix.SIGPWR}, nil
}

// handles reports whether init catches the signal, or blocks it to fetch it by
// sigwait or signalfd.
func (i *Instance) handles(sig unix.Signal) (bool, error) {
	data, err := os.ReadFile(i.proc("status"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return true, nil // it has ended: so says the signal, too
	}
	if err != nil {
		return false, fmt.Errorf("cannot look at the instance's init: %w", err)
	}
	return handlesSignal(string(data), sig), nil
}

// handlesSignal looks into a /proc/PID/status (man proc_pid_status).
func handlesSignal(status string, sig unix.Signal) bool {
	return signalIn(status, "SigCgt", sig) || signalIn(status, "SigBlk", sig)
}

// signalIn looks into one mask of a /proc/PID/status.
func signalIn(status, mask string, sig unix.Signal) bool {
	for line := range strings.Lines(status) {
		if key, value, _ := strings.Cut(line, ":"); key == mask {
			bits, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			return err == nil && bits&(1<<(uint(sig)-1)) != 0
		}
	}
	return false
}

func (i *Instance) proc(file string) string {
	return "/proc/" + strconv.Itoa(i.state.InitPID) + "/" + file
}
