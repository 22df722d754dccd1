package relay

import (
	"syscall"
	"unsafe"
)

// Numbers that package syscall does not have, or not for all machines.
const (
	sockNonblock = syscall.SOCK_NONBLOCK | syscall.SOCK_CLOEXEC
	// splice flags (linux/splice.h)
	spliceMove     = 1
	spliceNonblock = 2
	setPipeSize    = 1031 // F_SETPIPE_SZ
	// epoll (linux/eventpoll.h)
	epollIn  = 0x1
	epollOut = 0x4
	epollErr = 0x8
	epollHup = 0x10
)

// epollEvent is struct epoll_event; data is the descriptor and its generation.
type epollEvent = syscall.EpollEvent

func accept(fd int, from *[128]byte) (int, syscall.Errno) {
	size := uint32(len(from))
	n, _, errno := syscall.Syscall6(syscall.SYS_ACCEPT4, uintptr(fd), uintptr(unsafe.Pointer(from)), uintptr(unsafe.Pointer(&size)), sockNonblock, 0, 0)
	return int(n), errno
}

func socket(family, kind int) (int, syscall.Errno) {
	fd, _, errno := syscall.Syscall(syscall.SYS_SOCKET, uintptr(family), uintptr(kind|sockNonblock), 0)
	return int(fd), errno
}

func connect(fd int, addr []byte) syscall.Errno {
	_, _, errno := syscall.Syscall(syscall.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&addr[0])), uintptr(len(addr)))
	return errno
}

func family(addr []byte) int { return int(*(*uint16)(unsafe.Pointer(&addr[0]))) }

func splice(from, to, n int) (int, syscall.Errno) {
	m, _, errno := syscall.Syscall6(syscall.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), spliceMove|spliceNonblock)
	return int(m), errno
}

func read(fd int, buf []byte) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	return int(n), errno
}

// send does not raise SIGPIPE.
func send(fd int, buf []byte) (int, syscall.Errno) {
	var first unsafe.Pointer
	if len(buf) > 0 { // a datagram may be empty
		first = unsafe.Pointer(&buf[0])
	}
	n, _, errno := syscall.Syscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(first), uintptr(len(buf)), syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func recvmsg(fd int, m *syscall.Msghdr, flags uintptr) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall(syscall.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), flags)
	return int(n), errno
}

func sendmsg(fd int, m *syscall.Msghdr) (int, syscall.Errno) {
	n, _, errno := syscall.Syscall(syscall.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), syscall.MSG_NOSIGNAL|syscall.MSG_DONTWAIT)
	return int(n), errno
}

func shutdownWrite(fd int) {
	_, _, _ = syscall.Syscall(syscall.SYS_SHUTDOWN, uintptr(fd), syscall.SHUT_WR, 0) // else it is broken, which is seen
}

func setInt(fd, level, option, value int) {
	v := int32(value) //nolint:gosec // small
	_, _, _ = syscall.Syscall6(syscall.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&v)), 4, 0)
}

func socketError(fd int) syscall.Errno {
	var v int32
	size := uint32(4)
	_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, uintptr(fd), syscall.SOL_SOCKET, syscall.SO_ERROR, uintptr(unsafe.Pointer(&v)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return syscall.Errno(v) //nolint:gosec // an errno
}

func localAddress(fd int, addr *[128]byte) {
	size := uint32(len(addr))
	_, _, _ = syscall.Syscall(syscall.SYS_GETSOCKNAME, uintptr(fd), uintptr(unsafe.Pointer(addr)), uintptr(unsafe.Pointer(&size)))
}

// reset has the peer of a TCP connection see that it is broken, at the close.
func reset(fd int) {
	linger := [2]int32{1, 0}
	_, _, _ = syscall.Syscall6(syscall.SYS_SETSOCKOPT, uintptr(fd), syscall.SOL_SOCKET, syscall.SO_LINGER, uintptr(unsafe.Pointer(&linger)), 8, 0)
}

func closeFD(fd int) { _ = syscall.Close(fd) } // nothing to lose

// now is the time since the host's boot, in milliseconds.
func now() int64 {
	const clockMonotonic = 1
	var t syscall.Timespec
	_, _, _ = syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&t)), 0)
	return t.Sec*1000 + t.Nsec/1e6
}

// tune sets what a connection of TCP should have: small packets go at once, and a
// peer that is gone is noticed.
func tune(fd int, unix bool) {
	if unix {
		return
	}
	setInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	setInt(fd, syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
	setInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 60)
	setInt(fd, syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15)
}
