package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// backgroundPoll is how often it is looked whether what was started is at work.
const backgroundPoll = 50 * time.Millisecond

// inBackground runs this program with args in a session of its own, and returns when
// running says that it is at work, or when it has ended by itself; how, is this
// command's result then. Nothing of it but the process is left.
func (e *env) inBackground(ctx context.Context, args []string, running func() (bool, error)) error {
	fd, err := unix.MemfdCreate("messages", unix.MFD_CLOEXEC) // gone with the last of the two
	if err != nil {
		return fmt.Errorf("cannot start it in the background: %w", err)
	}
	messages := os.NewFile(uintptr(fd), "messages")
	defer func() { _ = messages.Close() }()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe", append([]string{"--root", e.stateDir(), "--quiet"}, args...)...)
	cmd.Args[0], cmd.Dir, cmd.Stderr = os.Args[0], "/", messages
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start it in the background: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			return backgroundEnd(err, messages)
		case <-ctx.Done():
			return errors.Join(ctx.Err(), cmd.Process.Signal(unix.SIGTERM), backgroundEnd(<-ended, messages))
		case <-time.After(backgroundPoll):
		}
		if at, err := running(); err != nil || at {
			return err
		}
	}
}

// backgroundEnd is the result of a command that ended: its messages are its error.
func backgroundEnd(err error, messages *os.File) error {
	if err == nil {
		return nil
	}
	text, rerr := io.ReadAll(io.NewSectionReader(messages, 0, 64<<10))
	said := strings.TrimPrefix(strings.TrimSpace(string(text)), "error: ")
	if said == "" {
		return errors.Join(fmt.Errorf("what was started in the background: %w", err), rerr)
	}
	message, hint, _ := strings.Cut(said, "\nhint: ")
	return &backgroundError{message, hint}
}

// backgroundError is the error of a command that ran in the background.
type backgroundError struct{ message, hint string }

func (b *backgroundError) Error() string { return b.message }

// Hint is the line to print below the error.
func (b *backgroundError) Hint() string { return b.hint }
