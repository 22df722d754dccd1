package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"poolctl/fixtures"
)

// poolStates are the states of the pools by name.
func (h *host) poolStates() map[string]string {
	h.t.Helper()
	var list []struct{ Name, Status string }
	h.json(&list, "pool", "list")
	out := map[string]string{}
	for _, p := range list {
		out[p.Name] = p.Status
	}
	return out
}

// TestAttachAll attaches and detaches all pools, as a machine does when it starts and ends: one that cannot be attached
// is named, and the others are.
func TestAttachAll(t *testing.T) {
	h := newHost(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		h.ok("pool", "create", name, "size=120MiB")
	}
	h.ok("pool", "detach", "d")
	h.ok("pool", "detach", "--all")
	if got := h.poolStates(); got["a"] != "Detached" || got["b"] != "Detached" {
		t.Errorf("after detach --all: %v", got)
	}
	file := filepath.Join(h.state, "disks/b.img")
	if err := os.Rename(file, file+".away"); err != nil {
		t.Fatal(err)
	}
	h.fails(1, `(?m)^error: .*pool b: .*b\.img is gone`, "pool", "attach", "--all")
	if got := h.poolStates(); got["a"] != "Created" || got["b"] != "Unavailable" || got["c"] != "Created" || got["d"] != "Detached" {
		t.Errorf("after attach --all: %v", got)
	}
	if err := os.Rename(file+".away", file); err != nil {
		t.Fatal(err)
	}
	h.ok("pool", "attach", "--all")
	h.ok("pool", "attach", "--all")
	if got := h.poolStates(); got["b"] != "Created" || got["d"] != "Detached" {
		t.Errorf("after attach --all: %v", got)
	}
	for _, args := range [][]string{{"pool", "attach"}, {"pool", "detach"}, {"pool", "attach", "--all", "a"}, {"stop"}, {"stop", "--all", "c1"}} {
		h.fails(2, `names|arguments`, args...)
	}
}

// TestUnitsCommands runs the command lines of the systemd unit, those of a stop and then those of a start: an instance that
// ran runs again.
func TestUnitsCommands(t *testing.T) {
	h := opHost(t)
	h.ok("launch", "bb", "c1")
	unit := h.ok("admin", "systemd")
	commands := regexp.MustCompile(`(?m)^(ExecStart|ExecStop)=-?(.*)$`).FindAllStringSubmatch(unit, -1)
	if len(commands) != 4 {
		t.Fatalf("commands in %s", unit)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, c := range slices.Concat(commands[2:], commands[:2]) {
		if out, err := exec.CommandContext(ctx, "sh", "-c", c[2]).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", c[0], err, out)
		}
		if strings.HasSuffix(c[2], "detach --all") {
			if left := h.mine().kind("mount"); len(left) > 0 {
				t.Errorf("after the unit has ended: %v", left)
			}
		}
	}
	if got := h.poolStates(); got["default"] != "Created" {
		t.Errorf("after the unit has started: %v", got)
	}
	if in := h.instances()["c1"]; in.Status != "Running" {
		t.Errorf("after the unit has started c1 is %s", in.Status)
	}
	works(h, "c1", "")
}

// TestDetachOfRunning is refused with the instance's name, and the instance goes on.
func TestDetachOfRunning(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("launch", "m:busybox", "c1")
	for _, args := range [][]string{{"pool", "detach", "default"}, {"pool", "detach", "--all"}} {
		if r := h.fails(1, `default: in use: running instances: \[c1\]`, args...); !strings.Contains(r.stderr, "poolctl stop c1") {
			t.Errorf("want how to stop it: %s", r)
		}
	}
	h.ok("exec", "c1", "--", "true")
	h.ok("stop", "--all", "--force")
	h.ok("stop", "--all")
	h.ok("pool", "detach", "default")
}
