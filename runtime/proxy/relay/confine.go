package relay

import (
	"syscall"
	"unsafe"
)

// linux/seccomp.h; TSYNC is for all threads.
const (
	seccompModeFilter  = 1
	seccompFilterTSync = 1
	seccompAllow       = 0x7fff0000
	seccompAbsent      = 0x00050000 | 38 // ENOSYS
	seccompKill        = 0x80000000
)

// confine gives up all system calls but those for pipes and sockets of a family, and
// those of the Go runtime. Ids and capabilities are given up before the process is executed.
func confine(family int) syscall.Errno {
	if _, _, errno := syscall.Syscall(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0); errno != 0 {
		return errno
	}
	return filter(family)
}

// instruction is struct sock_filter (linux/filter.h).
type instruction struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// filter allows the calls of allowedCalls, to make threads, but no namespaces, and
// sockets of the target's family: who connects to tcp cannot use a path at all. All
// others are as if the kernel had them not: what tries a newer call falls back to an
// older one then. A convention other than this program's ends it (linux/seccomp.h).
func filter(family int) syscall.Errno {
	const load, jumpEqual, jumpSet, ret = 0x20, 0x15, 0x45, 0x06
	const newNamespaces = 0x7e020000 | 0x80 // CLONE_NEW...
	program := []instruction{
		{load, 0, 0, 4}, // seccomp_data.arch
		{jumpEqual, 1, 0, auditArch},
		{ret, 0, 0, seccompKill},
		{load, 0, 0, 0}, // seccomp_data.nr
	}
	for _, nr := range allowedCalls {
		program = append(program, instruction{jumpEqual, 0, 1, uint32(nr)}, instruction{ret, 0, 0, seccompAllow}) //nolint:gosec // a number of a call
	}
	program = append(program,
		instruction{jumpEqual, 0, 3, syscall.SYS_CLONE},
		instruction{load, 0, 0, 16}, // seccomp_data.args[0], the lower half
		instruction{jumpSet, 1, 0, newNamespaces},
		instruction{ret, 0, 0, seccompAllow},
		instruction{jumpEqual, 0, 3, syscall.SYS_SOCKET},
		instruction{load, 0, 0, 16},
		instruction{jumpEqual, 0, 1, uint32(family)}, //nolint:gosec // a small number
		instruction{ret, 0, 0, seccompAllow},
		instruction{ret, 0, 0, seccompAbsent})
	prog := struct { // struct sock_fprog
		length uint16
		filter *instruction
	}{uint16(len(program)), &program[0]} //nolint:gosec // some
	_, _, errno := syscall.Syscall(sysSeccomp, seccompModeFilter, seccompFilterTSync, uintptr(unsafe.Pointer(&prog)))
	return errno
}

// allowedCalls are the calls of this package, and those of the Go runtime.
var allowedCalls = [...]uintptr{
	syscall.SYS_EPOLL_PWAIT, syscall.SYS_EPOLL_CTL, syscall.SYS_READ, syscall.SYS_WRITE, syscall.SYS_SPLICE,
	syscall.SYS_RECVMSG, syscall.SYS_SENDMSG, syscall.SYS_SENDTO, syscall.SYS_RECVFROM,
	syscall.SYS_ACCEPT4, syscall.SYS_CONNECT, syscall.SYS_SHUTDOWN, syscall.SYS_CLOSE,
	syscall.SYS_GETSOCKOPT, syscall.SYS_SETSOCKOPT, syscall.SYS_GETSOCKNAME, syscall.SYS_PIPE2, syscall.SYS_DUP3, syscall.SYS_FCNTL,
	// the runtime's
	syscall.SYS_FUTEX, syscall.SYS_MMAP, syscall.SYS_MUNMAP, syscall.SYS_MADVISE, syscall.SYS_MPROTECT, syscall.SYS_MINCORE,
	syscall.SYS_EXIT, syscall.SYS_EXIT_GROUP, syscall.SYS_NANOSLEEP, syscall.SYS_SCHED_YIELD,
	syscall.SYS_SIGALTSTACK, syscall.SYS_RT_SIGPROCMASK, syscall.SYS_RT_SIGACTION, syscall.SYS_RT_SIGRETURN, syscall.SYS_RESTART_SYSCALL,
	syscall.SYS_GETPID, syscall.SYS_GETTID, syscall.SYS_TGKILL, syscall.SYS_CLOCK_GETTIME, syscall.SYS_SCHED_GETAFFINITY,
	// the C library's, in a program that is linked with it: for threads, and its last words
	sysRseq, syscall.SYS_SET_ROBUST_LIST, syscall.SYS_WRITEV,
}

// setName is what ps shows as the name of the process.
func setName(name string) {
	var buf [16]byte
	copy(buf[:15], name)
	_, _, _ = syscall.Syscall(syscall.SYS_PRCTL, syscall.PR_SET_NAME, uintptr(unsafe.Pointer(&buf[0])), 0)
}

// ignorePipe ignores SIGPIPE, which splice raises, and what comes to a terminal's or a
// group's processes.
func ignorePipe() {
	const sigIgn = 1
	action := struct { // struct sigaction of the kernel, for amd64 and arm64
		handler, flags, restorer uintptr
		mask                     uint64
	}{handler: sigIgn}
	for _, sig := range [...]syscall.Signal{syscall.SIGPIPE, syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT} {
		_, _, _ = syscall.Syscall6(syscall.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, unsafe.Sizeof(action.mask), 0, 0)
	}
}

// raiseFiles has the process open as many files as it may.
func raiseFiles() {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) == nil && l.Cur < l.Max {
		l.Cur = l.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l) // then with fewer
	}
}
