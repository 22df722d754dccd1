package wait

import "syscall"

// ProxiesFile is in the run directory, one line for each proxy device: the number of
// its process, 0 for one that has none, and LookAfterBoot if it is to be looked at in
// the first minute after the boot.
const ProxiesFile = "proxies"

// LookAfterBoot is at the end of a line.
const LookAfterBoot = " look"

// ProxiesChanged is the signal that has the file read again. Its default is to be
// ignored: a supervisor that does not wait just then takes no harm.
const ProxiesChanged = syscall.SIGWINCH

// ProxiesName is argv[0] of the child that starts processes again which have ended.
const ProxiesName = "poolctl-proxies"

const (
	maxProxies = 256
	// Restarts: at once, then after a pause that doubles up to the slowest, in seconds.
	// What went well so long makes the next one at once again.
	slowestRestart = 64
	// looks is how often it is looked after the boot, after 1, 2, 4 ... seconds.
	looks = 6
)

// proxies are the processes of the proxy devices, which are not all children: who added
// a device later has started its process. A pidfd tells when it ends.
type proxies struct {
	all     int // epoll of the pidfds
	text    [16 * maxProxies]byte
	pids    [maxProxies]int
	fds     [maxProxies]int
	count   int
	dead    bool  // one has ended
	pause   int64 // before the next restart
	last    int64 // when the last one was
	restart child
	look    bool // some are to be looked at
	looked  int  // how often they were
	booted  int64
}

// loadProxies reads the file anew.
func (p *process) loadProxies() {
	x := &p.proxies
	x.forget()
	fd, errno := open(p.RunDir+"/"+ProxiesFile+"\x00", syscall.O_RDONLY)
	if errno != 0 {
		return
	}
	buf, n := &x.text, 0
	for n < len(buf) {
		m, err := syscall.Read(fd, buf[n:])
		if m <= 0 || err != nil {
			break
		}
		n += m
	}
	_ = syscall.Close(fd) // only read
	x.dead, x.look = false, false
	for from := 0; from < n && x.count < maxProxies; {
		to := from
		for to < n && buf[to] != '\n' {
			to++
		}
		x.add(buf[from:to])
		from = to + 1
	}
	if !x.dead && now()-x.last > slowestRestart {
		x.pause = 0
	}
}

// forget closes what is watched.
func (x *proxies) forget() {
	for i := range x.count {
		closeFD(&x.fds[i])
	}
	x.count = 0
	closeFD(&x.all)
}

func (x *proxies) add(line []byte) {
	if n := len(line) - len(LookAfterBoot); n > 0 && string(line[n:]) == LookAfterBoot {
		x.look, line = true, line[:n]
	}
	pid, ok := number(line)
	if !ok {
		return
	}
	fd, _, errno := syscall.Syscall(sysPidfdOpen, uintptr(pid), 0, 0)
	if pid == 0 || errno != 0 {
		x.dead = true
		return
	}
	if x.all < 0 {
		all, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
		if err != nil {
			_ = syscall.Close(int(fd)) // not watched
			return
		}
		x.all = all
	}
	e := syscall.EpollEvent{Events: pollIn}
	_ = syscall.EpollCtl(x.all, syscall.EPOLL_CTL_ADD, int(fd), &e) // not watched, then
	x.pids[x.count], x.fds[x.count] = int(pid), int(fd)             //nolint:gosec // a number of a process
	x.count++
}

// ended is called when a process has ended.
func (x *proxies) ended() {
	for i := range x.count {
		var st syscall.WaitStatus
		_, _ = syscall.Wait4(x.pids[i], &st, syscall.WNOHANG, nil) // not all are children
	}
	x.forget()
	x.dead = true
}

// wait is how long it is until something is to be done for them, in seconds; -1 for
// nothing.
func (x *proxies) wait(t int64) int64 {
	var due int64
	switch {
	case x.restart.pidfd >= 0:
		return -1
	case x.dead:
		due = x.last + x.pause
	case x.look && x.looked < looks:
		due = x.booted + 1<<x.looked
	default:
		return -1
	}
	return max(due-t, 0)
}

// lookAfter has those started again that have ended, when it is time.
func (p *process) lookAfter() {
	x := &p.proxies
	t := now()
	if x.wait(t) != 0 {
		return
	}
	if x.dead {
		x.last, x.pause = t, min(max(1, 2*x.pause), slowestRestart)
	} else {
		x.looked++
	}
	p.busy = true
	p.start(&x.restart, ProxiesName, 0)
	if x.restart.pidfd < 0 {
		x.last, x.pause = t, slowestRestart // it could not be started: not at once again
	}
}
