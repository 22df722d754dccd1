package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// maxHits is how many hits of one crash point in one command are tried: the first, and later ones of a loop.
const maxHits = 2

// The tests of crash points kill every command at each of its named points, in a build that has them, and check what the next
// command makes of it. They are several so that one that fails is soon run again.

func TestCrashPointsOfPools(t *testing.T)     { crashPoints(t, opsOfPools()) }
func TestCrashPointsOfImages(t *testing.T)    { crashPoints(t, opsOfImages()) }
func TestCrashPointsOfInstances(t *testing.T) { crashPoints(t, opsOfInstances()) }
func TestCrashPointsOfNetworks(t *testing.T)  { crashPoints(t, opsOfNetworks()) }
func TestCrashPointsOfBackups(t *testing.T)   { crashPoints(t, opsOfBackups()) }

func crashPoints(t *testing.T, list []op) {
	t.Helper()
	h := opHost(t)
	for _, o := range list {
		t.Run(o.name, func(t *testing.T) {
			h.in(t)
			points := trace(t, h, o)
			if len(points) == 0 && !o.quiet {
				t.Fatalf("%s has no crash point", o.name)
			}
			seen, crashed := map[string]int{}, 0
			for i, p := range points {
				if seen[p]++; (o.every <= 1 || i%o.every == 0) && seen[p] <= maxHits && crashAt(t, h, o, p, seen[p]) {
					crashed++
				}
			}
			t.Logf("%d points, %d hits, %d crashes", len(seen), len(points), crashed)
			// A few points are on a path that only the first run takes, such as the first use of an image.
			if !o.quiet && crashed < len(seen)*3/4/max(1, o.every) {
				t.Errorf("only %d crashes at %d points", crashed, len(seen))
			}
		})
	}
}

// trace runs an op with nothing killed and returns the points that it hits, in order.
func trace(t *testing.T, h *host, o op) []string {
	t.Helper()
	o.prepare(h)
	file := filepath.Join(h.dir, "trace")
	r := h.crashy(o, "POOLCTL_CRASH_TRACE="+file)
	if r.code != 0 {
		t.Fatalf("%s", r)
	}
	o.verify(h)
	if t.Failed() {
		t.Fatalf("%s fails without any crash", o.name)
	}
	return tracedIn(t, file)
}

// tracedIn reads and removes a trace.
func tracedIn(t *testing.T, file string) []string {
	t.Helper()
	data, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return nil
	} else if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(data))
}

// crashAt kills an op at the n-th hit of a point, and checks. It returns whether the point was hit so often.
func crashAt(t *testing.T, h *host, o op, point string, n int) bool {
	t.Helper()
	o.prepare(h)
	file := filepath.Join(h.dir, "trace")
	r := h.crashy(o, fmt.Sprintf("POOLCTL_CRASH=%s:%d", point, n), "POOLCTL_CRASH_TRACE="+file)
	hits := 0
	for _, p := range tracedIn(t, file) {
		if p == point {
			hits++
		}
	}
	if hits >= n && r.code == 0 {
		t.Errorf("it went on after the crash at %s", point)
	}
	if found := strays(t, h); len(found) > 0 {
		t.Errorf("stray after a crash at %s and the next command:\n  %s", point, strings.Join(found, "\n  "))
	}
	o.verify(h)
	if t.Failed() {
		t.Fatalf("%s crashed at %s (hit %d): %s", o.name, point, n, r)
	}
	return hits >= n
}

// crashy runs an op with the build that has crash points.
func (h *host) crashy(o op, env ...string) result {
	h.t.Helper()
	program, old := h.program, h.env
	defer func() { h.program, h.env = program, old }()
	h.program, h.env = suite.crashy, append(append([]string{}, old...), env...)
	return h.signalAfter(0, 1<<40, o.args...)
}
