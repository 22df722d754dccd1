package e2e

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// footprint is everything that this host has on the machine and in its state directory, the attached pools' objects
// included (but not what is inside their roots), so that a command that failed can be shown to have left nothing.
func (h *host) footprint() machine {
	h.t.Helper()
	out := h.mine()
	err := filepath.WalkDir(h.state, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // not there, or gone meanwhile: it has no footprint
		}
		rel := strings.TrimPrefix(path, h.state)
		switch {
		case rel == "/run/locks", rel == "/cache", rel == "/logs": // stay for good, hold nothing
			return fs.SkipDir
		case strings.Count(rel, "/") > 6, e.Name() == "rootfs":
			out["file "+path] = ""
			return fs.SkipDir
		}
		out["file "+path] = ""
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

// leavesNothing runs f and fails the test if the footprint is another one afterwards.
func (h *host) leavesNothing(t *testing.T, f func()) {
	t.Helper()
	before := h.footprint()
	f()
	after := h.footprint()
	for _, line := range after.since(before) {
		t.Errorf("left behind: %s", line)
	}
	for _, line := range before.since(after) {
		t.Errorf("lost: %s", line)
	}
}
