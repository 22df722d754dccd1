package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/wait"
)

// Restarts: an instance that reboots sooner than quickBoot after its start is
// started again only after a pause, which doubles up to slowest.
const (
	quickBoot = 2 * time.Second
	firstWait = 100 * time.Millisecond
	slowest   = 10 * time.Second
)

// An instance that ends unexpectedly is started again at most so often within a
// minute (Spec.AutoRestart), as by Incus (boot.autorestart).
const (
	maxRestarts   = 10
	restartWindow = time.Minute
)

// waits becomes the process that waits for the end of the init with the pidfd,
// which was executed just now.
func (s *supervisor) waits(pidfd int) int { return s.waitsSince(pidfd, time.Now()) }

func (s *supervisor) waitsSince(pidfd int, booted time.Time) int {
	s.booted = booted
	if err := s.saveRecord(); err != nil {
		s.log.Print(err) // who goes on finds what was true before
	}
	c := wait.Config{
		Name: s.spec.Name, RunDir: s.spec.RunDir, Log: s.spec.ConsoleLog,
		Init: pidfd, Lock: int(s.lock.file.Fd()), Console: s.console.master, Slave: s.console.slave,
		LogFile: s.console.log, Listener: s.console.listener, Client: s.console.client,
	}
	upkeep, err := s.lookFirst()
	if err != nil {
		s.log.Print(err)
	}
	if upkeep {
		c.Upkeep = 1
	}
	// One that comes now is lost, instead of the end of this process, until package
	// wait can take it: some milliseconds.
	signal.Ignore(unix.SIGTERM)
	if s.isDown() {
		c.Down = 1
	}
	if err := c.Exec(wait.Waiting); err != nil {
		s.log.Printf("cannot execute itself, and waits in this process: %v", err)
	}
	signal.Notify(s.terminated, unix.SIGTERM)
	wait.Run(c, s.terminations())
	goruntime.KeepAlive(s) // its files
	return 1
}

// isDown says whether the host shuts down.
func (s *supervisor) isDown() bool {
	select {
	case <-s.terminated:
		s.down = true
	default:
	}
	return s.down
}

// terminations is a descriptor that becomes readable at a SIGTERM.
func (s *supervisor) terminations() int {
	event, err := newEvent()
	if err != nil {
		s.log.Print(err)
		return -1
	}
	go func() {
		for range s.terminated {
			_ = signalEvent(event) // it counts
		}
	}()
	return int(event.Fd())
}

// ended goes on when the process that waited has found that init has ended.
func (s *supervisor) ended(c wait.Config) int {
	s.lock = &runLock{dir: c.RunDir, file: os.NewFile(uintptr(c.Lock), "lock")} //nolint:gosec // a descriptor
	s.console = console{master: c.Console, slave: c.Slave, log: c.LogFile, listener: c.Listener, client: c.Client}
	s.down = c.Down != 0
	err := s.restore(c.RunDir)
	if err != nil {
		// The run directory stays, unlocked, for the next command to clean up.
		s.log.Printf("cannot go on: %v", err)
		return 1
	}
	st, known := statusOf(s.state, c.Init)
	_ = unix.Close(c.Init) // it has ended
	ooms, err := s.group.OOMKills()
	if err != nil {
		s.log.Print(err)
	}
	stopped, force := stopAnnounced(s.spec.RunDir)
	exit := exitOf(st, known, ooms)
	switch {
	case stopped && force:
		exit.Reason, exit.Signal = ExitForced, 0
	case stopped: // busybox is not waited for to the end, see watchBusybox
		exit.Reason, exit.Signal, exit.Code = ExitPoweredOff, 0, 0
	}
	if pause, again := s.again(&exit, stopped || s.isDown()); again {
		if exit.Reason != ExitRebooted { // for those who look in the meantime
			if err := exit.save(s.spec.ExitFile); err != nil {
				s.log.Print(err)
			}
		}
		if stopped = s.stoppedWithin(pause); !stopped {
			init, err := s.reboot()
			if err == nil {
				return s.waits(init.pidfd)
			}
			s.log.Printf("cannot start again: %v", err)
		}
	}
	how := EndedByItself
	if stopped || s.isDown() {
		how = EndedByOthers
	}
	return s.finish(exit, how)
}

// restore finds again what is not in the arguments.
func (s *supervisor) restore(runDir string) (err error) {
	rec, err := loadRecord(runDir)
	if err != nil {
		return err
	}
	s.spec, s.booted, s.pause, s.restarts = rec.Spec, rec.Booted, rec.Pause, rec.Restarts
	if s.state, err = loadState(runDir); err != nil {
		return fmt.Errorf("cannot read the instance's state: %w", err)
	}
	return s.findPlaces()
}

// again says whether to start the instance again, and after what pause.
func (s *supervisor) again(exit *Exit, wanted bool) (pause time.Duration, again bool) {
	if wanted || exit.Reason != ExitRebooted && (!s.spec.AutoRestart || !exit.unexpected()) {
		return 0, false
	}
	if exit.Reason != ExitRebooted {
		now := time.Now()
		s.restarts = slices.DeleteFunc(s.restarts, func(t time.Time) bool { return now.Sub(t) > restartWindow })
		exit.Restarts = len(s.restarts)
		if len(s.restarts) >= maxRestarts {
			s.log.Printf("not started again: it was %d times within a minute; %s", maxRestarts, exit)
			return 0, false
		}
		s.restarts = append(s.restarts, now)
		s.log.Printf("started again: %s", exit)
	}
	if time.Since(s.booted) >= quickBoot {
		s.pause = firstWait
		return 0, true
	}
	pause = s.pause
	s.pause = min(2*s.pause, slowest)
	return pause, true
}

// reboot takes down what belonged to the last run, and boots.
func (s *supervisor) reboot() (*process, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	s.state.InitPID, s.state.InitStart, s.state.Ready, s.state.NoConsole = 0, 0, false, false
	if err := s.state.save(s.spec.RunDir); err != nil {
		return nil, err
	}
	if err := clean(ctx, s.spec.RunDir, s.state, s.spec.Cgroup); err != nil {
		return nil, err
	}
	if err := s.console.openLog(s.spec.ConsoleLog); err != nil {
		s.log.Print(err)
	}
	init, err := s.boot(ctx)
	if err == nil {
		if perr := s.startProxies(ctx, init.pidfd); perr != nil { // the process that waits has it tried again
			s.log.Print(perr)
		}
	}
	return init, err
}

// finish is the end of the instance.
func (s *supervisor) finish(exit Exit, how EndKind) int {
	code := 0
	if err := exit.save(s.spec.ExitFile); err != nil {
		s.log.Print(err)
	}
	s.console.close()
	if err := s.cleanUp(); err != nil {
		s.log.Printf("cannot clean up: %v", err)
		code = 1
	}
	if s.hooks.Ended != nil && s.spec.About != "" && (s.spec.TellEnd || how == EndedByItself) {
		debug.SetGCPercent(100) // unlike all before, this may take much
		if err := s.hooks.Ended(context.Background(), s.spec.About, how); err != nil {
			s.log.Print(err)
			code = 1
		}
	}
	return code
}

func (s *supervisor) saveRecord() error {
	return record{s.spec, s.booted, s.pause, s.restarts}.save()
}

// runStopper is the main of the process that asks the instance to stop, on behalf
// of a host that shuts down; the result is its exit status.
func runStopper() int {
	err := errors.New("invalid arguments")
	if len(os.Args) >= 3 {
		err = askToStopIn(os.Args[2])
	}
	if err != nil && !errors.Is(err, ErrNotRunning) {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func askToStopIn(runDir string) error {
	inst, err := Open(runDir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(inst.askToStop(ctx), inst.Close())
}
