package runtime

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sysvinitRoot is the Debian root with sysvinit in the place of systemd, and an
// inittab that has no action for SIGPWR, as Debian's has none that exists.
func sysvinitRoot(t testing.TB) string {
	t.Helper()
	root := debianRoot(t)
	from := os.Getenv("POOLCTL_TEST_SYSVINIT")
	if from == "" {
		from = "/var/tmp/poolctl-test-debian-sysvinit"
	}
	for _, name := range []string{"init", "telinit", "halt", "reboot", "poweroff", "shutdown", "runlevel"} {
		at := filepath.Join(root, "usr/sbin", name)
		if err := os.Remove(at); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if out, err := exec.Command("cp", "-a", filepath.Join(from, "sbin", name), at).CombinedOutput(); err != nil {
			t.Fatalf("scripts/debian-root makes a sysvinit, which is required: %v: %s", err, out)
		}
	}
	write(t, filepath.Join(root, "etc/inittab"), `id:2:initdefault:
si::sysinit:/bin/echo sysvinit boots
l0:0:wait:/sbin/halt -d -f -p
l6:6:wait:/sbin/reboot -d -f
ca:12345:ctrlaltdel:/sbin/shutdown -t1 -r now
s:2345:respawn:/bin/sleep 1000
`, 0o644)
	return root
}

// systemdRoot is the Debian root for a machine without a network: its networking
// would wait for eth0 and fail.
func systemdRoot(t testing.TB) string {
	t.Helper()
	root := debianRoot(t)
	write(t, filepath.Join(root, "etc/network/interfaces"), "auto lo\niface lo inet loopback\n", 0o644)
	return root
}

// inits are the kinds of init, each with what says that it has booted.
var inits = []struct {
	name   string
	root   func(testing.TB) string
	booted []string
	want   string
}{
	{"systemd", systemdRoot, []string{"systemctl", "is-system-running"}, "running"},
	{"sysvinit", sysvinitRoot, []string{"runlevel"}, "N 2"},
	{"openrc", openrcRoot, []string{"rc-status", "-r"}, "default"},
	{"busybox", busyboxRoot, []string{"pidof", "sleep"}, ""},
}

// TestInits takes every kind of init through what it is to bear: it boots, comes
// back from a reboot asked for inside, ends by poweroff and halt, which is seen
// within 200 ms, and by a clean stop.
func TestInits(t *testing.T) {
	for _, c := range inits {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			s := testSpec(t, c.root(t))
			begin := time.Now()
			inst := start(t, s)
			booted := func(inst *Instance) {
				t.Helper()
				var out string
				eventually(t, "it has booted: "+c.name, 60*time.Second, func() bool {
					var code int
					out, code = run(t, inst, "", c.booted...)
					out = strings.TrimSpace(out)
					return code == 0 && (c.want == "" || out == c.want) || out == "degraded"
				})
				if out == "degraded" {
					failed, _ := run(t, inst, "", "systemctl", "--failed", "--no-legend", "--plain")
					t.Fatalf("units failed:\n%s", failed)
				}
			}
			booted(inst)
			t.Logf("booted in %v", time.Since(begin))

			begin = time.Now()
			_, _ = run(t, inst, "", "reboot") // it may be gone before it answers
			var again *Instance
			eventually(t, "it has rebooted", 60*time.Second, func() bool {
				now, err := Open(s.RunDir)
				if err != nil {
					return false
				}
				if now.state.InitPID == inst.state.InitPID {
					_ = now.Close()
					return false
				}
				again = now
				return true
			})
			defer again.Close()
			booted(again)
			t.Logf("rebooted in %v", time.Since(begin))

			endsBy(t, s, again, "poweroff")
			inst = start(t, s)
			booted(inst)
			endsBy(t, s, inst, "halt")
			inst = start(t, s)
			booted(inst)
			begin = time.Now()
			if err := inst.Stop(t.Context(), StopOptions{Timeout: patient(30 * time.Second)}); err != nil {
				t.Fatal(err)
			}
			t.Logf("stopped in %v", time.Since(begin))
		})
	}
}

// endsBy runs a command that ends the instance, and measures when that is seen
// from outside after init has ended.
func endsBy(t *testing.T, s Spec, inst *Instance, command string) {
	t.Helper()
	began := time.Now()
	_, _ = run(t, inst, "", command)
	fds := []unix.PollFd{{Fd: int32(inst.pidfd), Events: unix.POLLIN}}
	for n := 0; n <= 0; { // -1 where a signal came
		if time.Since(began) > patient(60*time.Second) {
			t.Fatalf("%s does not end it", command)
		}
		var err error
		if n, err = unix.Poll(fds, 1000); err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
	ended := time.Now()
	for {
		now, err := Open(s.RunDir)
		if errors.Is(err, ErrNotRunning) {
			break
		}
		if err == nil {
			_ = now.Close()
		}
		if time.Since(ended) > 10*time.Second {
			t.Fatalf("after %s it is still seen as running: %v", command, err)
		}
		time.Sleep(time.Millisecond)
	}
	seen := time.Since(ended)
	t.Logf("%s: ended after %v, seen %v later", command, ended.Sub(began), seen)
	if seen > 200*time.Millisecond {
		t.Errorf("%s is seen after %v, want 200 ms", command, seen)
	}
	checkGone(t, s)
}

// TestSystemdServices looks at what a systemd does for those who log in and for
// whoever reads its journal.
func TestSystemdServices(t *testing.T) {
	t.Parallel()
	s := testSpec(t, systemdRoot(t))
	inst := start(t, s)
	eventually(t, "systemd has booted", 60*time.Second, func() bool {
		out, _ := run(t, inst, "", "systemctl", "is-system-running")
		return strings.TrimSpace(out) == "running"
	})
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"systemctl", "is-active", "systemd-journald", "systemd-logind", "dbus"}, "active\nactive\nactive\n"},
		{[]string{"systemd-run", "--wait", "--pipe", "--quiet", "echo", "of a unit"}, "of a unit\n"},
		{[]string{"systemd-run", "--wait", "--quiet", "--unit=noisy", "echo", "for the journal"}, ""},
		{[]string{"sh", "-c", "journalctl --sync; journalctl -u noisy -o cat | grep 'for the journal'"}, "for the journal\n"},
		{[]string{"loginctl", "--no-legend", "list-sessions"}, ""},
		{[]string{"loginctl", "show-seat", "seat0", "-p", "Id"}, "Id=seat0\n"},
	} {
		if out, code := run(t, inst, "", c.args...); code != 0 || !strings.Contains(out, c.want) {
			t.Errorf("%v: exit code %d, %q", c.args, code, out)
		}
	}
	if err := inst.Stop(t.Context(), StopOptions{Timeout: patient(20 * time.Second)}); err != nil {
		t.Fatal(err)
	}
}
