package relay

import (
	"syscall"
	"unsafe"
)

// Between two unix sockets, descriptors are passed on as well (SCM_RIGHTS, man 7
// unix): graphical and sound servers live on it. They go with the first byte of what
// was received with them.

// maxRights is how many go with one message (SCM_MAX_FD).
const maxRights = 253

// control is a message of descriptors, struct cmsghdr.
type control struct {
	header syscall.Cmsghdr
	fds    [maxRights + 1]int32
}

var theControl control

// takeRights is take.
func (h *half) takeRights() (int, syscall.Errno) {
	buf := h.conn.loop.scratch[:]
	iov := syscall.Iovec{Base: &buf[0], Len: uint64(len(buf))}
	m := syscall.Msghdr{Iov: &iov, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&theControl)), Controllen: uint64(unsafe.Sizeof(theControl))}
	const cloexec = 0x40000000 // MSG_CMSG_CLOEXEC
	n, errno := recvmsg(h.from.fd, &m, syscall.MSG_DONTWAIT|cloexec)
	if errno != 0 {
		return 0, errno
	}
	head := &theControl.header
	size := int(unsafe.Sizeof(*head))
	if int(m.Controllen) >= size && head.Level == syscall.SOL_SOCKET && head.Type == syscall.SCM_RIGHTS {
		for _, fd := range theControl.fds[:(int(head.Len)-size)/4] {
			h.rights = append(h.rights, int(fd))
		}
	}
	h.pending = buf[:n]
	return n, 0
}

// giveRights is give, with the descriptors.
func (h *half) giveRights() (int, syscall.Errno) {
	iov := syscall.Iovec{Base: &h.pending[0], Len: uint64(len(h.pending))}
	head := &theControl.header
	head.Level, head.Type = syscall.SOL_SOCKET, syscall.SCM_RIGHTS
	for i, fd := range h.rights {
		theControl.fds[i] = int32(fd) //nolint:gosec // a descriptor
	}
	head.Len = uint64(int(unsafe.Sizeof(*head)) + 4*len(h.rights))                                                            //nolint:gosec // some
	m := syscall.Msghdr{Iov: &iov, Iovlen: 1, Control: (*byte)(unsafe.Pointer(&theControl)), Controllen: (head.Len + 7) &^ 7} // CMSG_SPACE
	n, errno := sendmsg(h.to.fd, &m)
	if errno != 0 {
		return n, errno
	}
	for _, fd := range h.rights {
		closeFD(fd)
	}
	h.rights = nil
	return n, 0
}
