package runtime

import (
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"

	"poolctl/runtime/stage"
)

// ownProgram is what a process was executed from, also where no path leads to it.
const ownProgram = "/proc/self/exe"

// program is what PID 1 is executed from, if that is no path in the instance.
func (s Spec) program() string {
	if s.Idle {
		return ownProgram
	}
	return ""
}

// runIdle is PID 1 of an instance in which only commands run (Spec.Idle). The kernel
// reaps for whoever ignores SIGCHLD (man sigaction, SA_NOCLDWAIT). It handles all
// other signals by doing nothing, and so lasts until it is killed from outside. No
// command runs before it has said so, by closing the stage's socket: until then
// Go's own handlers would end it.
func runIdle() {
	_ = unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(unsafe.StringData(idleName+"\x00"))), 0, 0, 0) // else ps calls it "exe"
	signal.Notify(make(chan os.Signal, 1))                                                                 // nobody reads it: they are dropped
	signal.Ignore(unix.SIGCHLD)
	_ = unix.Close(stage.SocketFD)
	for {
		_ = unix.Pause() // it ends by a signal only
	}
}
