package e2e

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestCheckconfig: this machine has what is needed, and one that forbids user namespaces has not.
func TestCheckconfig(t *testing.T) {
	h := newHost(t)
	before, err := lookAround()
	if err != nil {
		t.Fatal(err)
	}
	out := h.matches(`(?m)^User namespace: enabled$`, "checkconfig")
	if strings.Contains(out, "\x1b") {
		t.Errorf("colours where there is no terminal: %q", out)
	}
	var report struct {
		Kernel   string
		Features []struct{ Name, Status string }
	}
	h.json(&report, "checkconfig")
	if report.Kernel == "" || len(report.Features) < 40 {
		t.Errorf("report %+v", report)
	}
	h.matches(`User namespace +\| ENABLED +\| YES`, "checkconfig", "--format", "table")
	h.fails(2, `unexpected argument`, "checkconfig", "x")

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := h.command(ctx, "checkconfig")
	forbid := []string{"--user", "--map-root-user", "sh", "-c", `echo 0 >/proc/sys/user/max_user_namespaces && exec "$@"`, "sh"}
	restricted := exec.CommandContext(ctx, "unshare", append(forbid, cmd.Args...)...)
	restricted.Env, restricted.Dir = cmd.Env, cmd.Dir
	r := h.finish(restricted, "")
	h.failed(r, 1, `lacks what poolctl needs:.* User namespace`)
	if !strings.Contains(r.stdout, "User namespace: required, ") {
		t.Errorf("no cause: %s", r)
	}
	left, err := settle(before, func(m machine) machine { return m.below(h.state) }, time.Second)
	if err != nil || len(left) > 0 {
		t.Errorf("left by the tries: %v, %v", left, err)
	}
}
