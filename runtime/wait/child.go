package wait

import (
	"syscall"
	"unsafe"
)

// argv[0] of the children, which have the name of the instance, its run directory
// and numbers as further arguments.
const (
	// UpkeepName has the upkeep done. Its numbers are the highest value of each
	// condition since it was set.
	UpkeepName = "poolctl-upkeep"
	// StopperName asks the instance to stop.
	StopperName = "poolctl-stopper"
)

// child is a process that does something, or none.
type child struct {
	pid, pidfd int
}

// sysPidfdOpen is the same on all machines.
const sysPidfdOpen = 434

// start executes the program as a child, which ends with this process.
func (p *process) start(c *child, name string, values int) {
	if p.children >= maxChildren && p.Client < 0 && p.pending < 0 && p.upkeep.pidfd < 0 && p.stopper.pidfd < 0 && p.proxies.restart.pidfd < 0 {
		p.again()
	}
	args := []string{name, p.Name, p.RunDir}
	for i := range values {
		args = append(args, text64(p.peaks[i]))
	}
	pid, err := syscall.ForkExec("/proc/self/exe", args, &syscall.ProcAttr{
		Dir: "/", Env: syscall.Environ(), Files: []uintptr{0, 1, 2},
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	p.children++
	if err != nil {
		say(p.Name + ": cannot execute " + name + ": " + err.Error())
		return
	}
	fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if errno != 0 { // out of descriptors
		*c = child{pid, -1}
		c.wait()
		return
	}
	*c = child{pid, int(fd)}
}

// childEnd is how long a child may go on after the instance has ended, in
// milliseconds: the stop waits for it.
const childEnd = 1000

// end ends the child, if there is one.
func (c *child) end() {
	if c.pidfd < 0 {
		return
	}
	_ = syscall.Kill(c.pid, syscall.SIGTERM) // not reaped, so the number is its own
	fds := [1]pollFD{{fd: int32(c.pidfd), events: pollIn}}
	if n, _ := poll(fds[:], childEnd); n != 1 {
		_ = syscall.Kill(c.pid, syscall.SIGKILL)
	}
	c.reap()
}

// reap takes a child that has ended, or is about to.
func (c *child) reap() {
	c.wait()
	closeFD(&c.pidfd)
}

func (c *child) wait() {
	var st syscall.WaitStatus
	for {
		if _, err := syscall.Wait4(c.pid, &st, 0, nil); err != syscall.EINTR {
			return
		}
	}
}

// now is the time since the host's boot, in seconds.
func now() int64 {
	const clockMonotonic = 1
	var t syscall.Timespec
	_, _, _ = syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockMonotonic, uintptr(unsafe.Pointer(&t)), 0)
	return int64(t.Sec) //nolint:unconvert // 32 bits on other machines
}
