package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/fixtures"
)

// withBusybox is a host with an image bb.
func withBusybox(t *testing.T) *host {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("image", "pull", "m:busybox", "--alias", "bb")
	return h
}

// supervisorOf is the process of a running instance's supervisor.
func (h *host) supervisorOf(name string) int {
	h.t.Helper()
	procs, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		h.t.Fatal(err)
	}
	for _, p := range procs {
		args, _ := os.ReadFile(p) // it may have ended
		f := strings.Split(string(args), "\x00")
		if len(f) > 3 && f[0] == "poolctl-supervisor" && f[1] == name && slices.Contains(f, "rundir="+filepath.Join(h.state, "run/instances", name)) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
			if err != nil {
				h.t.Fatal(err)
			}
			return pid
		}
	}
	h.t.Fatalf("%s has no supervisor", name)
	return 0
}

// TestConsoleCommand: a console, its log, and who may not have it.
func TestConsoleCommand(t *testing.T) {
	h := withBusybox(t)
	h.ok("init", "bb", "c1")
	h.fails(1, `cannot attach to the console of c1: it is stopped\nhint: poolctl start --console c1, or poolctl console --show-log c1`, "console", "c1")
	h.fails(1, `cannot find instance "c2": not found`, "console", "c2")
	h.fails(2, `--escape "qq" is neither a letter nor none`, "console", "--escape", "qq", "c1")
	h.ok("start", "c1")
	h.ok("exec", "c1", "--", "sh", "-c", "echo written to it > /dev/console")
	h.eventually("written to it", "console", "--show-log", "c1")
	h.okStdin("", "console", "c1")
	// Without its supervisor all goes on but the console.
	if err := unix.Kill(h.supervisorOf("c1"), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.ok("list")
	h.ok("exec", "c1", "--", "true")
	h.fails(1, `cannot attach to the console of c1: its console was lost with its supervisor, which was killed\nhint: poolctl exec c1 -- sh works`, "console", "c1")
	h.ok("stop", "--force", "c1")
	h.matches(`(?m)^Last Exit: stopped by force \(`, "info", "c1")
	h.matches("written to it", "console", "--show-log", "c1")
	// The end from inside is seen at once.
	h.ok("start", "c1")
	h.run("exec", "c1", "--", "poweroff", "-f")
	began := time.Now()
	h.eventually("STOPPED", "list", "c1")
	t.Logf("seen by list after %s", time.Since(began))
	h.eventually(`(?m)^Last Exit: powered off \(`, "info", "c1")
	h.ok("delete", "c1")
	if left, _ := filepath.Glob(filepath.Join(h.state, "logs/c1*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestEphemeral: gone when it stops, by whomever, and not by a restart.
func TestEphemeral(t *testing.T) {
	h := withBusybox(t)
	gone := func(name string) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); slices.Contains(h.names("list"), name); time.Sleep(50 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s is still there", name)
			}
		}
	}
	h.ok("init", "--ephemeral", "bb", "e1")
	h.matches(`e1 .*CONTAINER \(EPHEMERAL\)`, "list")
	h.ok("start", "e1")
	h.ok("restart", "--force", "e1")
	h.matches(`e1 .*RUNNING`, "list")
	h.run("exec", "e1", "--", "poweroff", "-f")
	gone("e1")
	h.ok("launch", "-e", "bb", "e2")
	h.ok("stop", "--force", "e2")
	if slices.Contains(h.names("list"), "e2") {
		t.Error("e2 is there after its stop")
	}
	// Supervisor and init killed: the next command sees to it.
	h.ok("launch", "-e", "bb", "e3")
	pid := h.instances()["e3"].State.PID
	for _, p := range []int{h.supervisorOf("e3"), pid} {
		if err := unix.Kill(p, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	gone("e3")
}
