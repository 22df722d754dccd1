package e2e

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolctl/fixtures"
)

// TestListCost: a list of a whole public server, from the cached catalogue, takes under
// 0.3 s and 60 MB per 1,700 images. What is measured is processor time, the least of
// several runs, which other work on the machine does not change much.
func TestListCost(t *testing.T) {
	m := serve(t, func() (string, error) {
		shared, err := fixtures.SharedDir()
		return filepath.Join(shared, "fixtures/simplestreams/linuxcontainers-2023-07-03"), err
	}, fixtures.ServeOptions{})
	h := newHost(t).withRemote(m)
	rows := strings.Count(h.ok("image", "list", "m:", "--format", "csv"), "\n")
	if rows < 1700 {
		t.Fatalf("%d images are too few", rows)
	}
	m.Requests()
	least := time.Hour
	for range 5 {
		cmd := h.command(t.Context(), "image", "list", "m:")
		if out, err := cmd.Output(); err != nil || strings.Count(string(out), "\n") < rows {
			t.Fatalf("%d lines, %v", strings.Count(string(out), "\n"), err)
		}
		least = min(least, processorTime(cmd.ProcessState))
	}
	_, peak := h.measured("image", "list", "m:") // not rusage's: a child begins with the peak of the test
	most := int64(peak) << 10
	if most == 0 {
		t.Error("its memory was not seen")
	}
	if n := len(m.Requests()); n != 0 {
		t.Errorf("%d requests, though the catalogue is cached", n)
	}
	per := least * 1700 / time.Duration(rows)
	t.Logf("%d images: %s of processor time, %d MB", rows, least, most/1_000_000)
	if per > 300*time.Millisecond {
		t.Errorf("%s for %d images, which is %s for 1,700: more than 0.3 s", least, rows, per)
	}
	if most > 60_000_000 {
		t.Errorf("%d MB, more than 60", most/1_000_000)
	}
}
