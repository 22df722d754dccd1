package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"poolctl/fixtures"
)

// stalledAt is after how many bytes the servers of these tests stop to send a root.
const stalledAt = 1_000_000

// tables is more than what the tables at the end of a root take: they may have been on
// their way when the command was killed, and come at the end of the rest again.
const tables = 32 << 10

// stalledPull starts a pull from a server that stops in the middle, and waits until
// all that was sent is kept.
func (h *host) stalledPull(t *testing.T, args ...string) (end func(syscall.Signal) result) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	cmd := h.command(ctx, args...)
	var errs strings.Builder
	cmd.Stderr = &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); h.kept() < stalledAt; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("after 30 s %d bytes are kept: %s", h.kept(), errs.String())
			break
		}
	}
	return func(sig syscall.Signal) result {
		defer cancel()
		_ = cmd.Process.Signal(sig) // it may have ended already
		_ = cmd.Wait()              // its status is in ProcessState
		return result{args: args, stderr: errs.String(), code: cmd.ProcessState.ExitCode()}
	}
}

// kept is how many bytes of the beginnings of files are kept.
func (h *host) kept() (n int64) {
	files, _ := filepath.Glob(filepath.Join(h.state, "downloads/*/data")) // its only error is that of a bad pattern
	for _, f := range files {
		if st, err := os.Stat(f); err == nil {
			n += st.Size()
		}
	}
	return n
}

// rootBytes is how many bytes of roots a server has sent since the last call, and
// from where on.
func rootBytes(s *fixtures.Server) (bytes int64, ranges []string) {
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, "rootfs.squashfs") {
			bytes += r.Bytes
			ranges = append(ranges, r.Header.Get("Range"))
		}
	}
	return bytes, ranges
}

// TestPullResumes: a pull that was killed, interrupted or cut off is gone on with by
// the next command, which loads only what is missing; in between nothing of it is to
// be seen.
func TestPullResumes(t *testing.T) {
	m := serve(t, smallMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(m)
	h.ok("image", "pull", "m:alpine", "--alias", "a")
	whole, _ := rootBytes(m)
	h.ok("image", "delete", "a")
	for name, end := range map[string]func(t *testing.T){
		"killed": func(t *testing.T) { h.stalledPull(t, "image", "pull", "m:alpine")(syscall.SIGKILL) },
		"interrupted": func(t *testing.T) {
			before := h.names("pool", "list")
			if r := h.stalledPull(t, "image", "pull", "m:alpine")(syscall.SIGINT); r.code <= 0 {
				t.Errorf("want a failure: %s", r)
			}
			if found := h.unaccounted(before, nil); len(found) > 0 {
				t.Errorf("not undone: %q", found)
			}
		},
		"a launch killed": func(t *testing.T) { h.stalledPull(t, "launch", "m:alpine", "c")(syscall.SIGKILL) },
	} {
		t.Run(name, func(t *testing.T) {
			h.in(t)
			m.Fault("rootfs.squashfs", withTimes(fixtures.Stall(stalledAt), 1))
			end(t)
			m.ClearFaults()
			if n := len(h.images()) + len(h.instances()); n != 0 {
				t.Errorf("%d images and instances are there", n)
			}
			if found := strays(t, h); len(found) > 0 {
				t.Errorf("stray: %q", found)
			}
			sent, _ := rootBytes(m)
			r := h.run("image", "pull", "m:alpine", "--alias", "a")
			if r.code != 0 || !regexp.MustCompile(`rootfs \(\S+ of \S+ are there\)`).MatchString(r.stderr) {
				t.Errorf("want what is there to be said: %s", r)
			}
			rest, ranges := rootBytes(m)
			if !slices.ContainsFunc(ranges, func(r string) bool { return r == fmt.Sprintf("bytes=%d-", stalledAt) }) || sent+rest > whole+tables {
				t.Errorf("%d bytes were sent at first and %d then (%q), %d in all would do", sent, rest, ranges, whole)
			}
			h.ok("init", "a", "c")
			h.ok("delete", "c")
			h.ok("image", "delete", "a")
			if left, _ := os.ReadDir(filepath.Join(h.state, "downloads")); len(left) > 0 {
				t.Errorf("still kept: %v", left)
			}
		})
	}
	t.Run("cut off for good", func(t *testing.T) {
		h.in(t)
		m.Fault("rootfs.squashfs", withTimes(fixtures.Truncate(stalledAt), 1))
		m.Fault("rootfs.squashfs", fixtures.Status(403))
		h.fails(1, `403`, "image", "pull", "m:alpine")
		m.ClearFaults()
		sent, _ := rootBytes(m)
		h.ok("image", "pull", "m:alpine", "--alias", "a")
		if rest, ranges := rootBytes(m); sent+rest > whole+tables {
			t.Errorf("%d bytes were sent at first and %d then (%q), %d in all would do", sent, rest, ranges, whole)
		}
		h.ok("image", "delete", "a")
	})
	t.Run("damaged in between", func(t *testing.T) {
		h.in(t)
		m.Fault("rootfs.squashfs", withTimes(fixtures.Stall(stalledAt), 1))
		h.stalledPull(t, "image", "pull", "m:alpine")(syscall.SIGKILL)
		m.ClearFaults()
		for _, f := range glob(t, filepath.Join(h.state, "downloads/*/data")) {
			if err := os.WriteFile(f, make([]byte, stalledAt), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h.ok("image", "pull", "m:alpine", "--alias", "a")
		h.ok("init", "a", "c")
		h.ok("delete", "c")
		h.ok("image", "delete", "a")
	})
	t.Run("doctor", func(t *testing.T) {
		h.in(t)
		m.Fault("rootfs.squashfs", withTimes(fixtures.Stall(stalledAt), 1))
		h.stalledPull(t, "image", "pull", "m:alpine")(syscall.SIGKILL)
		m.ClearFaults()
		h.matches(`NOTICE.*download [0-9a-f]{12}.*are kept since`, "doctor")
		h.matches(`it was removed`, "doctor", "--fix")
		if h.kept() != 0 {
			t.Error("it is still there")
		}
	})
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(pattern)
	if err != nil || len(all) == 0 {
		t.Fatalf("%s: %v, %v", pattern, all, err)
	}
	return all
}

func withTimes(f fixtures.Fault, n int) fixtures.Fault {
	f.Times = n
	return f
}

// TestWaiterTakesOver: of two pulls of an image one downloads; when it is killed the
// other goes on from where it was.
func TestWaiterTakesOver(t *testing.T) {
	m := serve(t, smallMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(m)
	h.ok("image", "pull", "m:alpine", "--alias", "a")
	whole, _ := rootBytes(m)
	h.ok("image", "delete", "a")
	m.Fault("rootfs.squashfs", withTimes(fixtures.Stall(stalledAt), 1))
	kill := h.stalledPull(t, "image", "pull", "m:alpine")
	waited := make(chan result)
	go func() { waited <- h.run("image", "pull", "m:alpine", "--alias", "b") }()
	select {
	case r := <-waited:
		t.Fatalf("it did not wait: %s", r)
	case <-time.After(1500 * time.Millisecond):
	}
	kill(syscall.SIGKILL)
	if r := <-waited; r.code != 0 {
		t.Fatalf("%s", r)
	}
	if sent, ranges := rootBytes(m); sent > whole+tables {
		t.Errorf("%d bytes were sent (%q), %d in all would do", sent, ranges, whole)
	}
	h.ok("init", "b", "c")
	h.ok("delete", "c")
}

// TestPullSeveral pulls images at the same time by one command, each with its own
// lines of progress; one that fails does not keep the others away.
func TestPullSeveral(t *testing.T) {
	m := serve(t, smallMirror, fixtures.ServeOptions{Rate: 2_000_000})
	h := newHost(t).withPool().withRemote(m)
	r := h.run("image", "pull", "m:alpine", "m:busybox", "m:nothing", "m:tiny/3", "m:tiny/3", "local:")
	h.failed(r, 1, `(?m)^error: cannot find image m:nothing`)
	for _, want := range []string{"m:alpine metadata", "m:alpine rootfs", "m:busybox rootfs", "m:tiny/3 rootfs"} {
		if n := strings.Count(r.stderr, want+": "); n != 1 {
			t.Errorf("%d ends of %q: %s", n, want, r)
		}
	}
	if n := len(h.images()); n != 3 {
		t.Errorf("%d images, want 3", n)
	}
	h.fails(2, "--alias is for one image", "image", "pull", "m:alpine", "m:busybox", "--alias", "x")
	h.fails(2, "--plan is for one image", "image", "pull", "m:alpine", "m:busybox", "--plan")
	h.fails(2, `the target can only be "local:"`, "image", "pull", "m:alpine", "m:busybox", "m:")
}
