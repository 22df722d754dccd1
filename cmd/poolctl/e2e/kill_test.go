package e2e

import (
	"context"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"poolctl/fixtures"
)

// opHost is a host in which the ops work.
func opHost(t *testing.T) *host {
	t.Helper()
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("image", "pull", "m:busybox", "--alias", "bb")
	return h
}

// signalAfter starts the command, sends it a signal after a while, and waits for its end. It returns whether the signal
// came in time, and the result.
func (h *host) signalAfter(sig syscall.Signal, after time.Duration, args ...string) result {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := h.command(ctx, args...)
	// The supervisor of a started instance may hold these open: the command's end is what counts, not theirs.
	cmd.WaitDelay = 100 * time.Millisecond
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { _ = cmd.Process.Signal(sig) }) // it may have ended already
	_ = cmd.Wait()                                                         // its status is in ProcessState
	timer.Stop()
	return result{args: args, stdout: out.String(), stderr: errs.String(), code: cmd.ProcessState.ExitCode(), took: time.Since(began)}
}

// measured is how long each op takes, once a test has found that out.
var measured map[string]time.Duration

// measure runs each op once, unharmed, and checks it; it returns how long each takes. A second test has that from the first.
func measure(t *testing.T, h *host, list []op) map[string]time.Duration {
	t.Helper()
	if measured != nil {
		return measured
	}
	took := map[string]time.Duration{}
	for _, o := range list {
		o.prepare(h)
		r := h.run(o.args...)
		if r.code != 0 {
			t.Fatalf("%s", r)
		}
		took[o.name] = r.took
		if found := strays(t, h); len(found) > 0 {
			t.Fatalf("%s: stray without any interruption:\n  %s", o.name, strings.Join(found, "\n  "))
		}
		o.verify(h)
		if t.Failed() {
			t.Fatalf("%s fails without any interruption", o.name)
		}
	}
	measured = took
	return took
}

// slow is how long a command may take to be tried more than once by the tests below.
const slow = 1500 * time.Millisecond

// TestKilled kills every command at random moments and checks after each that the next command finds the old state or
// the new one, and that nothing is stray.
func TestKilled(t *testing.T) {
	h := opHost(t)
	list := ops()
	took := measure(t, h, list)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not for secrets
	rounds, killed := 0, 0
	began := time.Now()
	// At least so long, and on a slow machine until as many were killed as there are commands.
	for ; !t.Failed() && (time.Since(began) < 45*time.Second || killed < len(list) && time.Since(began) < 5*time.Minute); rounds++ {
		o := list[rounds%len(list)]
		if rounds >= len(list) && took[o.name] > slow {
			continue
		}
		after := time.Duration(random.Float64() * 1.1 * float64(took[o.name]))
		o.prepare(h)
		r := h.signalAfter(syscall.SIGKILL, after, o.args...)
		if r.code == -1 {
			killed++
		}
		if found := strays(t, h); len(found) > 0 {
			t.Errorf("stray after the next command:\n  %s", strings.Join(found, "\n  "))
		}
		o.verify(h)
		if t.Failed() {
			t.Fatalf("%s killed after %s (seed %d, round %d): %s", o.name, after, seed, rounds, r)
		}
	}
	t.Logf("%d rounds, %d of them killed in time", rounds, killed)
	if killed < len(list)/2 { // a slow machine comes to fewer
		t.Errorf("only %d commands were killed before they ended", killed)
	}
}

// TestInterrupted sends Ctrl-C's signal to every command at random moments: what was made is undone before the command
// ends, without the next one's help.
func TestInterrupted(t *testing.T) {
	h := opHost(t)
	list := ops()
	took := measure(t, h, list)
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // not for secrets
	rounds, interrupted := 0, 0
	for deadline := time.Now().Add(25 * time.Second); time.Now().Before(deadline) && !t.Failed(); rounds++ {
		o := list[rounds%len(list)]
		if rounds >= len(list) && took[o.name] > slow {
			continue
		}
		after := time.Duration(random.Float64() * float64(took[o.name]))
		o.prepare(h)
		pools, running := h.names("pool", "list"), h.runningNames()
		r := h.signalAfter(syscall.SIGINT, after, o.args...)
		if r.code != 0 {
			interrupted++
		}
		if o.made != nil && r.code > 0 {
			if found := h.unaccounted(pools, running); len(found) > 0 {
				t.Errorf("not undone:\n  %s", strings.Join(found, "\n  "))
			}
			if o.made(h) {
				t.Error("it says that it failed, and its object is there")
			}
		}
		if found := strays(t, h); len(found) > 0 {
			t.Errorf("stray after the next command:\n  %s", strings.Join(found, "\n  "))
		}
		o.verify(h)
		if t.Failed() {
			t.Fatalf("%s interrupted after %s (seed %d, round %d): %s", o.name, after, seed, rounds, r)
		}
	}
	t.Logf("%d rounds, %d of them interrupted in time", rounds, interrupted)
	if interrupted == 0 {
		t.Error("no command was interrupted before it ended")
	}
}

// runningNames names the running instances.
func (h *host) runningNames() []string {
	h.t.Helper()
	var out []string
	for name, in := range h.instances() {
		if in.Status == "Running" {
			out = append(out, name)
		}
	}
	return out
}

// TestInterruptedDownload interrupts a pull and a launch in the middle of a slow download.
func TestInterruptedDownload(t *testing.T) {
	slow := serve(t, smallMirror, fixtures.ServeOptions{Rate: 100_000})
	h := newHost(t).withPool().withRemote(slow)
	h.ok("image", "list", "m:")
	for _, args := range [][]string{{"image", "pull", "m:alpine"}, {"launch", "m:alpine", "c1"}} {
		h.leavesNothing(t, func() {
			began := time.Now()
			r := h.signalAfter(syscall.SIGINT, 1500*time.Millisecond, args...)
			if r.code <= 0 {
				t.Errorf("want a failure: %s", r)
			}
			if time.Since(began) > 6*time.Second {
				t.Errorf("it took long to give up: %s", r)
			}
			if h.kept() == 0 {
				t.Error("nothing is kept to go on with")
			}
			h.ok("doctor", "--fix") // removes that
		})
	}
	// A second signal ends the program at once: then the next command cleans up.
	h.leavesNothing(t, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		cmd := h.command(ctx, "image", "pull", "m:alpine")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			time.Sleep(400 * time.Millisecond)
			_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
		}
		if err := cmd.Wait(); err == nil {
			t.Error("want a failure")
		}
		h.ok("list")
		h.ok("doctor", "--fix") // removes what is kept to go on with
	})
}
