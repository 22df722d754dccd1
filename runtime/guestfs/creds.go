package guestfs

import (
	"errors"
	"fmt"
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

// as runs op on a thread that makes files as the instance's root. When the ids
// seen are those inside anyway, that is what the caller is.
func (r *Root) as(op func() error) error {
	if r.uids == nil {
		return op()
	}
	uid, ok := outside(r.uids, 0)
	gid, ok2 := outside(r.gids, 0)
	if !ok || !ok2 {
		return errors.New("the instance has no root")
	}
	goruntime.LockOSThread()
	err := becomeFS(int(uid), int(gid))
	if err == nil {
		err = op()
	}
	if rerr := becomeFS(0, 0); rerr != nil {
		return errors.Join(err, rerr) // the thread stays locked, and ends with its goroutine
	}
	goruntime.UnlockOSThread()
	return err
}

// becomeFS sets the ids that count for files, on the calling thread. A change
// from 0 takes the capabilities that concern files out of the effective set
// (man capabilities, "Effect of user ID changes"): they are put back, since what
// is to be reached may be closed to the instance's root, too, who could open it.
func becomeFS(uid, gid int) error {
	for _, c := range []struct {
		trap uintptr
		id   int
	}{{unix.SYS_SETFSGID, gid}, {unix.SYS_SETFSUID, uid}} {
		// They tell the id of before, and never an error; the second call tells
		// whether the first did it.
		_, _, _ = unix.RawSyscall(c.trap, uintptr(c.id), 0, 0)
		if now, _, _ := unix.RawSyscall(c.trap, ^uintptr(0), 0, 0); int(now) != c.id {
			return fmt.Errorf("cannot use files as user %d", c.id)
		}
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return fmt.Errorf("cannot read the capabilities: %w", err)
	}
	for i := range data {
		data[i].Effective = data[i].Permitted
	}
	if err := unix.Capset(&hdr, &data[0]); err != nil {
		return fmt.Errorf("cannot set the capabilities: %w", err)
	}
	return nil
}
