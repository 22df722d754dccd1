package runtime

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/proxy"
)

// proxied is an instance with a service that says which boot of it this is, and devices
// that lead to it.
func proxied(t *testing.T, devices ...proxy.Device) Spec {
	t.Helper()
	root := busyboxRoot(t)
	write(t, filepath.Join(root, "etc/inittab"), "::sysinit:/bin/sh -c 'ifconfig lo up; echo boot >> /root/boots'\n"+
		"::respawn:/usr/bin/nc -ll -p 80 -e /root/say\n", 0o644)
	write(t, filepath.Join(root, "root/say"), "#!/bin/sh\nwc -l < /root/boots\n", 0o755)
	s := testSpec(t, root)
	s.Proxies = devices
	return s
}

func device(t *testing.T, name, listen, connect string) proxy.Device {
	t.Helper()
	d := proxy.Device{Name: name, Mode: proxy.DefaultMode}
	var err1, err2 error
	d.Listen, err1 = proxy.Parse(listen)
	d.Connect, err2 = proxy.Parse(connect)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return d
}

// answer is what a service says, or an error.
func answerOf(address string) string {
	kind := "tcp"
	if strings.HasPrefix(address, "/") {
		kind = "unix"
	}
	c, err := net.DialTimeout(kind, address, 5*time.Second)
	if err != nil {
		return err.Error()
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	text, err := io.ReadAll(c)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text))
}

func answers(t *testing.T, address, want string) {
	t.Helper()
	eventually(t, address+" answers "+want, 20*time.Second, func() bool { return answerOf(address) == want })
}

func TestProxies(t *testing.T) {
	dir := t.TempDir()
	sock := device(t, "sock", "unix:"+dir+"/web", "tcp:127.0.0.1:80")
	s := proxied(t, device(t, "web", "tcp:127.0.0.1:23080", "tcp:127.0.0.1:80"), sock)
	inst := start(t, s)
	answers(t, "127.0.0.1:23080", "1")
	answers(t, dir+"/web", "1")
	// A process that was killed comes back, more than once.
	for range 2 {
		list, err := loadProxies(s.RunDir)
		if err != nil || len(list) != 2 {
			t.Fatalf("%v: %v", list, err)
		}
		for _, p := range list {
			if err := unix.Kill(p.PID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "others have taken their places", 20*time.Second, func() bool {
			now, err := loadProxies(s.RunDir)
			return err == nil && now[0].PID != list[0].PID && now[1].PID != list[1].PID && now[0].PID != 0 && now[1].PID != 0
		})
		answers(t, "127.0.0.1:23080", "1")
		answers(t, dir+"/web", "1")
	}
	// Devices come and go.
	more := device(t, "more", "tcp:127.0.0.1:23081", "tcp:127.0.0.1:80")
	if err := inst.AttachProxy(t.Context(), more); err != nil {
		t.Fatal(err)
	}
	answers(t, "127.0.0.1:23081", "1")
	for want, d := range map[string]proxy.Device{
		"devices web and again both listen on tcp port 23080": device(t, "again", "tcp:0.0.0.0:23080", "tcp:127.0.0.1:80"),
		"device web is there": device(t, "web", "tcp:127.0.0.1:23089", "tcp:127.0.0.1:80"),
	} {
		if err := inst.AttachProxy(t.Context(), d); err == nil || !strings.Contains(err.Error(), want) && !strings.Contains(err.Error(), "both listen on tcp port 23080") {
			t.Errorf("%v, want %s", err, want)
		}
	}
	list, err := loadProxies(s.RunDir)
	if err != nil || len(list) != 3 {
		t.Fatalf("%v: %v", list, err)
	}
	if err := unix.Kill(list[2].PID, unix.SIGKILL); err != nil { // it is looked after, too
		t.Fatal(err)
	}
	answers(t, "127.0.0.1:23081", "1")
	if err := inst.DetachProxy(t.Context(), "more"); err != nil {
		t.Fatal(err)
	}
	if got := answerOf("127.0.0.1:23081"); !strings.Contains(got, "refused") {
		t.Errorf("a device that was removed: %s", got)
	}
	if have, err := inst.Proxies(); err != nil || len(have) != 2 {
		t.Errorf("%v: %v", have, err)
	}
	// A reboot has them again.
	run(t, inst, "", "reboot", "-f")
	answers(t, "127.0.0.1:23080", "2")
	answers(t, dir+"/web", "2")
	// Another supervisor looks after them.
	again, err := Open(s.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	if err := unix.Kill(again.state.SupervisorPID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	answers(t, "127.0.0.1:23080", "2")
	eventually(t, "another supervisor is there", 10*time.Second, func() bool {
		if err := Sweep(t.Context(), filepath.Dir(s.RunDir), filepath.Dir(s.Cgroup), Hooks{}); err != nil {
			t.Fatal(err)
		}
		st, err := loadState(s.RunDir)
		return err == nil && st.SupervisorPID != again.state.SupervisorPID
	})
	if list, err = loadProxies(s.RunDir); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(list[0].PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the port is there again", 20*time.Second, func() bool {
		now, err := loadProxies(s.RunDir)
		return err == nil && now[0].PID != list[0].PID && now[0].PID != 0
	})
	answers(t, "127.0.0.1:23080", "2")
	if err := again.Stop(t.Context(), StopOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	checkGone(t, s)
	if _, err := os.Lstat(dir + "/web"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestProxyRefused: an address that is taken fails the start, and nothing is left.
func TestProxyRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:23090")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	s := proxied(t, device(t, "sock", "unix:"+dir+"/s", "tcp:127.0.0.1:80"), device(t, "web", "tcp:0.0.0.0:23090", "tcp:127.0.0.1:80"))
	if err := Start(t.Context(), s); err == nil || !strings.Contains(err.Error(), "device web: cannot listen on tcp:0.0.0.0:23090") || strings.Contains(err.Error(), "sock") {
		t.Errorf("%v", err)
	}
	checkGone(t, s)
	if _, err := os.Lstat(dir + "/s"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// TestProxyInside: a socket in the instance that its init mounts over comes back; the
// host's service is reached through it.
func TestProxyInside(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:23095")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprintln(c, "the host")
			c.Close()
		}
	}()
	d := device(t, "in", "unix:/run/in", "tcp:127.0.0.1:23095")
	d.Inside = true
	s := proxied(t, d)
	write(t, filepath.Join(s.Rootfs, "etc/inittab"), "::sysinit:/bin/sh -c 'sleep 0.3; mount -t tmpfs tmpfs /run'\n::respawn:/bin/sleep 1000\n", 0o644)
	inst := start(t, s)
	eventually(t, "the socket is there", 20*time.Second, func() bool {
		out, _ := run(t, inst, "", "sh", "-c", "grep -q ' /run ' /proc/mounts && test -S /run/in && echo yes")
		return out == "yes\n"
	})
	answers(t, fmt.Sprintf("/proc/%d/root/run/in", inst.PID()), "the host")
	// SIGKILL for all.
	list, err := loadProxies(s.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range []int{inst.state.SupervisorPID, inst.PID()} {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	eventually(t, "the process has ended with the instance", 10*time.Second, func() bool {
		return errors.Is(unix.Kill(list[0].PID, 0), unix.ESRCH)
	})
	if err := Sweep(t.Context(), filepath.Dir(s.RunDir), filepath.Dir(s.Cgroup), Hooks{}); err != nil {
		t.Error(err)
	}
	checkGone(t, s)
}
