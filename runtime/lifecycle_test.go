package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
)

func TestStartRefuses(t *testing.T) {
	root := busyboxRoot(t)
	for _, c := range []struct {
		name string
		edit func(*Spec)
		want string
	}{
		{"no init", func(s *Spec) { s.Init = []string{"/sbin/none"} }, "cannot execute /sbin/none: there is no such file in the root filesystem"},
		{"init is no program", func(s *Spec) { s.Init = []string{"/etc/passwd-"} }, "cannot execute /etc/passwd-: it is no program, nor a script that begins with #!"},
		{"init is not executable", func(s *Spec) { s.Init = []string{"/etc/passwd"} }, "cannot execute /etc/passwd: it is not executable"},
		{"no root filesystem", func(s *Spec) { s.Rootfs = "/none" }, "cannot open the root filesystem /none: no such file or directory"},
		{"relative root filesystem", func(s *Spec) { s.Rootfs = "none" }, `invalid root filesystem "none": want an absolute path`},
		{"filesystem without idmapped mounts", func(s *Spec) { s.Rootfs = "/sys/kernel" }, "cannot map the ids of /sys/kernel: its filesystem does not support idmapped mounts"},
		{"no id map", func(s *Spec) { s.UIDMap = nil }, "invalid id map: it does not map id 0"},
		{"bad cgroup", func(s *Spec) { s.Cgroup = "a/../b" }, `invalid cgroup path "a/../b": want an absolute one below the root`},
		{"bad environment", func(s *Spec) { s.Env = map[string]string{"A=B": ""} }, `invalid environment variable "A=B"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := testSpec(t, root)
			write(t, filepath.Join(root, "etc/passwd-"), "no program", 0o755)
			cgroup := s.Cgroup
			c.edit(&s)
			err := Start(t.Context(), s)
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if _, err := Open(s.RunDir); !errors.Is(err, ErrNotRunning) {
				t.Errorf("Open: %v", err)
			}
			s.Cgroup = cgroup
			checkGone(t, s)
		})
	}
}

// TestStartTwice refuses a second start, and leaves the first alone.
func TestStartTwice(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	inst := start(t, s)
	if err := Start(t.Context(), s); err == nil || err.Error() != "it is running already" {
		t.Errorf("got %v", err)
	}
	if out, code := run(t, inst, "", "echo", "alive"); code != 0 || out != "alive\n" {
		t.Errorf("after that: %d, %q", code, out)
	}
}

// TestImageTraps starts an image whose mount points lead elsewhere.
func TestImageTraps(t *testing.T) {
	for _, trap := range []string{"proc", "dev", "sys"} {
		t.Run(trap, func(t *testing.T) {
			root := busyboxRoot(t)
			if err := os.RemoveAll(filepath.Join(root, trap)); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink("/tmp", filepath.Join(root, trap)); err != nil {
				t.Fatal(err)
			}
			s := testSpec(t, root)
			err := Start(t.Context(), s)
			if err == nil || err.Error() != "cannot mount on /"+trap+": it is not a directory in the image" {
				t.Errorf("got %v", err)
			}
			checkGone(t, s)
		})
	}
	t.Run("missing", func(t *testing.T) {
		root := busyboxRoot(t)
		for _, dir := range []string{"proc", "dev", "sys"} {
			if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
				t.Fatal(err)
			}
		}
		inst := start(t, testSpec(t, root))
		if out, code := run(t, inst, "", "sh", "-c", "cat /proc/1/comm; echo > /dev/null"); code != 0 || out != "init\n" {
			t.Errorf("%d, %q", code, out)
		}
	})
}

// TestDeviceInImage checks that an image's own device nodes are of no use, even
// to the instance's root, and cannot be made so.
func TestDeviceInImage(t *testing.T) {
	root := busyboxRoot(t)
	node := filepath.Join(root, "root/null")
	if err := unix.Mknod(node, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(node, 0o666); err != nil {
		t.Fatal(err)
	}
	inst := start(t, testSpec(t, root))
	script := "echo x > /root/null; mount -o remount,bind,dev /; echo x > /root/null; mount --bind / /tmp && mount -o remount,bind,dev /tmp; echo x > /tmp/root/null; mknod /tmp/n c 1 3"
	out, _ := run(t, inst, "", "sh", "-c", script)
	if n := strings.Count(out, "Permission denied") + strings.Count(out, "permission denied") + strings.Count(out, "Operation not permitted"); n != 6 {
		t.Errorf("some attempt succeeded (%d of 6 refused):\n%s", n, out)
	}
}

// TestReboot restarts from inside: another init, the same instance.
func TestReboot(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	inst := start(t, s)
	run(t, inst, "", "reboot", "-f") // its exit code depends on who is killed first
	var again *Instance
	eventually(t, "the instance is back", 10*time.Second, func() bool {
		var err error
		again, err = Open(s.RunDir)
		if err == nil && again.PID() == inst.PID() {
			_ = again.Close()
			return false
		}
		return err == nil
	})
	defer func() { _ = again.Close() }()
	if code, err := inst.Exec(t.Context(), ExecOptions{Args: []string{"true"}}); code != -1 || !errors.Is(err, ErrNotRunning) {
		t.Errorf("in the instance before: %d, %v", code, err)
	}
	if out, code := run(t, again, "", "hostname"); code != 0 || out != s.Hostname+"\n" {
		t.Errorf("after the reboot: %d, %q", code, out)
	}
	if err := again.Stop(t.Context(), StopOptions{Timeout: 10 * time.Second}); err != nil {
		t.Error(err)
	}
}

// TestPoweroff ends from inside, and tells so.
func TestPoweroff(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	s.About = t.TempDir()
	inst := start(t, s)
	run(t, inst, "", "poweroff", "-f") // its exit code depends on who is killed first
	eventually(t, "the end is told", 10*time.Second, func() bool {
		how, err := os.ReadFile(s.About + "/ended")
		return err == nil && string(how) == "1"
	})
	if _, err := Open(s.RunDir); !errors.Is(err, ErrNotRunning) {
		t.Errorf("Open: %v", err)
	}
	checkGone(t, s)
}

// TestStopTimeout leaves an instance running that does not stop.
func TestStopTimeout(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	s.Init = []string{"/bin/sleep", "1000"}
	inst := start(t, s)
	begin := time.Now()
	if err := inst.Stop(t.Context(), StopOptions{Timeout: 200 * time.Millisecond}); !errors.Is(err, ErrTimeout) {
		t.Errorf("got %v", err)
	}
	if d := time.Since(begin); d > time.Second {
		t.Errorf("it took %v", d)
	}
	if out, code := run(t, inst, "", "echo", "alive"); code != 0 || out != "alive\n" {
		t.Errorf("after that: %d, %q", code, out)
	}
	begin = time.Now()
	if err := inst.Stop(t.Context(), StopOptions{Force: true}); err != nil {
		t.Error(err)
	}
	t.Logf("forced stop: %v", time.Since(begin))
	checkGone(t, s)
}

// TestStats reads counters that are the instance's.
func TestStats(t *testing.T) {
	inst := start(t, testSpec(t, busyboxRoot(t)))
	run(t, inst, "", "sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
	st, err := inst.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if st.Processes < 1 || st.Processes > 5 || st.CPU < time.Millisecond || st.Memory <= 0 || st.MemoryPeak < st.Memory/2 {
		t.Errorf("unlikely: %+v", st)
	}
}

// TestHostUnchanged compares the host's mounts before and after.
func TestHostUnchanged(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	inst := start(t, s)
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), s.Rootfs) {
		t.Errorf("the host sees the instance's mount:\n%s", data)
	}
	sup, err := os.ReadFile("/proc/" + itoa(inst.state.SupervisorPID) + "/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(sup), s.Rootfs) {
		t.Errorf("the supervisor sees the instance's mount:\n%s", sup)
	}
}

// TestSessionCgroup starts from a cgroup that a service manager would clear
// away: the supervisor must not stay in it.
func TestSessionCgroup(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	layout, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	session, err := layout.Tracking().Group("/poolctl-test/" + s.Name + "-session")
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Create(0, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := session.Remove(context.Background()); err != nil {
			t.Error(err)
		}
	})
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	hold, release, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", "read x; exec /proc/"+itoa(os.Getpid())+"/exe")
	cmd.Stdin, cmd.Env = hold, append(os.Environ(), helperEnv+"="+string(data))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := session.EnterPID(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := release.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	inst, err := Open(s.RunDir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = inst.Close() }()
	eventually(t, "the session is empty", 2*time.Second, func() bool {
		n, err := session.Count()
		return err == nil && n == 0
	})
	if err := session.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := inst.Stop(t.Context(), StopOptions{Timeout: 10 * time.Second}); err != nil {
		t.Error(err)
	}
	checkGone(t, s)
}

// TestRebootWhileStopping does not come back, and a stopper that was killed does
// not keep later reboots from working.
func TestRebootWhileStopping(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	inst := start(t, s)
	note, err := inst.announceStop(false)
	if err != nil {
		t.Fatal(err)
	}
	if stopped, force := stopAnnounced(s.RunDir); !stopped || force {
		t.Error("the announcement is not seen")
	}
	if err := note.Close(); err != nil {
		t.Fatal(err)
	}
	if stopped, _ := stopAnnounced(s.RunDir); stopped {
		t.Error("the announcement outlives who made it")
	}
	if note, err = inst.announceStop(false); err != nil {
		t.Fatal(err)
	}
	run(t, inst, "", "reboot", "-f")
	eventually(t, "the instance is gone", 5*time.Second, func() bool {
		_, err := os.Lstat(s.RunDir)
		return errors.Is(err, os.ErrNotExist)
	})
	_ = note.Close()
}

// TestStopDuringReboot stops for good whatever the moment.
func TestStopDuringReboot(t *testing.T) {
	root := busyboxRoot(t)
	for i := range 10 {
		s := testSpec(t, root)
		inst := start(t, s)
		run(t, inst, "", "reboot", "-f")
		time.Sleep(time.Duration(i) * 15 * time.Millisecond)
		again, err := Open(s.RunDir)
		if err == nil {
			if err := again.Stop(t.Context(), StopOptions{Force: true}); err != nil {
				t.Errorf("after %d ms: %v", i*15, err)
			}
			_ = again.Close()
		} else if err := inst.Stop(t.Context(), StopOptions{Force: true}); err != nil {
			t.Errorf("after %d ms, by the old one: %v", i*15, err)
		}
		checkGone(t, s)
	}
}

// TestHostShutdown stops cleanly when the supervisor is told to end.
func TestHostShutdown(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	inst := start(t, s)
	eventually(t, "the supervisor waits", 5*time.Second, func() bool { return waits(inst.state.SupervisorPID) })
	time.Sleep(100 * time.Millisecond) // the few milliseconds before that may lose a signal
	if err := unix.Kill(inst.state.SupervisorPID, unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the instance is gone", 10*time.Second, func() bool {
		_, err := os.Lstat(s.RunDir)
		return errors.Is(err, os.ErrNotExist)
	})
	console, err := os.ReadFile(s.ConsoleLog)
	if err != nil || !strings.Contains(string(console), "going down") {
		t.Errorf("the shutdown action did not run: %v, %q", err, console)
	}
}

// TestOtherBoot does not believe a state file of another boot of the host.
func TestOtherBoot(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	inst := start(t, s)
	st := inst.state
	st.BootID = "another"
	if _, err := st.openInit(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("got %v", err)
	}
	st = inst.state
	st.InitStart++
	if _, err := st.openInit(); !errors.Is(err, ErrNotRunning) {
		t.Errorf("another start time: %v", err)
	}
}
