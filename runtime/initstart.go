package runtime

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// An init that cannot work, for want of a library or of a file, ends a moment
// after it was executed. A start waits until it has arranged for signals, as
// every init does first of all, or has ended, but no longer than initTime.
const (
	initTime = 50 * time.Millisecond
	initPoll = 500 * time.Microsecond
)

// awaitInit is that wait. The error of an init that has ended says how, and what
// it wrote to its console, of which master is the other end.
func (s *supervisor) awaitInit(init *process, master int) error {
	pid := init.cmd.Process.Pid
	for end := time.Now().Add(initTime); time.Now().Before(end); time.Sleep(initPoll) {
		if ended(init.pidfd) {
			return s.initEnded(init, master)
		}
		status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
		if err == nil && arranged(string(status)) {
			break
		}
	}
	return nil
}

// arranged says of a /proc/PID/status that the process has handlers for one of
// the signals that tell an init to stop or to reboot, or blocks it to fetch it
// (man proc_pid_status). A dynamic linker or a shell does not.
func arranged(status string) bool {
	for _, sig := range []unix.Signal{unix.SIGINT, unix.SIGPWR, unix.SIGUSR2, unix.SIGTERM} {
		if handlesSignal(status, sig) {
			return true
		}
	}
	return false
}

// initEnded looks at an init that has ended, and leaves it for who reaps it.
func (s *supervisor) initEnded(init *process, master int) error {
	how := "ended at once"
	if stat, err := os.ReadFile("/proc/" + strconv.Itoa(init.cmd.Process.Pid) + "/stat"); err == nil {
		switch st, ok := zombieStatus(string(stat), s.state.InitStart); {
		case ok && st.Exited():
			how += fmt.Sprintf(" with exit code %d", st.ExitStatus())
		case ok && st.Signaled():
			how += fmt.Sprintf(" by signal %d (%s)", st.Signal(), unix.SignalName(st.Signal()))
		}
	}
	buf := make([]byte, 4096)
	if n, err := unix.Read(master, buf); err == nil && n > 0 {
		how += ", and wrote: " + firstLine(string(buf[:n]))
	}
	return fmt.Errorf("%s %s", s.spec.initArgs()[0], how)
}

// firstLine is the first line that says something, at most 300 characters of it,
// without what a terminal would act on.
func firstLine(text string) string {
	for line := range strings.Lines(text) {
		line = strings.Map(func(r rune) rune {
			if r < ' ' || r >= 0x7f && r < 0xa0 {
				return -1
			}
			return r
		}, line)
		if line = strings.TrimSpace(line); line != "" {
			return fmt.Sprintf("%.300s", line)
		}
	}
	return "nothing"
}
