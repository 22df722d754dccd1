package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"
)

// TestCancelledBy: the first signal cancels, and is told of as an interruption whatever
// tells it; the second one ends.
func TestCancelledBy(t *testing.T) { synctest.Test(t, testCancelledBy) }

func testCancelledBy(t *testing.T) { // in a time of its own
	signals, ended := make(chan os.Signal), make(chan os.Signal, 2)
	ctx := cancelledBy(signals, func(s os.Signal) { ended <- s })
	if ctx.Err() != nil {
		t.Fatal("cancelled before")
	}
	signals <- os.Interrupt
	<-ctx.Done()
	e, _, stderr := testEnv(t)
	if e.exitCode(fmt.Errorf("cannot import: %w", context.Cause(ctx))); stderr() != "error: cannot import: interrupted\n" {
		t.Errorf("it says %q", stderr())
	}
	signals <- unix.SIGTERM // at once: the same
	time.Sleep(2 * sameSignal)
	signals <- unix.SIGTERM
	if s := <-ended; s != unix.SIGTERM || len(ended) > 0 {
		t.Errorf("ended by %v, %d more", s, len(ended))
	}
}

// TestSecondSignal: the second signal ends the program, also one that whoever started it ignores, as a shell does SIGINT in the
// background; a shell has the exit code 128 and the signal for both.
func TestSecondSignal(t *testing.T) {
	program := filepath.Join(t.TempDir(), "poolctl")
	copySelf(t, program)
	for _, sig := range []syscall.Signal{unix.SIGINT, unix.SIGTERM} {
		for start, first := range map[string]string{"default": "", "ignored": `trap "" INT TERM; `} {
			t.Run(fmt.Sprintf("%s %s", sig, start), func(t *testing.T) {
				t.Parallel()
				cmd := exec.Command("sh", "-c", first+`exec "$0" profile create x`, program)
				testSecondSignal(t, cmd, sig)
			})
		}
	}
}

func testSecondSignal(t *testing.T, cmd *exec.Cmd, sig syscall.Signal) {
	cmd.Env = append(os.Environ(), "POOLCTL_DIR="+filepath.Join(t.TempDir(), "state"))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	_, err := cmd.StdinPipe() // it waits for what comes
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
	time.Sleep(time.Second)
	for range 2 {
		_ = cmd.Process.Signal(sig) // one that has ended fails below
		time.Sleep(2 * sameSignal)
	}
	_ = cmd.Wait() // the state says it
	stuck.Stop()
	code := cmd.ProcessState.ExitCode()
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		code = 128 + int(status.Signal())
	}
	if code != 128+int(sig) || !strings.Contains(stderr.String(), "ended at once") {
		t.Errorf("exit code %d, %q", code, stderr.String())
	}
}
