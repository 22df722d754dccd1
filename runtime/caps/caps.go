// Package caps says which capabilities (man capabilities) processes of an
// instance may ever have. It owns that list and the two system calls that
// enforce it on the calling thread, nothing else.
package caps

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Dropped lists the capabilities removed from the bounding set of everything
// that runs in an instance: those about the machine, not about the instance. In
// a user namespace they have no effect on the host anyway, but programs look at
// them to decide what to try. They are what LXC removes by default (man
// lxc.container.conf, lxc.cap.drop; config/templates/common.conf), and
// CAP_SYS_RAWIO, by which systemd's units decide whether to mount the kernel's
// debugging filesystems (ConditionCapability= of sys-kernel-debug.mount), which
// fails in any user namespace.
func Dropped() []uintptr {
	return []uintptr{unix.CAP_MAC_ADMIN, unix.CAP_MAC_OVERRIDE, unix.CAP_SYS_MODULE, unix.CAP_SYS_TIME, unix.CAP_SYS_RAWIO}
}

// All lists every capability that the running kernel knows, for a process that
// must keep them over an execve while it is not root in its user namespace.
func All() []uintptr {
	var list []uintptr
	for c := uintptr(0); c < 64; c++ {
		if v, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err != nil || v < 0 {
			break
		}
		list = append(list, c)
	}
	return list
}

// DropBounding removes the capabilities of Dropped from the calling thread's
// bounding set, and all from its ambient and inheritable sets.
func DropBounding() error {
	for _, c := range Dropped() {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("cannot drop capability %d: %w", c, err)
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot clear the ambient capabilities: %w", err)
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("cannot read the capabilities: %w", err)
	}
	data[0].Inheritable, data[1].Inheritable = 0, 0
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("cannot set the capabilities: %w", err)
	}
	return nil
}
