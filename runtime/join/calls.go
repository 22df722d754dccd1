//go:build amd64 || arm64

package join

import (
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call is a system call that Calls makes.
type Call struct {
	// Op says what it is for, for the error: "listen on port 80".
	Op   string
	Nr   uintptr
	Args [6]uintptr
	// Opens makes the result the descriptor of all calls behind it with OnOpened,
	// which have it as their first argument.
	Opens, OnOpened bool
	// Try has an error ignored.
	Try bool
	// Result is what it has returned.
	Result uintptr
}

// script is what the child of Calls does.
type script struct {
	calls  []Call
	stack  []byte
	failed uintptr // 1 for the first call
	errno  syscall.Errno
}

// Calls makes system calls in a process of its own with a single thread, which is
// what a change of the user namespace takes (man setns). Files that are opened are
// the caller's. Keep has what the arguments point to.
func Calls(calls []Call, keep ...any) error {
	_, err := runScript(calls, unix.CLONE_FILES, keep)
	return err
}

// Execute is Calls for one that ends with an execve. The process stays, a child of
// the calling one, which must reap it. Files are the child's own.
func Execute(calls []Call, keep ...any) (pid int, err error) {
	return runScript(calls, 0, keep)
}

func runScript(calls []Call, flags uint64, keep []any) (pid int, err error) {
	s := &script{calls: calls, stack: make([]byte, stackSize)} // on the heap: a goroutine's stack may move
	start := (uintptr(unsafe.Pointer(&s.stack[0])) + 15) &^ 15
	args := &cloneArgs{
		flags: unix.CLONE_VM | unix.CLONE_VFORK | flags, exitSignal: uint64(unix.SIGCHLD),
		stack: uint64(start), stackSize: stackSize - 16 - 64, // see start
	}
	child, errno := forkScript(args, s)
	runtime.KeepAlive(keep)
	runtime.KeepAlive(s)
	if errno != 0 {
		return 0, &Error{Op: opNames[stepClone], Err: syscall.Errno(errno)}
	}
	if s.failed == 0 && flags&unix.CLONE_FILES == 0 {
		return int(child), nil
	}
	if err := Reap(int(child)); err != nil {
		return 0, err
	}
	if s.failed != 0 {
		return 0, &Error{Op: calls[s.failed-1].Op, Err: s.errno}
	}
	return 0, nil
}

// forkScript is fork for a script.
//
//go:norace
//go:nocheckptr
//go:noinline
func forkScript(args *cloneArgs, s *script) (pid, errno uintptr) {
	syscall.ForkLock.Lock()
	beforeFork()
	pid, errno = cloneScript(args, unsafe.Sizeof(*args), s)
	afterFork()
	syscall.ForkLock.Unlock()
	return pid, errno
}
