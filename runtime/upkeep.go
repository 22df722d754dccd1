package runtime

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	goruntime "runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Upkeep is what is to be done for an instance again and again while it runs, by
// whoever starts instances: this package knows nothing of it.
type Upkeep struct {
	// Watch is called in the supervisor each time that the instance has booted,
	// with Spec.Upkeep. What it returns is called every two seconds and says
	// whether there is something to do: it has to be quick, and to need no memory.
	// nil means that there never is.
	Watch func(about string) (look func() bool)
	// Act does it, in a process of its own, which ends with the supervisor; one at a
	// time. ctx ends when the instance does, and the process is killed soon after
	// that: the stop waits for it.
	Act func(ctx context.Context, about string) error
}

const (
	// upkeepPause is between two looks.
	upkeepPause = 2 * time.Second
	// upkeepEnd is how long an Act may go on after the instance has ended.
	upkeepEnd = time.Second
	// upkeepSlim is after how many looks the supervisor gives back what they took.
	upkeepSlim = 500
)

// keepUp starts the upkeep of the instance; stop ends it and waits for that.
func (s *supervisor) keepUp() (stop func()) {
	if s.spec.Upkeep == "" || s.upkeep.Watch == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.keepUpUntil(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (s *supervisor) keepUpUntil(ctx context.Context) {
	look := s.upkeep.Watch(s.spec.Upkeep)
	if look == nil {
		return
	}
	tick := time.NewTicker(upkeepPause)
	defer tick.Stop()
	told := ""
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !look() {
			if n%upkeepSlim == 0 {
				s.slimDown()
			}
			continue
		}
		problem := ""
		if err := s.act(ctx); err != nil {
			problem = err.Error()
		}
		if problem != "" && problem != told && ctx.Err() == nil {
			s.log.Print(problem) // once, not every time
		}
		told = problem
		s.slimDown()
	}
}

// act has the upkeep done by a process of this program's.
func (s *supervisor) act(ctx context.Context) error {
	// The thread that starts it is the one that it ends with.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{upkeepName, s.spec.Name, s.spec.Upkeep}
	cmd.Dir = "/"
	cmd.Stderr = &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.WaitDelay = upkeepEnd
	err := cmd.Run()
	if text := strings.TrimSpace(said.String()); text != "" && err != nil {
		err = errors.New(text)
	}
	if err != nil {
		return fmt.Errorf("upkeep: %w", err)
	}
	return nil
}

// runUpkeep is the main of the process that does it; the result is its exit
// status.
func runUpkeep(u Upkeep) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if len(os.Args) != 3 || u.Act == nil {
		return 2
	}
	if err := u.Act(ctx, os.Args[2]); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
