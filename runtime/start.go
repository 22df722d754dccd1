package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/wait"
)

// undoTime bounds what is cleaned up after a failure or a stop.
const undoTime = 10 * time.Second

// finishTime bounds how long it is waited for a supervisor whose instance has ended:
// on a machine that has much else to do, it may come late to its end.
const finishTime = time.Minute

// startResult is the supervisor's answer.
type startResult struct {
	OK    bool   `json:"ok,omitempty"`
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Start starts an instance and returns once its own init has been executed as
// PID 1. On failure, or when ctx ends before that, everything is undone. An
// instance that is being cleaned up is waited for; one that runs is an error.
func Start(ctx context.Context, spec Spec) error {
	if err := spec.validate(); err != nil {
		return err
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	defer func() { _ = ours.Close() }() // all that matters has been read
	cmd, err := startSupervisor(spec, theirs)
	if err != nil {
		return errors.Join(err, theirs.Close())
	}
	ended := make(chan struct{})
	go func() { // it outlives the caller, whose child it is as long as both live
		_ = cmd.Wait()
		close(ended)
	}()
	if err := theirs.Close(); err != nil {
		return fmt.Errorf("cannot talk to the supervisor: %w", err)
	}
	told := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = unix.Shutdown(int(ours.Fd()), unix.SHUT_WR) // tells it to give up
		close(told)
	})
	defer func() {
		if !stop() {
			<-told // before the socket is closed
		}
	}()
	var res startResult
	err = json.NewEncoder(ours).Encode(spec)
	if err == nil {
		err = json.NewDecoder(ours).Decode(&res)
	}
	if res.OK {
		return nil
	}
	// It has undone everything, and ends.
	select {
	case <-ended:
	case <-time.After(undoTime):
	}
	switch {
	case res.Error != "" && ctx.Err() != nil:
		return errors.Join(ctx.Err(), errors.New(res.Error))
	case res.Hint != "":
		return &hintError{res.Error, res.Hint}
	case res.Error != "":
		return errors.New(res.Error)
	}
	return supervisorDied(spec, err)
}

// supervisorDied undoes what a supervisor has made that ended without an answer.
func supervisorDied(spec Spec, cause error) error {
	if errors.Is(cause, io.EOF) {
		cause = errors.New("the supervisor process ended unexpectedly")
	}
	if spec.LogFile != "" {
		cause = fmt.Errorf("%w (see %s)", cause, spec.LogFile)
	}
	ctx, cancel := context.WithTimeout(context.Background(), undoTime)
	defer cancel()
	lock, err := lockRunDir(ctx, spec.RunDir, false)
	if errors.Is(err, os.ErrNotExist) {
		return cause
	}
	if err != nil {
		return errors.Join(cause, err)
	}
	_, _, err = sweepLocked(ctx, lock, spec.Cgroup)
	return errors.Join(cause, err)
}

func socketPair() (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket: %w", err)
	}
	return os.NewFile(uintptr(fds[0]), "supervisor"), os.NewFile(uintptr(fds[1]), "starter"), nil
}

// startSupervisor executes this program again, away from the caller's terminal,
// session, directory and files.
func startSupervisor(spec Spec, sock *os.File) (*exec.Cmd, error) {
	log, err := openLog(spec.LogFile)
	if err != nil {
		return nil, fmt.Errorf("cannot open the instance's log: %w", err)
	}
	defer func() { _ = log.Close() }()                                 // the supervisor has it
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe") // it outlives the caller
	cmd.Args = []string{wait.Name, spec.Name}
	cmd.Dir = "/"
	// The process is idle nearly all of its life: one thread for Go code; and it
	// executes itself anew before it is, which frees all there is (package wait).
	cmd.Env = append(os.Environ(), supervisorEnv...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.ExtraFiles = []*os.File{sock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot start the supervisor: %w", err)
	}
	return cmd, nil
}

var supervisorEnv = []string{"GOMAXPROCS=1", "GOGC=off"}

// maxLog is the size above which a log is moved aside, to the same name with
// ".old".
const maxLog = 1 << 20

// openLog opens a log for appending; /dev/null when there is to be none.
func openLog(path string) (*os.File, error) {
	if path == "" {
		return os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	}
	if st, err := os.Lstat(path); err == nil && st.Size() > maxLog {
		if err := os.Rename(path, path+".old"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
}
