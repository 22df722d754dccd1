package proxy

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	goruntime "runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/join"
)

// guest is a process with namespaces like an instance's, and a file system of its own
// at /mnt, which its root owns.
type guest struct {
	cmd          *exec.Cmd
	host, inside Side
}

func newGuest(t *testing.T) *guest {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "ip link set lo up && mount -t tmpfs -o mode=755 tmpfs /mnt && mkdir -m 700 /mnt/private && echo up && exec sleep 1000")
	maps := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 1000000, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID,
		UidMappings: maps, GidMappings: maps, GidMappingsEnableSetgroups: true,
		Credential: &syscall.Credential{}, Pdeathsig: unix.SIGKILL,
	}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	goruntime.LockOSThread() // for Pdeathsig
	t.Cleanup(goruntime.UnlockOSThread)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	g := &guest{cmd: cmd}
	t.Cleanup(g.end)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" {
		t.Fatalf("the guest is not up: %q, %v", line, err)
	}
	g.inside = Side{PIDFD: pidfd(t, cmd.Process.Pid), Instance: true}
	g.host = Side{PIDFD: pidfd(t, os.Getpid())}
	return g
}

func (g *guest) end() {
	_ = g.cmd.Process.Kill()
	_ = g.cmd.Wait()
}

func pidfd(t *testing.T, pid int) int {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// path is a path of the guest as the test has it.
func (g *guest) path(p string) string { return fmt.Sprintf("/proc/%d/root%s", g.cmd.Process.Pid, p) }

// in calls do in the guest's network, with the rights that its root has to files.
func (g *guest) in(t *testing.T, do func()) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()            // not unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() { // which does not end, and is what the process's namespaces are
			g.in(t, do) // on another one, as this one is taken
			goruntime.UnlockOSThread()
			done <- nil
			return
		}
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", g.cmd.Process.Pid))
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			for trap, id := range map[uintptr]uintptr{unix.SYS_SETFSGID: 1000000, unix.SYS_SETFSUID: 1000000} {
				_, _, _ = unix.RawSyscall(trap, id, 0, 0) // never an error
			}
			do()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// listen is net.Listen where the device connects to.
func (g *guest) listen(t *testing.T, inside bool, a Address) net.Listener {
	t.Helper()
	var l net.Listener
	var err error
	do := func() {
		if a.Kind == Unix {
			l, err = net.Listen("unix", g.unixName(inside, a))
			return
		}
		l, err = net.Listen(a.Kind, net.JoinHostPort(a.IP.String(), fmt.Sprint(a.Ports[0])))
	}
	if inside {
		g.in(t, do)
	} else {
		do()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if a.Kind == Unix && !a.Abstract {
		if !inside {
			err = os.Chmod(a.Path, 0o666)
		} else {
			g.run(t, "chmod", "666", a.Path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return l
}

// run runs a command as the guest's root.
func (g *guest) run(t *testing.T, args ...string) {
	t.Helper()
	args = append([]string{"-t", fmt.Sprint(g.cmd.Process.Pid), "-U", "-m", "-S", "0", "-G", "0"}, args...)
	if out, err := exec.CommandContext(t.Context(), "nsenter", args...).CombinedOutput(); err != nil {
		t.Fatalf("nsenter %v: %v: %s", args, err, out)
	}
}

func (g *guest) unixName(inside bool, a Address) string {
	switch {
	case a.Abstract:
		return "@" + a.Path
	case inside:
		return g.path(a.Path)
	}
	return a.Path
}

// dial connects to the address that a device listens on.
func (g *guest) dial(t *testing.T, inside bool, a Address, port int) net.Conn {
	t.Helper()
	var c net.Conn
	var err error
	do := func() {
		if a.Kind == Unix {
			c, err = net.Dial("unix", g.unixName(inside, a))
			return
		}
		c, err = net.Dial(a.Kind, net.JoinHostPort(a.IP.String(), fmt.Sprint(a.Ports[port])))
	}
	if inside {
		g.in(t, do)
	} else {
		do()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// relayOf is a running relay.
type relayOf struct {
	Started
	log string
}

// start starts a device; it ends with the test, unless that has ended it.
func (g *guest) start(t *testing.T, d Device) relayOf {
	t.Helper()
	s, err := g.tryStart(t, d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (g *guest) tryStart(t *testing.T, d Device) (relayOf, error) {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if d.Name == "" {
		d.Name = "web"
	}
	if d.Mode == 0 {
		d.Mode = DefaultMode
	}
	s, err := Start(t.Context(), "c1", d, g.host, g.inside, log)
	if err != nil {
		return relayOf{}, err
	}
	if err := s.Release(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Kill(s.PID, unix.SIGKILL)
		_ = join.Reap(s.PID)
		if s.File != nil {
			side := g.host
			if d.Inside {
				side = g.inside
			}
			_ = RemoveFile(*s.File, side)
		}
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("log: %s", text)
		}
	})
	return relayOf{s, log.Name()}, nil
}

// eventually waits until something is true.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so after 10 s: %s", what)
		}
	}
}

func (r relayOf) says(t *testing.T, want string) {
	t.Helper()
	eventually(t, "the log has "+want, func() bool {
		text, err := os.ReadFile(r.log)
		return err == nil && strings.Contains(string(text), want)
	})
}

// as is a value as what it has to be.
func as[T any](t *testing.T, v any) T {
	t.Helper()
	x, ok := v.(T)
	if !ok {
		t.Fatalf("%T is no %T", v, x)
	}
	return x
}
