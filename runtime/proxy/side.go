package proxy

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"poolctl/runtime/join"
)

// Side is one side of a proxy device: the host, or an instance.
type Side struct {
	// PIDFD is of a process that is there: its network namespace is entered, and those of
	// users and mounts if it is an Instance.
	PIDFD int
	// Instance is true of an instance, Privileged of one without a user namespace of its
	// own.
	Instance, Privileged bool
}

// calls is a script for package join, with what its arguments point to.
type calls struct {
	list []join.Call
	keep []any
}

func (c *calls) add(op string, nr uintptr, args ...uintptr) *join.Call {
	call := join.Call{Op: op, Nr: nr}
	copy(call.Args[:], args)
	c.list = append(c.list, call)
	return &c.list[len(c.list)-1]
}

func (c *calls) bytes(b []byte) uintptr {
	c.keep = append(c.keep, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

func (c *calls) text(s string) uintptr { return c.bytes(append([]byte(s), 0)) }

// enter has the process be on a side, with its files if it is to use a path. It has the
// rights of an instance's root then, all of them.
func (c *calls) enter(s Side, files bool) {
	flags := uintptr(unix.CLONE_NEWNET)
	if s.Instance && files {
		flags |= unix.CLONE_NEWNS
	}
	if s.Instance && !s.Privileged {
		flags |= unix.CLONE_NEWUSER
	}
	c.add("enter the namespaces", unix.SYS_SETNS, uintptr(s.PIDFD), flags)
}

// becomeRoot has the process have the ids of a side's root.
func (c *calls) becomeRoot() {
	c.add("give up groups", unix.SYS_SETGROUPS, 0, 0)
	c.add("become root", unix.SYS_SETRESGID, 0, 0, 0)
	c.add("become root", unix.SYS_SETRESUID, 0, 0, 0)
}

func (c *calls) run() error { return join.Calls(c.list, c.keep) }

// sockaddr is an address as the kernel has it, of one of its ports.
func (a Address) sockaddr(port int) []byte {
	switch {
	case a.Kind == Unix:
		b := make([]byte, 2, 3+len(a.Path))
		*(*uint16)(unsafe.Pointer(&b[0])) = syscall.AF_UNIX
		if a.Abstract { // the name is as long as the address is (man 7 unix)
			return append(append(b, 0), a.Path...)
		}
		return append(append(b, a.Path...), 0)
	case a.IP.Is4():
		b := make([]byte, 16)
		*(*uint16)(unsafe.Pointer(&b[0])) = syscall.AF_INET
		ip := a.IP.As4()
		copy(b[4:], ip[:])
		b[2], b[3] = byte(a.Ports[port]>>8), byte(a.Ports[port])
		return b
	}
	b := make([]byte, 28)
	*(*uint16)(unsafe.Pointer(&b[0])) = syscall.AF_INET6
	ip := a.IP.As16()
	copy(b[8:], ip[:])
	b[2], b[3] = byte(a.Ports[port]>>8), byte(a.Ports[port])
	return b
}

// sockaddrs are those of all ports.
func (a Address) sockaddrs() [][]byte {
	if a.Kind == Unix {
		return [][]byte{a.sockaddr(0)}
	}
	var out [][]byte
	for i := range a.Ports {
		out = append(out, a.sockaddr(i))
	}
	return out
}
