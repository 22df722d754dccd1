package e2e

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBackground: a balance and a scrub run on when their command has returned, are seen and can be cancelled, and leave
// nothing when they are done.
func TestBackground(t *testing.T) {
	h := newHost(t)
	h.ok("pool", "create", "p", "size=2GiB", "volume.size=1GiB")
	h.ok("pool", "volume", "create", "p", "v")
	dir := filepath.Join(h.state, "storage-pools/p/custom/default_v")
	block := make([]byte, 1<<20)
	for i := range 200 {
		if _, err := rand.Read(block); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "f"+string(rune('a'+i/20))+string(rune('a'+i%20))), block, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h.sh("sync", "-f", dir)
	if r := h.run("pool", "scrub", "start", "p", "--background"); r.code != 0 || !strings.Contains(r.stderr, "is being scrubbed") {
		t.Fatalf("want it to be started: %s", r)
	}
	h.eventually(`status: finished`, "pool", "scrub", "status", "p") // which is kept
	before := h.footprint()
	if r := h.run("pool", "balance", "p", "--full", "--background"); r.code != 0 || !strings.Contains(r.stderr, "is being balanced") {
		t.Fatalf("want it to be started: %s", r)
	}
	if r := h.run("pool", "balance", "p", "--status"); strings.Contains(r.stdout, "status: running") {
		h.ok("pool", "balance", "p", "--cancel")
	} else {
		t.Logf("it was faster: %s", r)
	}
	h.eventually(`status: none`, "pool", "balance", "p", "--status")
	h.fails(1, `^error: cannot balance pool p: no balance is running or paused`, "pool", "balance", "p", "--resume", "--background")
	h.fails(2, `--background is for`, "pool", "balance", "p", "--status", "--background")
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left := h.footprint().since(before)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind: %q", left)
		}
	}
	h.ok("pool", "detach", "p")
}
