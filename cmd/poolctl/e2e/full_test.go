package e2e

import (
	"strings"
	"testing"
)

// TestInstanceFillsItsPool lets a running instance write until its pool is full: it is told, goes on, and so do the
// commands; what it deletes is free again.
func TestInstanceFillsItsPool(t *testing.T) {
	h := opHost(t)
	h.ok("pool", "create", "small", "size=160MiB")
	h.ok("image", "pull", "m:busybox", "--storage", "small", "--alias", "sb")
	h.ok("launch", "sb", "c1", "--storage", "small")
	for _, block := range []string{"1M", "4k"} {
		if r := h.run("exec", "c1", "--", "dd", "if=/dev/zero", "of=/fill"+block, "bs="+block); r.code != 1 || !strings.Contains(r.stderr, "No space left on device") {
			t.Errorf("want it to be told: %s", r)
		}
	}
	h.run("exec", "c1", "--", "sync")
	h.matches(`RUNNING`, "list")
	h.ok("exec", "c1", "--", "true")
	for _, args := range [][]string{{"snapshot", "create", "c1", "s1"}, {"copy", "c1", "c2"}, {"image", "pull", "m:alpine", "--storage", "small"}} {
		if r := h.run(args...); r.code != 0 {
			h.failed(r, 1, `[Ss]pace|full|free`)
		}
	}
	if r := h.run("doctor"); r.code != 1 || !strings.Contains(r.stdout, "pool small") {
		t.Errorf("want the full pool to be named: %s", r)
	}
	h.matches(`small`, "pool", "list")
	for _, name := range h.names("snapshot", "list", "c1") {
		h.ok("snapshot", "delete", "c1", name)
	}
	if _, ok := h.instances()["c2"]; ok {
		h.ok("delete", "c2")
	}
	h.ok("exec", "c1", "--", "rm", "/fill1M", "/fill4k")
	h.ok("exec", "c1", "--", "sync")
	h.ok("snapshot", "create", "c1", "s2")
	h.ok("stop", "--force", "c1")
	works(h, "c1", "")
	h.ok("delete", "c1")
}
