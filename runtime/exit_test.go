package runtime

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// How a run has ended is known afterwards.
func TestExit(t *testing.T) {
	for _, tc := range []struct {
		name, init, want string
		stop             *StopOptions
		killed           bool // the supervisor, and another one takes its place
	}{
		{name: "exit", init: "exit 7", want: "init exited with 7"},
		{name: "poweroff", init: "poweroff -f", want: "powered off"},
		{name: "halt", init: "halt -f", want: "powered off"},
		{name: "killed", init: "sleep 1000", want: "init was killed by signal 9 (SIGKILL)"},
		{name: "stopped by force", init: "sleep 1000", want: "stopped by force", stop: &StopOptions{Force: true}},
		{name: "stopped", init: "trap 'poweroff -f' PWR USR2 TERM; while :; do sleep 0.1; done", want: "powered off", stop: &StopOptions{}},
		{name: "with another supervisor", init: "while [ ! -e /go ]; do sleep 0.1; done; exit 3", want: "init exited with 3", killed: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := busyboxRoot(t)
			s := testSpec(t, root)
			s.Init = []string{"/bin/sh", "-c", "sleep 0.3; " + tc.init}
			s.ExitFile = filepath.Join(t.TempDir(), "exit")
			inst := start(t, s)
			switch {
			case tc.stop != nil:
				if err := inst.Stop(t.Context(), *tc.stop); err != nil {
					t.Fatal(err)
				}
			case tc.killed:
				adoptAgain(t, s, inst)
				write(t, filepath.Join(root, "go"), "", 0o644)
			case tc.name == "killed":
				if err := unix.Kill(inst.PID(), unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			checkGone(t, s)
			eventually(t, "it has ended", 10*time.Second, func() bool { _, ok, _ := LoadExit(s.ExitFile); return ok })
			e, _, err := LoadExit(s.ExitFile)
			if err != nil || e.String() != tc.want || time.Since(e.At) > time.Minute {
				t.Errorf("%v %+v, %v; want %s", e, e, err, tc.want)
			}
		})
	}
}

// adoptAgain kills the supervisor and waits until another one has taken its place.
func adoptAgain(t *testing.T, s Spec, inst *Instance) (supervisor int) {
	t.Helper()
	if err := unix.Kill(inst.state.SupervisorPID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another supervisor is there", 10*time.Second, func() bool {
		if err := Sweep(t.Context(), filepath.Dir(s.RunDir), filepath.Dir(s.Cgroup), Hooks{}); err != nil {
			t.Error(err)
		}
		now, err := Open(s.RunDir)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = now.Close() }()
		supervisor = now.state.SupervisorPID
		return supervisor != inst.state.SupervisorPID && now.state.NoConsole
	})
	return supervisor
}

// An instance whose init ends unexpectedly is started again, if that is wanted, ten times; one that powers off is not.
func TestAutoRestart(t *testing.T) {
	root := busyboxRoot(t)
	s := testSpec(t, root)
	write(t, filepath.Join(root, "root/count"), "", 0o666)
	s.AutoRestart, s.ExitFile = true, filepath.Join(t.TempDir(), "exit")
	s.Init = []string{"/bin/sh", "-c", "echo >> /root/count; sleep 0.1; [ $(wc -l < /root/count) -lt 4 ] || poweroff -f; exit 1"}
	if err := Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is down for a while", 30*time.Second, func() bool { return Restarting(s.RunDir) })
	if e, ok, err := LoadExit(s.ExitFile); !ok || e.Reason != ExitCode || e.Code != 1 {
		t.Errorf("how it ended is not seen meanwhile: %+v, %v", e, err)
	}
	eventually(t, "it stays down", 30*time.Second, func() bool { e, _, _ := LoadExit(s.ExitFile); return e.Reason != ExitCode })
	data, err := os.ReadFile(filepath.Join(root, "root/count"))
	if err != nil || len(data) != 4 {
		t.Errorf("started %d times, %v", len(data), err)
	}
	if e, _, _ := LoadExit(s.ExitFile); e.Reason != ExitPoweredOff {
		t.Errorf("it ended: %s", e)
	}
	checkGone(t, s)
}

// An instance that is down for a moment, until it is started again, can be stopped.
func TestStopRestarting(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	s.AutoRestart, s.ExitFile = true, filepath.Join(t.TempDir(), "exit")
	s.Init = []string{"/bin/sh", "-c", "sleep 0.1; exit 3"}
	if err := Start(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it waits for its next start", 30*time.Second, func() bool { return Restarting(s.RunDir) })
	if err := StopRestarting(t.Context(), s.RunDir, StopOptions{Timeout: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	checkGone(t, s)
	if Restarting(s.RunDir) {
		t.Error("it is still to be started again")
	}
	if e, ok, err := LoadExit(s.ExitFile); !ok || err != nil {
		t.Errorf("how it ended: %+v, %v", e, err)
	}
}

func TestExitString(t *testing.T) {
	for want, e := range map[string]Exit{
		"init exited with 3; restarted 1 time within a minute":  {Reason: ExitCode, Code: 3, Restarts: 1},
		"init exited with 3; restarted 2 times within a minute": {Reason: ExitCode, Code: 3, Restarts: 2},
		"powered off; out of memory, 1 process killed":          {Reason: ExitPoweredOff, OOMKills: 1},
		"powered off; out of memory, 3 processes killed":        {Reason: ExitPoweredOff, OOMKills: 3},
		"init was killed: out of memory":                        {Reason: ExitOOM, OOMKills: 1},
	} {
		if got := e.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// More than ten restarts within a minute are none.
func TestAutoRestartPolicy(t *testing.T) {
	s := newSupervisor(Hooks{})
	s.spec.AutoRestart, s.booted = true, time.Now().Add(-time.Hour)
	for i := range maxRestarts {
		if _, again := s.again(&Exit{Reason: ExitCode, Code: 1}, false); !again {
			t.Fatalf("the restart %d: none", i)
		}
	}
	e := Exit{Reason: ExitCode, Code: 1}
	if _, again := s.again(&e, false); again || e.Restarts != maxRestarts || !strings.Contains(e.String(), "restarted 10 times within a minute") {
		t.Errorf("the eleventh: %v, %s", again, e)
	}
	s.restarts[0] = time.Now().Add(-time.Hour)
	for _, tc := range []struct {
		exit   Exit
		wanted bool
		want   bool
	}{
		{Exit{Reason: ExitCode}, true, false},
		{Exit{Reason: ExitPoweredOff}, false, false},
		{Exit{Reason: ExitUnknown}, false, false},
		{Exit{Reason: ExitForced}, false, false},
		{Exit{Reason: ExitRebooted}, true, false},
		{Exit{Reason: ExitRebooted}, false, true},
		{Exit{Reason: ExitOOM}, false, true},
	} {
		if _, again := s.again(&tc.exit, tc.wanted); again != tc.want {
			t.Errorf("%s, wanted %v: %v", tc.exit, tc.wanted, again)
		}
	}
	// Boots that are short are followed by longer and longer pauses.
	s.booted = time.Now()
	var pauses []time.Duration
	for range 9 {
		p, _ := s.again(&Exit{Reason: ExitRebooted}, false)
		pauses = append(pauses, p)
	}
	if pauses[0] != firstWait || pauses[1] != 2*firstWait || pauses[8] != slowest {
		t.Errorf("pauses: %v", pauses)
	}
}

// A supervisor that was killed is replaced: all but the console is as before.
func TestAdopted(t *testing.T) {
	s := testSpec(t, busyboxRoot(t))
	s.About = t.TempDir()
	inst := start(t, s)
	sup := adoptAgain(t, s, inst)
	if f := slim(t, s.RunDir, 4<<20); f.fds > 14 {
		t.Errorf("it has %s", f)
	}
	if err := AttachConsole(t.Context(), s.RunDir, ConsoleOptions{}); !errors.Is(err, ErrConsoleLost) {
		t.Errorf("console: %v", err)
	}
	if out, code := run(t, inst, "", "echo", "alive"); code != 0 || out != "alive\n" {
		t.Errorf("exec: %d, %q", code, out)
	}
	acted(t, s.About)
	run(t, inst, "", "reboot", "-f")
	var again *Instance
	eventually(t, "it has rebooted", 20*time.Second, func() bool {
		var err error
		again, err = Open(s.RunDir)
		return err == nil && again.PID() != inst.PID()
	})
	if again.state.SupervisorPID != sup || again.state.NoConsole {
		t.Errorf("after the reboot: %+v", again.state)
	}
	a, err := connectConsole(t.Context(), s.RunDir, false)
	if err != nil {
		t.Errorf("console after the reboot: %v", err)
	} else {
		_, _ = a.sock.Close(), a.stop.Close()
	}
	if err := again.Stop(t.Context(), StopOptions{Timeout: 10 * time.Second}); err != nil {
		t.Error(err)
	}
	_ = again.Close()
	checkGone(t, s)
}
