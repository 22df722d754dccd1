package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestExecCodes(t *testing.T) {
	root := busyboxRoot(t)
	write(t, filepath.Join(root, "bin/text"), "no program", 0o755)
	write(t, filepath.Join(root, "bin/plain"), "#!/bin/sh\n", 0o644)
	inst := start(t, testSpec(t, root))
	for _, c := range []struct {
		args []string
		code int
		out  string
	}{
		{[]string{"true"}, 0, ""},
		{[]string{"false"}, 1, ""},
		{[]string{"sh", "-c", "exit 255"}, 255, ""},
		{[]string{"sh", "-c", "kill -9 $$"}, 128 + 9, ""},
		{[]string{"sh", "-c", "kill -TERM $$"}, 128 + 15, ""},
		{[]string{"nosuchcommand"}, 127, "cannot run nosuchcommand: command not found"},
		{[]string{"/no/such"}, 127, "cannot run /no/such: no such file or directory"},
		{[]string{"/bin/true/x"}, 127, "cannot run /bin/true/x: no such file or directory"},
		{[]string{"/bin"}, 126, "cannot run /bin: permission denied"},
		{[]string{"text"}, 126, "cannot run text: exec format error"},
		{[]string{"plain"}, 126, "cannot run plain: permission denied"},
		{[]string{"echo", "a b", "", "c"}, 0, "a b  c\n"},
		{[]string{"sh", "-c", "echo out; echo err >&2"}, 0, "out\nerr\n"},
		{[]string{"sh", "-c", "echo there > /dev/stdout"}, 0, "there\n"},
		{[]string{"sh", "-c", "cat /proc/self/cgroup | grep -cv ':/$'"}, 1, "0\n"},
		{[]string{"sh", "-c", "ls /proc/self/fd | grep -c ."}, 0, "4\n"}, // 0 1 2 and ls's own
		{[]string{"sh", "-c", "grep SigBlk /proc/self/status"}, 0, "SigBlk:\t0000000000000000\n"},
		{[]string{"sh", "-c", "umask; ulimit -Sn"}, 0, "0022\n1024\n"},
	} {
		out, code := run(t, inst, "", c.args...)
		if code != c.code || out != c.out {
			t.Errorf("%q: code %d, output %q; want %d, %q", c.args, code, out, c.code, c.out)
		}
	}
	if code, err := inst.Exec(t.Context(), ExecOptions{}); code != -1 || err == nil {
		t.Errorf("without a command: %d, %v", code, err)
	}
	if code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"true"}, UID: 4000000000}); code != -1 || err == nil {
		t.Errorf("with an id that is not mapped: %d, %v", code, err)
	}
	if code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"true", "a\x00b"}}); code != -1 || err == nil {
		t.Errorf("with a NUL byte: %d, %v", code, err)
	}
	if code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"true"}, Cwd: "/none"}); code != -1 || !errors.Is(err, unix.ENOENT) {
		t.Errorf("in a missing directory: %d, %v", code, err)
	}
}

func TestExecOptions(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	script := "id -u; id -g; id -G; pwd; echo $FOO; grep CapEff /proc/self/status; ps -o comm | grep -c ps"
	for _, c := range []struct {
		opts ExecOptions
		want string
	}{
		{ExecOptions{Env: map[string]string{"FOO": "bar"}}, "0\n0\n0\n/root\nbar\nCapEff:\t000001fcfdfcffff\n1\n"},
		{ExecOptions{UID: 1000, GID: 1001, Groups: []uint32{5, 7}, Cwd: "/tmp"}, "1000\n1001\n1001 5 7\n/tmp\n\nCapEff:\t0000000000000000\n1\n"},
		{ExecOptions{UID: 1000}, "1000\n0\n0\n/\n\nCapEff:\t0000000000000000\n1\n"},
	} {
		c.opts.Args = []string{"sh", "-c", script}
		out, code := runWith(t, inst, "", c.opts)
		// The host may lack capabilities itself: compare with what init has.
		want := c.want
		if strings.Contains(want, "fcfdfcffff") {
			init, _ := run(t, inst, "", "grep", "CapEff", "/proc/1/status")
			want = strings.Replace(want, "CapEff:\t000001fcfdfcffff\n", init, 1)
		}
		if code != 0 || out != want {
			t.Errorf("%+v: code %d, got\n%s\nwant\n%s", c.opts, code, out, want)
		}
	}
}

// TestExecBinary sends 100 MB through, as bytes come.
func TestExecBinary(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	const size = 100 << 20
	for _, kind := range []string{"pipe", "file"} {
		t.Run(kind, func(t *testing.T) {
			var in, out *os.File
			sent, received := sha256.New(), sha256.New()
			var wg sync.WaitGroup
			source := io.LimitReader(rand.NewChaCha8([32]byte{1}), size)
			if kind == "pipe" {
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				r2, w2, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				in, out = r, w2
				wg.Go(func() {
					_, _ = io.Copy(io.MultiWriter(w, sent), source)
					_ = w.Close()
				})
				wg.Go(func() { _, _ = io.Copy(received, r2) })
			} else {
				in, out = tempFile(t), tempFile(t)
				if _, err := io.Copy(io.MultiWriter(in, sent), source); err != nil {
					t.Fatal(err)
				}
				if _, err := in.Seek(0, io.SeekStart); err != nil {
					t.Fatal(err)
				}
			}
			begin := time.Now()
			code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"cat"}, Stdin: in, Stdout: out})
			if code != 0 || err != nil {
				t.Fatalf("cat: %d, %v", code, err)
			}
			t.Logf("%d MB in %v", size>>20, time.Since(begin))
			if kind == "file" {
				if _, err := out.Seek(0, io.SeekStart); err != nil {
					t.Fatal(err)
				}
				if _, err := io.Copy(received, out); err != nil {
					t.Fatal(err)
				}
			}
			_, _ = in.Close(), out.Close()
			wg.Wait()
			if !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
				t.Error("what came out is not what went in")
			}
		})
	}
}

func tempFile(t testing.TB) *os.File {
	t.Helper()
	f, err := os.CreateTemp(t.TempDir(), "file")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestExecParallel runs many commands at once, each with input and output of
// its own.
func TestExecParallel(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			for j := range 5 {
				in := fmt.Sprintf("%d/%d", i, j)
				out, code := run(t, inst, in, "sh", "-c", "cat; exit "+strconv.Itoa(i))
				if out != in || code != i {
					t.Errorf("command %s: code %d, output %q", in, code, out)
				}
			}
		})
	}
	wg.Wait()
	var st unix.WaitStatus
	if pid, err := unix.Wait4(-1, &st, unix.WNOHANG|unix.WALL, nil); err == nil && pid > 0 {
		t.Errorf("process %d has not been reaped", pid)
	}
}

// TestExecCancel kills the command when the context ends.
func TestExecCancel(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	code, err := inst.Exec(ctx, ExecOptions{Args: []string{"sleep", "77"}})
	if code != -1 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %d, %v", code, err)
	}
	if out, _ := run(t, inst, "", "ps"); strings.Contains(out, "sleep 77") {
		t.Errorf("the command runs on:\n%s", out)
	}
}

// TestExecBackground returns when the command ends, though a process that it
// left holds on to its output.
func TestExecBackground(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	out := tempFile(t) // not a pipe: copied
	begin := time.Now()
	code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"sh", "-c", "sleep 20 & echo done"}, Stdout: out, Stderr: out})
	if code != 0 || err != nil || time.Since(begin) > 5*time.Second {
		t.Errorf("got %d, %v after %v", code, err, time.Since(begin))
	}
	if data, err := os.ReadFile(out.Name()); string(data) != "done\n" {
		t.Errorf("output %q, %v", data, err)
	}
}

// TestExecForwardsSignals passes on what the caller gets.
func TestExecForwardsSignals(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	for _, sig := range []unix.Signal{unix.SIGTERM, unix.SIGINT, unix.SIGHUP, unix.SIGUSR1} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			var ready [6]byte
			_, _ = io.ReadFull(r, ready[:])
			_ = unix.Kill(os.Getpid(), sig)
		}()
		script := "trap 'sleep 0.2; exit 42' TERM INT HUP USR1; echo ready; while :; do sleep 0.02; done"
		// A program's context ends by them, too: the command still decides.
		ctx, stop := signal.NotifyContext(t.Context(), sig)
		code, err := inst.Exec(ctx, ExecOptions{Args: []string{"sh", "-c", script}, Stdout: w})
		if code != 42 || err != nil || ctx.Err() == nil {
			t.Errorf("%v: %d, %v", sig, code, err)
		}
		stop()
		_, _ = r.Close(), w.Close()
	}
}

// TestExecHidesHost looks for ways out: the caller's program, files and
// directories.
func TestExecHidesHost(t *testing.T) {
	root := busyboxRoot(t)
	if err := os.Symlink("/proc/self/exe", filepath.Join(root, "bin/again")); err != nil {
		t.Fatal(err)
	}
	inst := start(t, testSpec(t, root))
	dir, err := os.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	out := tempFile(t)
	code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"sh", "-c", "ls -l /proc/self/fd/ | grep -c -- '-> /$'; ls /proc/self/fd/0/"}, Stdin: dir, Stdout: out})
	data, _ := os.ReadFile(out.Name())
	if code == 0 || strings.Contains(string(data), "etc") || !strings.HasPrefix(string(data), "0\n") {
		t.Errorf("a directory as the input came through: %d, %v, %q", code, err, data)
	}
	// A program that executes the caller's own must not be able to write to it.
	exe, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(exe)
	script := `again --no-such-flag >/dev/null 2>&1 & p=$!
for i in 1 2 3 4 5 6 7 8 9; do (echo x >> /proc/$p/exe) 2>/dev/null && echo WRITTEN; (: > /proc/$p/exe) 2>/dev/null && echo WRITTEN; done; wait; true`
	if got, code := run(t, inst, "", "sh", "-c", script); code != 0 || got != "" {
		t.Errorf("the host's program: %d, %q", code, got)
	}
	if exe, err = os.ReadFile("/proc/self/exe"); err != nil || sha256.Sum256(exe) != sum {
		t.Fatalf("the host's program was changed: %v", err)
	}
}
