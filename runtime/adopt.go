package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"poolctl/runtime/wait"
)

// adopting is the word for wait.Parse: the supervisor takes the place of another
// that was killed.
const adopting = "adopts"

// startAdopter starts a supervisor for a running instance that has none, and
// hands over the lock, which ends with this process otherwise.
func startAdopter(lock *runLock) error {
	rec, err := loadRecord(lock.dir)
	if err != nil {
		return err
	}
	log, err := openLog(rec.Spec.LogFile)
	if err != nil {
		return fmt.Errorf("cannot open the instance's log: %w", err)
	}
	defer func() { _ = log.Close() }() // the supervisor has it
	c := wait.Config{
		Name: rec.Spec.Name, RunDir: lock.dir, Lock: 3,
		Init: -1, Console: -1, Slave: -1, LogFile: -1, Listener: -1, Client: -1,
	}
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe") // it outlives the caller
	cmd.Args, cmd.Dir = c.Args(adopting), "/"
	cmd.Env = append(os.Environ(), supervisorEnv...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{lock.file}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start a supervisor for %s: %w", rec.Spec.Name, err)
	}
	go func() { _ = cmd.Wait() }() // it outlives the caller, whose child it is as long as both live
	return nil
}

// adopt is the main of such a supervisor. Its instance's init is not its child:
// how that ends only newer kernels tell. The console went with the supervisor
// before, which held it.
func (s *supervisor) adopt(c wait.Config) int {
	s.lock = &runLock{dir: c.RunDir, file: os.NewFile(uintptr(c.Lock), "lock")} //nolint:gosec // a descriptor
	if err := closeStrangers(); err != nil {
		s.log.Print(err)
	}
	if err := s.restore(c.RunDir); err != nil {
		s.log.Printf("cannot take the place of its supervisor: %v", err)
		return 1
	}
	pidfd, err := s.state.openInit()
	if errors.Is(err, ErrNotRunning) {
		return s.finish(exitOf(0, false, 0), EndedByOthers) // just now
	}
	if err != nil {
		s.log.Printf("cannot take the place of its supervisor: %v", err)
		return 1
	}
	s.state.SupervisorPID, s.state.NoConsole = os.Getpid(), true
	if err := s.state.save(s.spec.RunDir); err != nil {
		s.log.Print(err)
		return 1
	}
	if err := s.console.listenAgain(s.spec.RunDir); err != nil {
		s.log.Print(err)
	}
	if err := s.enterMonitor(); err != nil {
		s.log.Printf("cannot leave the starter's cgroup: %v", err)
	}
	s.log.Print("its supervisor was killed: another one takes its place, without its console")
	return s.waitsSince(pidfd, s.booted)
}

// listenAgain makes the console's socket anew: it serves from the next boot on.
func (c *console) listenAgain(runDir string) error {
	if err := os.Remove(runDir + "/" + wait.ConsoleSocket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot make the console's socket: %w", err)
	}
	return c.listen(runDir)
}
