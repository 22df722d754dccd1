package pool

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"poolctl/runtime"
)

// TestStopBetweenRestarts: an instance that ends again and again, and is down most of the time, counts as one that runs, and
// a stop stops it.
func TestStopBetweenRestarts(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	busyboxInstance(t, s, "p", "c1")
	init := filepath.Join(s.dir.MountPoint("p"), "containers/c1/rootfs/sbin/init")
	ok(t, os.Remove(init), os.WriteFile(init, []byte("#!/bin/sh\nsleep 0.2\nexit 3\n"), 0o755)) //nolint:gosec // a program
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"boot.autorestart": "true"}), s.Start(ctx, "c1"))
	between := func() {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); !runtime.Restarting(s.instanceRunDir("c1")) || s.isLive("c1"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("it does not end")
			}
		}
	}
	time.Sleep(2 * time.Second) // the pauses get longer
	between()
	in, err := s.Instance(ctx, "c1")
	if err != nil || in.Status != "Starting" || in.State != nil || in.LastExit == nil || in.LastExit.Code != 3 || in.LastExit.Restarts == 0 {
		t.Errorf("shown as %s, ended by %v: %v", in.Status, in.LastExit, err)
	}
	if _, err := s.Exec(ctx, "c1", ExecOptions{Args: []string{"true"}}); !isError(err, "it has ended, and is about to be started again") {
		t.Errorf("exec: %v", err)
	}
	between()
	if err := s.Delete(ctx, "c1", false); !isError(err, "it is running") {
		t.Errorf("delete: %v", err)
	}
	if err := s.RenameInstance(ctx, "c1", "c2"); !isError(err, "it is running") {
		t.Errorf("rename: %v", err)
	}
	between()
	ok(t, s.Stop(ctx, "c1", StopOptions{}))
	if runtime.Restarting(s.instanceRunDir("c1")) || s.isRunning("c1") || recordOf(t, s, "c1").Config[powerKey] != "STOPPED" {
		t.Error("it is not stopped")
	}
	if err := s.Stop(ctx, "c1", StopOptions{}); !isError(err, "it is stopped already") {
		t.Errorf("a second stop: %v", err)
	}
}
