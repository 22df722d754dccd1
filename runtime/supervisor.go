package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
	"poolctl/runtime/wait"
)

// starterFD is the socket to Start.
const starterFD = 3

// supervisor is one running instance's process, while it does something: see
// package wait for the rest of the time.
type supervisor struct {
	spec    Spec
	hooks   Hooks
	lock    *runLock
	group   cgroup.Group
	monitor cgroup.Group
	layout  cgroup.Layout
	state   state
	log     *log.Logger
	console console
	// rlimits and oomScore are what init gets.
	rlimits  map[string]Rlimit
	oomScore int
	// hostNS is the host's mount namespace.
	hostNS *os.File
	// down is set when the host shuts down: a reboot ends the instance then.
	down bool
	// The rest is as in a record.
	booted   time.Time
	pause    time.Duration
	restarts []time.Time
	// terminated gets SIGTERM: the host shuts down. It is looked at once the
	// instance runs.
	terminated chan os.Signal
}

func newSupervisor(hooks Hooks) *supervisor {
	return &supervisor{
		hooks: hooks, log: log.New(os.Stderr, "", log.LstdFlags|log.LUTC|log.Lmsgprefix), console: noConsole(),
		pause: firstWait, terminated: make(chan os.Signal, 1),
	}
}

// supervise is the supervisor's main; the result is its exit status.
func supervise(hooks Hooks) int {
	s := newSupervisor(hooks)
	signal.Notify(s.terminated, unix.SIGTERM)
	// Terminal and session are gone, but a kill by group may still come. Ignored, it
	// is so over an execve.
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGPIPE)
	if c, what, ok := wait.Parse(os.Args); ok {
		c.Inherit(false)
		s.log.SetPrefix(c.Name + ": ")
		if what == adopting {
			return s.adopt(c)
		}
		return s.ended(c)
	}
	starter := os.NewFile(starterFD, "starter")
	unix.CloseOnExec(starterFD)
	if err := closeStrangers(); err != nil {
		return answer(starter, err)
	}
	// Undone when the starter goes away; not bound to anything once it runs.
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	dec := json.NewDecoder(starter)
	if err := dec.Decode(&s.spec); err != nil {
		return answer(starter, fmt.Errorf("cannot read the specification: %w", err))
	}
	s.log.SetPrefix(s.spec.Name + ": ")
	go func() { // only the end of file comes
		_, _ = io.Copy(io.Discard, starter)
		cancel()
	}()
	if err := s.prepare(ctx); err != nil {
		return answer(starter, err)
	}
	init, err := s.boot(ctx)
	if err != nil {
		return answer(starter, errors.Join(err, s.cleanUp()))
	}
	if err := s.startProxies(ctx, init.pidfd); err != nil {
		return answer(starter, errors.Join(err, init.kill(), s.cleanUp()))
	}
	answer(starter, nil)
	if err := s.enterMonitor(); err != nil {
		s.log.Printf("cannot leave the starter's cgroup: %v", err)
	}
	if err := starter.Close(); err != nil {
		s.log.Print(err)
	}
	return s.waits(init.pidfd)
}

// answer tells Start how it went. When Start is gone, nobody needs to know: an
// instance that runs by then keeps running.
func answer(w io.Writer, err error) int {
	res := startResult{OK: err == nil}
	code := 0
	if err != nil {
		res.Error, code = err.Error(), 1
		var h interface{ Hint() string }
		if errors.As(err, &h) {
			res.Hint = h.Hint()
		}
	}
	_ = json.NewEncoder(w).Encode(res)
	return code
}

// closeStrangers closes descriptors that the caller's caller has left open for
// all its children, such as the lock of a shell script: the supervisor would
// keep them for as long as the instance runs. What Go itself has open is marked
// close-on-exec.
func closeStrangers() error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("cannot list the open files: %w", err)
	}
	for _, e := range entries {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err != nil || fd <= starterFD {
			continue
		}
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if err == nil && flags&unix.FD_CLOEXEC == 0 {
			_ = unix.Close(fd) // not ours
		}
	}
	return nil
}

// prepare does what is needed once, whatever number of times the instance
// reboots: the lock, the supervisor's cgroup, the console's log.
func (s *supervisor) prepare(ctx context.Context) (err error) {
	if s.lock, err = s.takeRunDir(ctx); err != nil {
		return err
	}
	if err := s.prepareLocked(); err != nil {
		return errors.Join(err, s.cleanUp())
	}
	return nil
}

func (s *supervisor) prepareLocked() (err error) {
	s.state = state{
		Name: s.spec.Name, SupervisorPID: os.Getpid(), Cgroup: s.spec.Cgroup,
		Linux32: s.spec.Linux32, Privileged: s.spec.Privileged, UIDMap: s.spec.UIDMap, GIDMap: s.spec.GIDMap,
	}
	if s.state.BootID, err = bootID(); err != nil {
		return err
	}
	if err := errors.Join(s.state.save(s.spec.RunDir), s.saveRecord()); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(s.spec.RunDir, filterFile), s.spec.Filter, 0o600); err != nil {
		return err
	}
	if err := saveDevices(s.spec.RunDir, s.spec.Devices); err != nil {
		return err
	}
	if err := prepareNICs(s.spec.RunDir, s.spec.NICs); err != nil {
		return err
	}
	if err := saveDisks(s.spec.RunDir, byDepth(s.spec.Disks)); err != nil {
		return err
	}
	if err := saveProxies(s.spec.RunDir, newProxies(s.spec.Proxies)); err != nil {
		return err
	}
	if err := saveLimits(s.spec.RunDir, s.spec.Limits); err != nil {
		return err
	}
	if err := saveEnv(s.spec.RunDir, s.spec.Env); err != nil {
		return err
	}
	if err := s.findPlaces(); err != nil {
		return err
	}
	if err := s.console.openLog(s.spec.ConsoleLog); err != nil {
		return err
	}
	return s.console.listen(s.spec.RunDir)
}

// findPlaces finds where on the host the instance is put together.
func (s *supervisor) findPlaces() (err error) {
	if s.layout, err = cgroup.Detect(); err != nil {
		return err
	}
	if s.group, err = s.layout.Group(s.spec.Cgroup); err != nil {
		return err
	}
	if s.monitor, err = s.layout.Tracking().Group(s.spec.Cgroup + monitorSuffix); err != nil {
		return err
	}
	if s.hostNS, err = os.Open("/proc/self/ns/mnt"); err != nil {
		return fmt.Errorf("cannot open the mount namespace: %w", err)
	}
	return nil
}

// monitorSuffix makes the name of the supervisor's own cgroup. No instance's
// name contains a dot.
const monitorSuffix = ".monitor"

// takeRunDir locks the run directory. Somebody else holds it while the instance
// runs, or while it is being cleaned up, which is waited for. What a supervisor
// that was killed has left is removed.
func (s *supervisor) takeRunDir(ctx context.Context) (*runLock, error) {
	if inst, err := Open(s.spec.RunDir); err == nil {
		return nil, errors.Join(errors.New("it is running already"), inst.Close())
	}
	wait, cancel := context.WithTimeout(ctx, undoTime)
	defer cancel()
	lock, err := lockRunDir(wait, s.spec.RunDir, true)
	if errors.Is(err, errLocked) {
		return nil, errors.New("it is being started or stopped by another process")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lock the run directory: %w", err)
	}
	st, err := loadState(s.spec.RunDir)
	if errors.Is(err, os.ErrNotExist) {
		return lock, nil
	}
	if err == nil {
		if fd, ierr := st.openInit(); ierr == nil {
			return nil, errors.Join(errors.New("it is running already"), unix.Close(fd), lock.release())
		}
	}
	if err := clean(ctx, s.spec.RunDir, st, s.spec.Cgroup); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot remove what is left of the last run: %w", err), lock.release())
	}
	return lock, nil
}

// cleanUp removes all of the instance but the supervisor itself.
func (s *supervisor) cleanUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), undoTime)
	defer cancel()
	err := clean(ctx, s.spec.RunDir, s.state, s.spec.Cgroup)
	if lerr := s.leaveMonitor(); lerr != nil {
		err = errors.Join(err, lerr)
	}
	if err != nil {
		// The directory stays, unlocked, for the next sweep to try again.
		return errors.Join(err, s.lock.release())
	}
	if err := s.lock.remove(); err != nil {
		return err
	}
	if s.spec.Limits.CPUCount > 0 || s.spec.Limits.CPUs != "" { // others may have its processors
		return balance(filepath.Dir(s.spec.RunDir))
	}
	return nil
}

// enterMonitor moves the supervisor out of the cgroup of whoever started the
// instance: a service manager would end it with that session or service. In the
// root nobody looks for it. It is done after the start has been reported: to
// move a process with many threads takes a lock against all forks, which costs
// an RCU grace period, some 8 ms.
func (s *supervisor) enterMonitor() error {
	tracked, err := s.layout.Tracking().Tracked()
	if err != nil || !tracked {
		return err
	}
	if err := s.monitor.Create(0, 0); err != nil {
		return err
	}
	return s.monitor.EnterPID(os.Getpid())
}

// leaveMonitor removes the supervisor's own cgroup.
func (s *supervisor) leaveMonitor() error {
	if s.monitor.Path() == "" || !s.monitor.Exists() {
		return nil
	}
	if err := s.layout.Tracking().EnterRoot(os.Getpid()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return s.monitor.Remove(ctx)
}
