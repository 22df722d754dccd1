package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDoctor finds nothing wrong at first; then a pool whose file has been moved, in every format, which it repairs when
// it is asked to, and a pool that is gone, which it cannot repair.
func TestDoctor(t *testing.T) {
	h := newHost(t)
	h.ok("pool", "create", "p", "size=120MiB")
	if r := h.run("doctor"); r.code != 0 || !strings.Contains(r.stderr, "no problems") || !strings.Contains(r.stdout, "SEVERITY") {
		t.Errorf("of a healthy host: %s", r)
	}
	file, moved := filepath.Join(h.state, "disks/p.img"), filepath.Join(h.dir, "moved.img")
	if err := os.Rename(file, moved); err != nil {
		t.Fatal(err)
	}
	for format, want := range map[string]string{
		"table": "| WARNING ", "compact": " WARNING ", "csv": "WARNING,pool p,", "yaml": "severity: warning", "json": `"severity":"warning"`,
	} {
		r := h.run("doctor", "--format", format)
		h.failed(r, 1, `(?m)^error: 1 problem remains$`)
		if !strings.Contains(r.stdout, want) || !strings.Contains(r.stdout, moved) {
			t.Errorf("want %s and the new place: %s", want, r)
		}
	}
	h.matches(`(?s)WARNING.*done: the new place is remembered`, "doctor", "--fix")
	h.matches(moved, "pool", "info", "p")
	h.ok("pool", "detach", "--all")
	if err := os.Rename(moved, file); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if r := h.fails(1, `1 problem remains`, "doctor", "--fix"); !strings.Contains(r.stdout, moved+" is gone") {
			t.Errorf("want what is gone: %s", r)
		} else if !strings.Contains(r.stdout, "poolctl pool attach p --source "+file) {
			t.Errorf("want where it may be: %s", r)
		}
	}
	h.ok("pool", "attach", "p", "--source", file)
	h.ok("doctor")
	h.fails(2, `unexpected argument`, "doctor", "p")
}
