package e2e

import (
	"fmt"
	"os"
	"path/filepath"
)

// fileOps change files of instances.
func fileOps() []op {
	const files = 20
	const size = 1 << 20
	tree := func(h *host) string {
		dir := filepath.Join(h.dir, "pushed")
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as a user's
			h.t.Fatal(err)
		}
		for i := range files {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), make([]byte, size), 0o600); err != nil {
				h.t.Fatal(err)
			}
		}
		return dir
	}
	return []op{{
		name: "file push", quiet: true, args: []string{"file", "push", "--recursive", "pushed", "c1/srv"},
		prepare: func(h *host) { ensure1(h); tree(h); h.ok("file", "create", "--force", "--type", "directory", "c1/srv") },
		verify: func(h *host) {
			if h.run("file", "pull", "c1/srv/pushed", os.DevNull).stderr != "error: cannot pull c1/srv/pushed: no such file or directory\n" {
				for i := range files {
					if got := h.ok("file", "pull", fmt.Sprintf("c1/srv/pushed/%d", i), "-"); len(got) != size {
						h.t.Errorf("file %d has %d bytes", i, len(got))
					}
				}
			}
			h.ok("delete", "c1")
		},
	}}
}
