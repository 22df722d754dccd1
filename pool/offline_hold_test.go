package pool

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLockOfGone: the lock of a process that was killed is had by its child until that has ended, or executed a program;
// one of a process that lives is left alone.
func TestLockOfGone(t *testing.T) {
	own, err := ownProcessID()
	if err != nil {
		t.Fatal(err)
	}
	if !own.alive() {
		t.Errorf("%+v does not live", own)
	}
	gone := processID{own.PID, own.Start + "0"} // of a process that had this number before
	if gone.alive() {
		t.Errorf("%+v lives", gone)
	}
	for _, c := range []struct {
		owner processID
		held  bool
	}{{gone, true}, {own, false}} {
		path := filepath.Join(t.TempDir(), "hold")
		note, err := json.Marshal(offlineNote{Ref: "c1", Owner: c.owner})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, note, 0o600); err != nil {
			t.Fatal(err)
		}
		lockedByChild(t, path)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		if held, err := lockOfGone(ctx, f, path); held != c.held || err != nil {
			t.Errorf("%+v: %v, %v", c.owner, held, err)
		}
		cancel()
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// lockedByChild leaves the lock of a file to a child that soon ends.
func lockedByChild(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }() // the child has it
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "0.3")
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}
