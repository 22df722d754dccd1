package e2e

import (
	"os"
	"path/filepath"
)

// backupOps are export and import of instances.
func backupOps() []op {
	has2 := func(h *host) bool { _, ok := h.instances()["c2"]; return ok }
	running := func(h *host) { ensure1(h); h.ok("start", "c1") }
	dropFile := func(h *host) {
		h.t.Helper()
		if err := os.RemoveAll(filepath.Join(h.dir, "out")); err != nil {
			h.t.Error(err)
		}
	}
	imported := func(h *host) {
		h.t.Helper()
		for _, name := range []string{"c1", "c2"} {
			if _, there := h.instances()[name]; !there {
				continue
			}
			works(h, name, `^new\n$`)
			h.ok("restore", name, "s0")
			works(h, name, `^old\n$`)
			h.ok("delete", name)
		}
		dropFile(h)
	}
	exported := func(h *host) {
		h.t.Helper()
		h.ok("stop", "--force", "c1")
		if _, err := os.Stat(filepath.Join(h.dir, "out/c1.backup")); err == nil { // whole
			h.ok("import", "out/c1.backup", "c2")
			h.holds(filepath.Join(h.dir, "out"), "c1.backup")
		} else {
			h.holds(filepath.Join(h.dir, "out"), "")
		}
		imported(h)
	}
	out := func(h *host) {
		if err := os.Mkdir(filepath.Join(h.dir, "out"), 0o700); err != nil && !os.IsExist(err) {
			h.t.Fatal(err)
		}
	}
	ofBackup := func(args ...string) func(h *host) {
		return func(h *host) {
			ensure1(h)
			out(h)
			h.ok(append([]string{"export", "c1", "out/c1.backup", "--force"}, args...)...)
		}
	}
	return []op{
		{
			name: "export", args: []string{"export", "c1", "out/c1.backup"}, prepare: func(h *host) { running(h); out(h) }, verify: exported, every: 3,
			made: func(h *host) bool { _, err := os.Stat(filepath.Join(h.dir, "out/c1.backup")); return err == nil },
		},
		{name: "export --instance-only", args: []string{"export", "c1", "out/c1.backup", "--instance-only", "--force"}, prepare: ofBackup(), verify: func(h *host) {
			h.ok("list")
			h.holds(filepath.Join(h.dir, "out"), "c1.backup")
			imported(h)
		}, every: 4},
		{name: "import", args: []string{"import", "out/c1.backup", "c2"}, prepare: ofBackup(), verify: imported, made: has2, every: 3},
		{name: "import of streams", args: []string{"import", "out/c1.backup", "c2"}, prepare: ofBackup("--optimized-storage"), verify: imported, made: has2, every: 3},
	}
}
