//go:build amd64 || arm64

package join

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Limits of a plan: it is of fixed size, so that the child needs no bounds that
// can fail.
const (
	maxTasks  = 32
	maxPaths  = 64
	maxCwds   = 2
	maxDrops  = 8
	maxLimits = 32
	maxGroups = 65536 // NGROUPS_MAX
)

// step names what the child was doing when it failed.
type step uintptr

const (
	stepNone step = iota
	stepClone
	stepCgroup
	stepKeyring
	stepSetns
	stepDumpable
	stepBounding
	stepGroups
	stepGID
	stepUID
	stepChdir
	stepRlimit
	stepCloneInner
	stepSetsid
	stepTTY
	stepStdio
	stepCloexec
	stepFilter
	stepExec
)

// plan is all that child and grandchild need, and where they report. Pointers
// are kept alive by the caller, and held as numbers here: the child must not
// store a pointer, which would run the garbage collector's write barrier.
type plan struct {
	pidfd, nsFlags uintptr
	zero           [1]byte // "0", what is written to the tasks files
	nTasks         uintptr
	tasks          [maxTasks]uintptr
	nDrops         uintptr
	drops          [maxDrops]uintptr
	nGroups        uintptr
	groups         uintptr
	uid, gid       uintptr
	nCwds          uintptr
	cwds           [maxCwds]uintptr
	rlimit         unix.Rlimit // of open files
	nLimits        uintptr
	limits         [maxLimits]Limit
	stdio          [3]uintptr
	tty            uintptr
	filter         uintptr // struct sock_fprog, 0 for none
	capHeader      uintptr
	capData        uintptr // CAP_SYS_ADMIN alone
	nPaths         uintptr
	paths          [maxPaths]uintptr
	argv, envv     uintptr
	inner          cloneArgs
	stacks         []byte

	// What came of it.
	failed step
	errno  syscall.Errno
	pid    uintptr
}

//go:nosplit
//go:norace
//go:nocheckptr
func raw(trap, a1, a2, a3 uintptr) (uintptr, syscall.Errno) {
	r, _, errno := syscall.RawSyscall(trap, a1, a2, a3)
	return r, errno
}

// raw5 is prctl's form of raw.
//
//go:nosplit
//go:norace
//go:nocheckptr
func raw5(trap, a1, a2, a3, a4, a5 uintptr) syscall.Errno {
	_, _, errno := syscall.RawSyscall6(trap, a1, a2, a3, a4, a5, 0)
	return errno
}

// fail reports a step and ends the calling process.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) fail(s step, errno syscall.Errno) {
	p.failed, p.errno = s, errno
	for {
		raw(unix.SYS_EXIT_GROUP, 127, 0, 0)
	}
}

// childMain is the child's part of doc.go. It never returns.
//
//go:nosplit
//go:norace
//go:nocheckptr
func childMain(p *plan) {
	afterForkInChild()
	for i := uintptr(0); i < p.nTasks; i++ {
		if _, errno := raw(unix.SYS_WRITE, p.tasks[i&(maxTasks-1)], uintptr(unsafe.Pointer(&p.zero[0])), 1); errno != 0 {
			p.fail(stepCgroup, errno)
		}
	}
	// Before anything of the instance could see this process.
	if errno := raw5(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0); errno != 0 {
		p.fail(stepDumpable, errno)
	}
	if errno := raw5(unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&p.rlimit)), 0, 0); errno != 0 {
		p.fail(stepRlimit, errno)
	}
	// Not the caller's keys: what has a session keyring may read what is in it.
	if _, errno := raw(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0); errno != 0 && errno != syscall.ENOSYS && errno != syscall.EPERM {
		p.fail(stepKeyring, errno)
	}
	for i := uintptr(0); i < p.nLimits; i++ {
		l := &p.limits[i&(maxLimits-1)]
		if errno := raw5(unix.SYS_PRLIMIT64, 0, uintptr(l.Resource), uintptr(unsafe.Pointer(&l.Limit)), 0, 0); errno != 0 && !l.Try {
			p.fail(stepRlimit, errno)
		}
	}
	if _, errno := raw(unix.SYS_SETNS, p.pidfd, p.nsFlags, 0); errno != 0 {
		p.fail(stepSetns, errno)
	}
	p.become()
	p.chdir()
	// A change of ids may have made it dumpable again (fs.suid_dumpable).
	if errno := raw5(unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0); errno != 0 {
		p.fail(stepDumpable, errno)
	}
	pid, errno := cloneGrandchild(&p.inner, unsafe.Sizeof(p.inner), p)
	if errno != 0 {
		p.fail(stepCloneInner, syscall.Errno(errno))
	}
	p.pid = pid
	for {
		raw(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// become takes the ids of the command. The way from the host's root leads over
// the instance's root, because only a change away from that drops capabilities
// (man capabilities, "Effect of user ID changes on capabilities").
//
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) become() {
	for i := uintptr(0); i < p.nDrops; i++ {
		if errno := raw5(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, p.drops[i&(maxDrops-1)], 0, 0, 0); errno != 0 && errno != syscall.EINVAL {
			p.fail(stepBounding, errno)
		}
	}
	if _, errno := raw(unix.SYS_SETGROUPS, p.nGroups, p.groups, 0); errno != 0 {
		p.fail(stepGroups, errno)
	}
	if _, errno := raw(unix.SYS_SETRESGID, p.gid, p.gid, p.gid); errno != 0 {
		p.fail(stepGID, errno)
	}
	if _, errno := raw(unix.SYS_SETRESUID, 0, 0, 0); errno != 0 {
		p.fail(stepUID, errno)
	}
	if p.uid == 0 {
		return
	}
	if p.filter != 0 { // for protect; execve takes them away
		if errno := raw5(unix.SYS_PRCTL, unix.PR_SET_KEEPCAPS, 1, 0, 0, 0); errno != 0 {
			p.fail(stepUID, errno)
		}
	}
	if _, errno := raw(unix.SYS_SETRESUID, p.uid, p.uid, p.uid); errno != 0 {
		p.fail(stepUID, errno)
	}
}

// chdir goes to the first directory that there is.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) chdir() {
	raw(unix.SYS_UMASK, 0o022, 0, 0)
	var errno syscall.Errno
	for i := uintptr(0); i < p.nCwds; i++ {
		if _, errno = raw(unix.SYS_CHDIR, p.cwds[i&(maxCwds-1)], 0, 0); errno == 0 {
			return
		}
	}
	p.fail(stepChdir, errno)
}

// grandchildMain is the grandchild's part of doc.go. It never returns.
//
//go:nosplit
//go:norace
//go:nocheckptr
func grandchildMain(p *plan) {
	// A session of its own in any case: without one the command would have the
	// caller's terminal as its controlling one.
	if _, errno := raw(unix.SYS_SETSID, 0, 0, 0); errno != 0 {
		p.fail(stepSetsid, errno)
	}
	if p.tty != 0 {
		if _, errno := raw(unix.SYS_IOCTL, p.stdio[0], unix.TIOCSCTTY, 0); errno != 0 {
			p.fail(stepTTY, errno)
		}
	}
	for i := uintptr(0); i < 3; i++ { // the caller's are 3 and above: none is overwritten
		if _, errno := raw(unix.SYS_DUP3, p.stdio[i], i, 0); errno != 0 {
			p.fail(stepStdio, errno)
		}
	}
	if _, errno := raw(unix.SYS_CLOSE_RANGE, 3, 0xffffffff, unix.CLOSE_RANGE_CLOEXEC); errno != 0 {
		p.fail(stepCloexec, errno)
	}
	p.protect()
	p.fail(stepExec, p.exec())
}

// protect installs the filter of system calls. It is the last step before execve,
// as it may refuse any other. That takes CAP_SYS_ADMIN (man seccomp), which a
// user other than root has kept as a permitted capability until here.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) protect() {
	if p.filter == 0 {
		return
	}
	if p.uid != 0 {
		if _, errno := raw(unix.SYS_CAPSET, p.capHeader, p.capData, 0); errno != 0 {
			p.fail(stepFilter, errno)
		}
	}
	if _, errno := raw(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, p.filter); errno != 0 {
		p.fail(stepFilter, errno)
	}
}

// exec tries the candidates as execvp does (man exec): what is not there is
// passed over, what may not be run is remembered.
//
//go:nosplit
//go:norace
//go:nocheckptr
func (p *plan) exec() syscall.Errno {
	result := syscall.ENOENT
	for i := uintptr(0); i < p.nPaths; i++ {
		_, errno := raw(unix.SYS_EXECVE, p.paths[i&(maxPaths-1)], p.argv, p.envv)
		switch errno {
		case syscall.ENOENT, syscall.ENOTDIR:
		case syscall.EACCES:
			result = errno
		default:
			return errno
		}
	}
	return result
}

// scriptMain is the child of Calls and Execute. It never returns.
//
//go:nosplit
//go:norace
//go:nocheckptr
func scriptMain(s *script) {
	afterForkInChild()
	var opened uintptr
	for i := range s.calls {
		c := &s.calls[i]
		if c.OnOpened {
			c.Args[0] = opened
		}
		r, _, errno := syscall.RawSyscall6(c.Nr, c.Args[0], c.Args[1], c.Args[2], c.Args[3], c.Args[4], c.Args[5])
		if errno != 0 && !c.Try {
			s.failed, s.errno = uintptr(i)+1, errno
			break
		}
		c.Result = r
		if c.Opens {
			opened = r
		}
	}
	for {
		raw(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}
