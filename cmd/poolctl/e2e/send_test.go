package e2e

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestSend sends a running instance and snapshots to files and through a pipe, and kills both ends at their crash points.
func TestSend(t *testing.T) {
	h := opHost(t)
	h.ok("pool", "create", "p2", "size=300MiB")
	ensure1(h)
	h.ok("snapshot", "create", "c1", "s1")
	dir := t.TempDir()
	full, step := filepath.Join(dir, "full"), filepath.Join(dir, "step")
	h.ok("send", "c1/s0", full)
	h.ok("send", "c1/s1", step, "--parent", "s0", "--compression", "none")
	h.fails(1, `already exists\nhint: --force`, "send", "c1/s1", step)
	h.fails(1, `builds on the snapshot "s0" of c1.*\nhint: receive that first: poolctl send c1/s0`, "receive", step, "r")
	h.fails(2, `names no snapshot`, "send", "c1/")
	h.fails(1, `cannot receive .*no such file`, "receive", filepath.Join(dir, "none"))
	clear := func(h *host) {
		if _, there := h.instances()["r"]; there {
			h.ok("delete", "r")
		}
	}
	crashes := func(o op, own ...string) {
		t.Run(o.name, func(t *testing.T) {
			h.in(t)
			seen := map[string]bool{}
			for _, p := range trace(t, h, o) {
				for _, prefix := range own {
					if strings.HasPrefix(p, prefix) && !seen[p] {
						seen[p] = true
						crashAt(t, h, o, p, 1)
					}
				}
			}
			if len(seen) < 2 {
				t.Errorf("killed at %v only", seen)
			}
		})
	}
	crashes(op{name: "receive", args: []string{"receive", full, "r", "--storage", "p2"}, prepare: clear, verify: func(h *host) {
		if in, there := h.instances()["r"]; there && len(in.Snapshots) != 1 {
			h.t.Errorf("%+v", in)
		}
	}}, "tree.owner.received", "tree.owner.recorded", "tree.owner.moved")
	crashes(op{name: "receive onto", args: []string{"receive", step, "r"}, prepare: func(h *host) {
		clear(h)
		h.ok("receive", full, "r", "--storage", "p2")
	}, verify: func(h *host) {
		n := len(h.instances()["r"].Snapshots)
		h.ok("restore", "r", "s0") // whatever was reached
		if n == 2 {
			h.ok("snapshot", "delete", "r", "s1")
		} else if n != 1 {
			h.t.Errorf("%d snapshots", n)
		}
		h.ok("receive", step, "r")
		works(h, "r", `^new\n$`)
	}}, "tree.reuse.", "tree.replace.exchanged", "tree.replace.snapshots")
	clear(h)
	h.ok("start", "c1")
	h.in(t)
	checkPipe(t, h)
	checkStalled(t, h)
	works(h, "piped", `^new\n$`)
	h.ok("exec", "c1", "--", "true")
}

// checkPipe sends a running instance through a pipe, and through one that is closed early.
func checkPipe(t *testing.T, h *host) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, early := range []bool{true, false} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		from, to := h.command(ctx, "send", "c1"), h.command(ctx, "receive", "-", "piped", "-s", "p2")
		from.Stdout, to.Stdin = w, r
		var errs strings.Builder
		from.Stderr = &errs
		if early {
			to = nil
		} else if err := to.Start(); err != nil {
			t.Fatal(err)
		}
		if err := from.Start(); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if early {
			if _, err := syscall.Read(int(r.Fd()), make([]byte, 100)); err != nil {
				t.Error(err)
			}
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		err = from.Wait()
		if early && (err == nil || !strings.Contains(errs.String(), "cannot send c1")) {
			t.Errorf("into a closed pipe: %v, %s", err, errs.String())
		}
		if !early {
			if terr := to.Wait(); err != nil || terr != nil {
				t.Errorf("send: %v, receive: %v", err, terr)
			}
		}
		if found, _ := filepath.Glob(filepath.Join(h.state, "storage-pools/*/.poolctl/staging/*")); len(found) != 0 {
			t.Errorf("left: %v", found)
		}
	}
}

// checkStalled interrupts what waits for the other end of a pipe: it ends, and has undone what it did.
func checkStalled(t *testing.T, h *host) {
	t.Helper()
	// A FIFO that nobody has open, one whose other end does nothing, and what a pipe does not hold.
	fifo, silent, large := filepath.Join(h.dir, "fifo"), filepath.Join(h.dir, "silent"), filepath.Join(h.dir, "large")
	if err := errors.Join(syscall.Mkfifo(fifo, 0o600), syscall.Mkfifo(silent, 0o600), os.WriteFile(large, make([]byte, 2<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	other, err := os.OpenFile(silent, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	h.ok("file", "push", large, "c1/root/large")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, args := range [][]string{
		{"receive", "-", "stalled"},
		{"import", "-", "stalled"},
		{"receive", fifo, "stalled"},
		{"send", "c1", "--compression", "none"},
		{"export", "c1", "-"},
		{"image", "import", "-"},
		{"image", "import", fifo},
		{"image", "import", silent},
		{"image", "import", large, fifo},
		{"image", "import", silent, large},
		{"file", "push", "-", "c1/root/stalled"},
		{"file", "pull", "c1/root/large", "-"},
		{"file", "pull", "c1/root/large", fifo},
		{"file", "pull", "c1/root/large", silent},
	} {
		cmd := h.command(ctx, args...)
		cmd.Stdin, cmd.Stdout = r, w // nobody writes, and nobody reads
		var errs strings.Builder
		cmd.Stderr = &errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Errorf("%v has ended: %v", args, err)
		}
		interrupted := time.Now()
		if err := cmd.Wait(); err == nil || !strings.Contains(errs.String(), "interrupted") || time.Since(interrupted) > 5*time.Second {
			t.Errorf("%v ends %s after the signal with %v, %s", args, time.Since(interrupted), err, errs.String())
		}
		if found, _ := filepath.Glob(filepath.Join(h.state, "storage-pools/*/.poolctl/staging/*")); len(found) != 0 {
			t.Errorf("%v left %v", args, found)
		}
	}
	if err := errors.Join(r.Close(), w.Close()); err != nil {
		t.Fatal(err)
	}
}
