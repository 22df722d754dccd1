package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ExitReason says what ended a run of an instance.
type ExitReason string

// The reasons.
const (
	ExitPoweredOff ExitReason = "powered-off" // from inside, or asked to stop: reboot(2) with RB_POWER_OFF or RB_HALT_SYSTEM
	ExitRebooted   ExitReason = "rebooted"    // it could not be started again, or was not to be
	ExitForced     ExitReason = "forced"      // killed by a stop with force
	ExitOOM        ExitReason = "out-of-memory"
	ExitSignal     ExitReason = "signal" // init was ended by Signal
	ExitCode       ExitReason = "exit"   // init has exited with Code
	ExitUnknown    ExitReason = "unknown"
)

// Exit is the end of an instance's last run.
type Exit struct {
	At     time.Time  `json:"at" yaml:"at"`
	Reason ExitReason `json:"reason" yaml:"reason"`
	Code   int        `json:"code,omitempty" yaml:"code,omitempty"`
	Signal int        `json:"signal,omitempty" yaml:"signal,omitempty"`
	// OOMKills is how many processes of the instance were killed for want of
	// memory.
	OOMKills int64 `json:"oom_kills,omitempty" yaml:"oom_kills,omitempty"`
	// Restarts is how often it was started again after it had ended unexpectedly
	// (Spec.AutoRestart), within the last minute.
	Restarts int `json:"restarts,omitempty" yaml:"restarts,omitempty"`
}

// String is for people: "powered off", "init exited with 1".
func (e Exit) String() string {
	var text string
	switch e.Reason {
	case ExitPoweredOff:
		text = "powered off"
	case ExitRebooted:
		text = "rebooted"
	case ExitForced:
		text = "stopped by force"
	case ExitOOM:
		text = "init was killed: out of memory"
	case ExitSignal:
		text = fmt.Sprintf("init was killed by signal %d (%s)", e.Signal, unix.SignalName(syscall.Signal(e.Signal)))
	case ExitCode:
		text = fmt.Sprintf("init exited with %d", e.Code)
	case ExitUnknown:
		text = "unknown: its supervisor had been killed"
	default:
		text = string(e.Reason)
	}
	if e.OOMKills > 0 && e.Reason != ExitOOM {
		text += "; out of memory, " + counted(e.OOMKills, "process", "processes") + " killed"
	}
	if e.Restarts > 0 {
		text += "; restarted " + counted(e.Restarts, "time", "times") + " within a minute"
	}
	return text
}

// counted is a number of things, with their name.
func counted[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// LoadExit reads what a supervisor has written to Spec.ExitFile; ok is false when
// there is nothing.
func LoadExit(path string) (e Exit, ok bool, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return e, false, nil
	}
	if err == nil {
		err = decodeLimited(f, &e)
	}
	if err != nil {
		return e, false, fmt.Errorf("cannot read how the instance ended: %w", err)
	}
	return e, true, nil
}

// save writes it, if it is wanted.
func (e Exit) save(path string) error {
	if path == "" {
		return nil
	}
	data, err := json.Marshal(e)
	if err == nil {
		err = writeAtomic(path, data)
	}
	if err != nil {
		return fmt.Errorf("cannot note how the instance ended: %w", err)
	}
	return nil
}

// exitOf makes sense of the status of an instance's init. The kernel ends the
// init of a pid namespace with SIGHUP when it asks for a reboot, and with SIGINT
// when it powers off or halts (man pid_namespaces, "reboot(2)").
func exitOf(st unix.WaitStatus, known bool, ooms int64) Exit {
	e := Exit{At: time.Now().UTC(), OOMKills: ooms}
	switch {
	case !known:
		e.Reason = ExitUnknown
	case st.Exited():
		e.Reason, e.Code = ExitCode, st.ExitStatus()
	case st.Signal() == unix.SIGINT:
		e.Reason = ExitPoweredOff
	case st.Signal() == unix.SIGHUP:
		e.Reason = ExitRebooted
	case st.Signal() == unix.SIGKILL && ooms > 0:
		e.Reason = ExitOOM
	default:
		e.Reason, e.Signal = ExitSignal, int(st.Signal())
	}
	return e
}

// unexpected says whether it is a reason to start the instance again.
func (e Exit) unexpected() bool {
	switch e.Reason {
	case ExitPoweredOff, ExitForced, ExitUnknown:
		return false
	case ExitRebooted, ExitOOM, ExitSignal, ExitCode:
	}
	return true
}

// reapTime bounds how long it is waited for the parent of an init to reap it.
const reapTime = time.Second

// statusOf is how an instance's init has ended: a child, which is reaped, or that
// of a supervisor before. How that one ended its entry in /proc says until it is
// reaped, and after that the pidfd, since Linux 6.15.
func statusOf(s state, pidfd int) (st unix.WaitStatus, known bool) {
	for {
		_, err := unix.Wait4(s.InitPID, &st, unix.WALL, nil)
		if err == nil {
			return st, true
		}
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	for end := time.Now().Add(reapTime); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.InitPID)); err == nil {
			if st, ok := zombieStatus(string(stat), s.InitStart); ok {
				return st, true
			}
		}
		info := unix.PidfdInfo{Mask: unix.PIDFD_INFO_EXIT}
		if err := unix.IoctlPidfdInfo(pidfd, &info); err == nil && info.Mask&unix.PIDFD_INFO_EXIT != 0 {
			return unix.WaitStatus(info.Exit_code), true //nolint:gosec // bits
		}
	}
	return 0, false
}

// zombieStatus takes the exit code, field 52, from the /proc/PID/stat (man
// proc_pid_stat) of a process that has ended and has that start time.
func zombieStatus(stat string, start uint64) (st unix.WaitStatus, ok bool) {
	if n, err := parseStartTime(stat); err != nil || n != start {
		return 0, false
	}
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 50 || f[0] != "Z" {
		return 0, false
	}
	n, err := strconv.ParseUint(f[49], 10, 32)
	return unix.WaitStatus(n), err == nil
}
