//go:build amd64 || arm64

package join

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"poolctl/runtime/caps"
	"poolctl/runtime/seccomp"
)

// Target is the instance to enter.
type Target struct {
	// PIDFD refers to its init.
	PIDFD int
	// Tasks are open v1 "tasks" files to enter, see cgroup.Entrance.
	Tasks []*os.File
	// Cgroup is an open v2 cgroup directory, or nil.
	Cgroup *os.File
	// Privileged is true of one that has no user namespace of its own.
	Privileged bool
	// Filter is put on the command; empty for none.
	Filter seccomp.Program
	// Linux32 is the personality of a 32-bit machine (personality(2)).
	Linux32 bool
}

// Command is what to run there.
type Command struct {
	// Paths are tried in turn until one can be executed.
	Paths []string
	// Args is the whole argument vector, Env the whole environment (KEY=value).
	Args, Env []string
	// Cwds are tried in turn until one can be entered; at most two.
	Cwds []string
	// UID, GID and Groups are ids as the instance sees them.
	UID, GID uint32
	Groups   []uint32
	// Limits are set in their order.
	Limits []Limit
	// Stdio becomes descriptors 0, 1 and 2.
	Stdio [3]*os.File
	// TTY makes Stdio[0] the controlling terminal.
	TTY bool
}

// Limit is a limit of a resource (man setrlimit).
type Limit struct {
	Resource int
	Limit    unix.Rlimit
	// Try makes it no error when the caller may not raise it so far.
	Try bool
}

// Error says which step failed inside.
type Error struct {
	Op  string // what was done, for instance "enter the namespaces"
	Err error  // the errno
	// Exec is true when everything went well but the program cannot be run.
	Exec bool
}

func (e *Error) Error() string { return "cannot " + e.Op + ": " + e.Err.Error() }

func (e *Error) Unwrap() error { return e.Err }

var opNames = map[step]string{
	stepClone: "make a process", stepCgroup: "enter the cgroup", stepKeyring: "make a session keyring", stepSetns: "enter the namespaces",
	stepDumpable: "protect the process", stepBounding: "drop capabilities", stepGroups: "set the groups",
	stepGID: "set the group id", stepUID: "set the user id", stepChdir: "change to the working directory",
	stepRlimit: "set the resource limits", stepCloneInner: "make a process in the instance",
	stepSetsid: "make a session", stepTTY: "set the controlling terminal", stepStdio: "set the standard files",
	stepCloexec: "close files", stepFilter: "filter system calls", stepExec: "execute the program",
}

// namespaces are all that an instance has of its own.
const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWCGROUP

// stackSize is ample: the children's functions are nosplit, for which the linker
// allows less than a kilobyte of stack.
const stackSize = 16 << 10

// Start runs the command and returns its pid, a child of the calling process,
// which must reap it (with __WALL). It returns when the program has been
// executed, or an *Error.
func Start(t Target, c Command) (int, error) {
	outer, pid, err := start(t, c, 0)
	for _, left := range []int{outer, pid} {
		if left == 0 || err == nil && left == pid {
			continue
		}
		if rerr := Reap(left); rerr != nil {
			return 0, errors.Join(err, rerr)
		}
	}
	if err != nil {
		return 0, err
	}
	return pid, nil
}

// StartForParent is Start for the parent of the calling process, whose children
// the processes are that it returns. All of them must be reaped; the last one
// runs the command, unless there is an error.
func StartForParent(t Target, c Command) ([]int, error) {
	outer, pid, err := start(t, c, unix.CLONE_PARENT)
	return slices.DeleteFunc([]int{outer, pid}, func(n int) bool { return n == 0 }), err
}

// start makes the two processes; 0 stands for one that there is not.
func start(t Target, c Command, flags uint64) (child, grandchild int, err error) {
	p, keep, err := newPlan(t, c)
	if err != nil {
		return 0, 0, err
	}
	p.stacks = make([]byte, 2*stackSize) // on the heap: a goroutine's stack may move
	top := func(n uintptr) (base, size uint64) {
		// 64 bytes above the stack pointer are the child's arguments; the base is
		// aligned so that the stack pointer is.
		start := uintptr(unsafe.Pointer(&p.stacks[n*stackSize]))
		aligned := (start + 15) &^ 15
		return uint64(aligned), uint64(stackSize - 16 - 64)
	}
	outer := cloneArgs{flags: unix.CLONE_VM | unix.CLONE_VFORK | flags, exitSignal: uint64(unix.SIGCHLD)}
	if flags&unix.CLONE_PARENT != 0 {
		outer.exitSignal = 0
	}
	outer.stack, outer.stackSize = top(0)
	if t.Cgroup != nil {
		outer.flags |= unix.CLONE_INTO_CGROUP
		outer.cgroup = uint64(t.Cgroup.Fd())
	}
	// With CLONE_PARENT the exit signal is the parent's own: SIGCHLD (man clone3).
	p.inner = cloneArgs{flags: unix.CLONE_VM | unix.CLONE_VFORK | unix.CLONE_PARENT}
	p.inner.stack, p.inner.stackSize = top(1)

	if t.Linux32 {
		back, err := linux32()
		if err != nil {
			return 0, 0, err
		}
		defer back()
	}
	pid, errno := fork(&outer, p)
	runtime.KeepAlive(keep)
	runtime.KeepAlive(t)
	runtime.KeepAlive(c)
	if errno != 0 {
		return 0, 0, &Error{Op: opNames[stepClone], Err: syscall.Errno(errno)}
	}
	if p.failed == stepNone {
		return int(pid), int(p.pid), nil
	}
	return int(pid), int(p.pid), &Error{Op: opNames[p.failed], Err: p.errno, Exec: p.failed == stepExec}
}

// linux32 gives this thread, which stays the goroutine's until back is called, the
// personality that its children inherit.
func linux32() (back func(), err error) {
	const perLinux32, query = 0x0008, 0xffffffff // linux/personality.h
	runtime.LockOSThread()
	old, _, _ := syscall.RawSyscall(unix.SYS_PERSONALITY, query, 0, 0) // cannot fail
	if _, _, errno := syscall.RawSyscall(unix.SYS_PERSONALITY, perLinux32, 0, 0); errno != 0 {
		runtime.UnlockOSThread()
		return nil, &Error{Op: "set the personality", Err: errno}
	}
	return func() {
		if _, _, errno := syscall.RawSyscall(unix.SYS_PERSONALITY, old, 0, 0); errno == 0 {
			runtime.UnlockOSThread() // else the thread ends with the goroutine
		}
	}, nil
}

// fork calls cloneChild between the runtime's hooks, as syscall.forkAndExecInChild
// does. The children can make no stack frame here: they have stacks of their
// own. The calling thread is held by the kernel until both are done.
//
//go:norace
//go:nocheckptr
//go:noinline
func fork(args *cloneArgs, p *plan) (pid, errno uintptr) {
	syscall.ForkLock.Lock()
	beforeFork()
	pid, errno = cloneChild(args, unsafe.Sizeof(*args), p)
	afterFork()
	syscall.ForkLock.Unlock()
	return pid, errno
}

// Reap waits for a child that is about to end.
func Reap(pid int) error {
	for {
		_, err := unix.Wait4(pid, nil, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot wait for process %d: %w", pid, err)
		}
		return nil
	}
}

// newPlan checks the command and lays it out for the child. What the plan's
// numbers point to is kept alive by the second result.
func newPlan(t Target, c Command) (*plan, []any, error) {
	drops := caps.Dropped()
	switch {
	case len(c.Args) == 0 || len(c.Paths) == 0:
		return nil, nil, errors.New("no command to run")
	case len(c.Paths) > maxPaths, len(t.Tasks) > maxTasks, len(c.Cwds) > maxCwds, len(c.Groups) > maxGroups, len(drops) > maxDrops, len(c.Limits) > maxLimits:
		return nil, nil, errors.New("too many directories in PATH, cgroup hierarchies or groups")
	}
	k := &keeper{}
	p := &plan{
		pidfd: uintptr(t.PIDFD), nsFlags: namespaces, zero: [1]byte{'0'},
		nTasks: uintptr(len(t.Tasks)), nDrops: uintptr(len(drops)), nGroups: uintptr(len(c.Groups)),
		uid: uintptr(c.UID), gid: uintptr(c.GID), nCwds: uintptr(len(c.Cwds)), nPaths: uintptr(len(c.Paths)),
		rlimit: fileLimit(),
	}
	copy(p.drops[:], drops)
	p.nLimits = uintptr(len(c.Limits))
	copy(p.limits[:], c.Limits)
	for i, f := range t.Tasks {
		p.tasks[i] = f.Fd()
	}
	for i, f := range c.Stdio {
		if p.stdio[i] = f.Fd(); p.stdio[i] < 3 {
			return nil, nil, errors.New("standard files must be descriptors above 2")
		}
	}
	if c.TTY {
		p.tty = 1
	}
	if t.Privileged {
		p.nsFlags &^= unix.CLONE_NEWUSER
	}
	if len(t.Filter) > 0 {
		header := t.Filter.Header()
		p.filter = k.hold([]any{t.Filter, header}, unsafe.Pointer(header))
		capHeader := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		p.capHeader = k.hold(capHeader, unsafe.Pointer(capHeader))
		data := new([2]unix.CapUserData)
		data[0] = unix.CapUserData{Effective: 1 << unix.CAP_SYS_ADMIN, Permitted: 1 << unix.CAP_SYS_ADMIN}
		p.capData = k.hold(data, unsafe.Pointer(data))
	}
	if len(c.Groups) > 0 {
		p.groups = k.hold(c.Groups, unsafe.Pointer(&c.Groups[0]))
	}
	for i, s := range c.Cwds {
		p.cwds[i] = k.str(s)
	}
	for i, s := range c.Paths {
		p.paths[i] = k.str(s)
	}
	p.argv, p.envv = k.vector(c.Args), k.vector(c.Env)
	return p, append(k.held, p), k.err
}

// keeper turns Go values into addresses and keeps them alive.
type keeper struct {
	held []any
	err  error
}

func (k *keeper) hold(v any, addr unsafe.Pointer) uintptr {
	k.held = append(k.held, v)
	return uintptr(addr)
}

func (k *keeper) str(s string) uintptr {
	if strings.IndexByte(s, 0) >= 0 {
		k.err = fmt.Errorf("%q contains a NUL byte", s)
		s = ""
	}
	b := append([]byte(s), 0)
	return k.hold(b, unsafe.Pointer(&b[0]))
}

// vector is a NULL-terminated array of C strings.
func (k *keeper) vector(list []string) uintptr {
	v := make([]uintptr, len(list)+1)
	for i, s := range list {
		v[i] = k.str(s)
	}
	return k.hold(v, unsafe.Pointer(&v[0]))
}

// softFiles is the usual limit of open files. Go raises the soft limit of its
// own process to the hard one (package os), which a command must not inherit:
// select(2) breaks above 1024, and many programs loop over all descriptors.
const softFiles = 1024

func fileLimit() unix.Rlimit {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return unix.Rlimit{Cur: softFiles, Max: softFiles}
	}
	l.Cur = min(softFiles, l.Max)
	return l
}
