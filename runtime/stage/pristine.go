package stage

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// pristine is a file system of the kernel's with nothing mounted over.
type pristine struct {
	path  string
	mount int // detached
}

// pristineDir is where LXD has them for instances with security.nesting.
const pristineDir = "/dev/.lxc"

// openPristine makes the mounts for nesting. A user namespace inside may mount
// /proc and /sys anew only where it can see one that hides nothing already
// (fs/namespace.c, mount_too_revealing), and those of the instance hide some.
func (d *detached) openPristine(nesting bool) error {
	if !nesting {
		return nil
	}
	for _, p := range [][2]string{{"proc", "proc"}, {"sys", "sysfs"}} {
		fd, err := newMount(p[1], p[1], quiet)
		if err != nil {
			return fmt.Errorf("nesting: %w", err)
		}
		d.pristine = append(d.pristine, pristine{pristineDir + "/" + p[0], fd})
	}
	return nil
}

// attachPristine puts them into place, for root alone to reach.
func (d *detached) attachPristine() error {
	if len(d.pristine) == 0 {
		return nil
	}
	if err := unix.Mkdir(pristineDir, 0o700); err != nil {
		return fmt.Errorf("cannot make %s: %w", pristineDir, err)
	}
	for _, p := range d.pristine {
		if err := attach(p.mount, p.path); err != nil {
			return err
		}
	}
	return nil
}
