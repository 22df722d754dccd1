package e2e

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"poolctl/fixtures"
)

// together runs commands at the same time and returns their results in order.
func (h *host) together(commands ...[]string) []result {
	h.t.Helper()
	results := make([]result, len(commands))
	var wg sync.WaitGroup
	for i, args := range commands {
		wg.Go(func() { results[i] = h.run(args...) })
	}
	wg.Wait()
	return results
}

// succeeded counts the commands that did.
func succeeded(results []result) int {
	n := 0
	for _, r := range results {
		if r.code == 0 {
			n++
		}
	}
	return n
}

// TestPullOnce pulls one image from several commands at the same time: it is downloaded once, and nobody who only reads
// waits for that.
func TestPullOnce(t *testing.T) {
	m := serve(t, smallMirror, fixtures.ServeOptions{Rate: 1_000_000})
	h := newHost(t).withPool().withRemote(m)
	h.ok("image", "list", "m:")
	done := make(chan struct{})
	go func() {
		defer close(done)
		time.Sleep(500 * time.Millisecond)
		if r := h.run("list"); r.code != 0 || r.took > time.Second {
			t.Errorf("list while an image is pulled: %s", r)
		}
	}()
	results := h.together([]string{"image", "pull", "m:alpine", "--alias", "a1"}, []string{"image", "pull", "m:alpine", "--alias", "a2"},
		[]string{"launch", "m:alpine", "c1"}, []string{"launch", "m:alpine", "c2"})
	<-done
	if succeeded(results) != len(results) {
		t.Errorf("all should succeed: %v", results)
	}
	_, got := downloads(m, "rootfs.squashfs")
	_, again := downloads(serveOnce(t, h), "rootfs.squashfs")
	if got == 0 || got > again*11/10 {
		t.Errorf("%d bytes of the root were served; one download takes %d", got, again)
	}
	for _, alias := range []string{"a1", "a2"} {
		h.matches(alias, "image", "info", alias)
	}
}

// serveOnce pulls the same image into another pool from a server of its own, which then knows what one download is.
func serveOnce(t *testing.T, h *host) *fixtures.Server {
	t.Helper()
	m := serve(t, smallMirror, fixtures.ServeOptions{})
	other := newHost(t).withRemote(m)
	other.ok("pool", "create", "p", "size=300MiB")
	other.ok("image", "pull", "m:alpine")
	return m
}

// TestPullStreams: a squashfs is unpacked while it comes in: its tables are asked for by one range, and nothing else is
// loaded twice.
func TestPullStreams(t *testing.T) {
	m := serve(t, smallMirror, fixtures.ServeOptions{Rate: 4 << 20}) // else all of it may be there before its end is asked for
	h := newHost(t).withPool().withRemote(m)
	h.ok("image", "pull", "m:alpine", "--alias", "a")
	var asked []string
	for _, r := range m.Requests() {
		if strings.HasSuffix(r.Path, "rootfs.squashfs") {
			asked = append(asked, r.Header.Get("Range"))
		}
	}
	if len(asked) != 2 || asked[0] != "" || !strings.HasPrefix(asked[1], "bytes=") {
		t.Errorf("the root was asked for with the ranges %q, want all of it and then its end", asked)
	}
}

// TestOneWinner lets several commands do the same thing to the same thing: exactly one does it.
func TestOneWinner(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("image", "pull", "m:busybox", "--alias", "bb")
	const n = 4
	for _, args := range [][]string{
		{"pool", "create", "p2", "size=200MiB"},
		{"init", "bb", "c1"},
		{"start", "c1"},
		{"snapshot", "create", "c1", "s0"},
		{"stop", "--force", "c1"},
		{"delete", "c1"},
		{"pool", "delete", "p2"},
	} {
		commands := make([][]string, n)
		for i := range commands {
			commands[i] = args
		}
		results := h.together(commands...)
		if succeeded(results) != 1 {
			t.Errorf("%d of %d succeeded:\n%v", succeeded(results), n, results)
		}
		if found := strays(t, h); len(found) > 0 {
			t.Errorf("stray after %v:\n  %s", args, strings.Join(found, "\n  "))
		}
	}
}

// TestManyAtOnce makes, starts and deletes instances at the same time; each has an address of its own.
func TestManyAtOnce(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("image", "pull", "m:busybox", "--alias", "bb")
	var launch, stop [][]string
	const n = 6
	for i := range n {
		launch = append(launch, []string{"launch", "bb", fmt.Sprintf("c%d", i)})
		stop = append(stop, []string{"delete", "--force", fmt.Sprintf("c%d", i)})
	}
	if results := h.together(launch...); succeeded(results) != n {
		t.Errorf("%v", results)
	}
	addresses := map[string]bool{}
	for line := range strings.Lines(h.ok("list", "--format", "csv", "-c", "4")) {
		addresses[line] = true
	}
	if len(addresses) != n || addresses["\n"] {
		t.Errorf("want %d addresses: %v", n, addresses)
	}
	if results := h.together(stop...); succeeded(results) != n {
		t.Errorf("%v", results)
	}
}
