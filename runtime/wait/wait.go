package wait

import (
	"syscall"
	"unsafe"
)

//go:linkname programArgs os.runtime_args
func programArgs() []string

func init() {
	if c, what, ok := Parse(programArgs()); ok && what == Waiting {
		Run(c, catchTerm())
	}
}

const (
	// tick is between two looks at the conditions, in milliseconds.
	tick = 2000
	// idle is how long nothing must have happened before memory is given back.
	idle = 500
	// maxChildren is after how many children the process executes itself anew: each
	// leaves some garbage, which is not collected.
	maxChildren = 64
)

// process is the one that waits.
type process struct {
	Config
	signals int // readable after a SIGTERM
	pending int // who wants the console that another has
	upkeep  child
	stopper child
	// children counts them.
	children int
	// busy is set when something was done that took memory.
	busy bool
	conditions
	proxies proxies
	in      input
	owner   int // process of the Client
	size    int64
}

// pollFD is struct pollfd (man ppoll).
type pollFD struct {
	fd              int32
	events, revents int16
}

const (
	pollIn  = 1
	pollOut = 4
)

// The places in what is polled.
const (
	atSignals = iota
	atInit
	atConsole
	atListener
	atClient
	atPending
	atUpkeep
	atStopper
	atProxies
	atRestart
	places
)

// theProcess is not on the stack, which would have to grow for it.
var theProcess process

// Run waits, and executes the supervisor proper in the end. It is what a process
// with the arguments of a Config does by itself; a caller of it is one that could
// not execute itself. signals becomes readable at a SIGTERM.
func Run(c Config, signals int) {
	p := &theProcess
	*p = process{Config: c, signals: signals, pending: -1, upkeep: child{pidfd: -1}, stopper: child{pidfd: -1}, busy: true}
	p.proxies.all, p.proxies.restart.pidfd, p.proxies.booted = -1, -1, now()
	p.Inherit(false)
	setName("poolctl-superv") // in place of "exe"; 15 bytes at most
	p.openClient()
	p.openLog()
	p.load()
	p.loadProxies()
	if p.Down != 0 {
		p.start(&p.stopper, StopperName, 0)
	}
	dropText() // what all this took; an instance that boots keeps it busy for long
	for {
		p.once()
	}
}

// once waits for something and does it.
func (p *process) once() {
	var fds [places]pollFD
	fds[atSignals] = pollFD{fd: int32(p.signals), events: pollIn}
	fds[atInit] = pollFD{fd: int32(p.Init), events: pollIn}
	fds[atConsole] = pollFD{fd: int32(p.Console), events: pollIn}
	fds[atListener] = pollFD{fd: int32(p.Listener), events: pollIn}
	fds[atClient] = pollFD{fd: int32(p.Client), events: pollIn}
	fds[atPending] = pollFD{fd: int32(p.pending), events: pollIn}
	fds[atUpkeep] = pollFD{fd: int32(p.upkeep.pidfd), events: pollIn}
	fds[atStopper] = pollFD{fd: int32(p.stopper.pidfd), events: pollIn}
	fds[atProxies] = pollFD{fd: int32(p.proxies.all), events: pollIn}
	fds[atRestart] = pollFD{fd: int32(p.proxies.restart.pidfd), events: pollIn}
	if p.in.n > 0 { // no more before that has been taken
		fds[atClient].fd, fds[atConsole].events = -1, pollIn|pollOut
	}
	n, errno := poll(fds[:], p.timeout())
	if errno != 0 { // EINTR; anything else would be a loop without an end
		if errno != syscall.EINTR {
			sleep(tick)
		}
		return
	}
	if n == 0 && p.busy {
		p.busy = false
		dropText()
	}
	if fds[atSignals].revents != 0 {
		p.signal()
	}
	if fds[atConsole].revents != 0 {
		p.busy = true
		p.console(fds[atConsole].revents)
	}
	if fds[atInit].revents != 0 {
		p.end()
	}
	if fds[atClient].revents != 0 {
		p.busy = true
		p.client()
	}
	if fds[atPending].revents != 0 {
		p.takeOver()
	}
	if fds[atListener].revents != 0 {
		p.busy = true
		p.accept()
	}
	if fds[atUpkeep].revents != 0 {
		p.upkeep.reap()
		p.load()
	}
	if fds[atStopper].revents != 0 {
		p.stopper.reap()
	}
	if fds[atProxies].revents != 0 {
		p.proxies.ended()
	}
	if fds[atRestart].revents != 0 {
		p.proxies.restart.reap()
		p.loadProxies()
	}
	p.lookAfter()
	p.look()
}

// timeout is how long to wait for something to happen, in milliseconds; -1 for
// ever.
func (p *process) timeout() int {
	limit := -1
	switch {
	case p.busy:
		limit = idle
	case p.looking():
		limit = tick
	}
	if s := p.proxies.wait(now()); s >= 0 && (limit < 0 || s*1000 < int64(limit)) {
		limit = int(s) * 1000
	}
	return limit
}

// signal has the instance asked to stop: the host shuts down.
func (p *process) signal() {
	var count [8]byte
	if n, err := syscall.Read(p.signals, count[:]); n <= 0 || err != nil {
		return
	}
	if count[changedByte] != 0 {
		p.loadProxies()
	}
	if count[0] == 0 {
		return
	}
	p.Down, p.busy = 1, true
	if p.stopper.pidfd < 0 {
		p.start(&p.stopper, StopperName, 0)
	}
}

// end is the end of the wait: init has ended.
func (p *process) end() {
	p.upkeep.end()
	p.stopper.end()
	p.proxies.restart.end()
	p.drain()
	closeFD(&p.pending)
	p.goOn(Ended)
}

// again executes the waiting process anew, which frees all memory.
func (p *process) again() {
	p.goOn(Waiting)
	p.children = 0
}

// goOn executes the program. When that is impossible, what is left to a
// supervisor that is to clean up is to end: the next command does it. One that is
// to wait goes on.
func (p *process) goOn(what string) {
	if err := p.Exec(what); err != nil && what == Ended {
		say(p.Name + ": cannot execute the supervisor: " + err.Error())
		syscall.Exit(1)
	}
}

func say(line string) { _, _ = syscall.Write(2, []byte(line+"\n")) }

func closeFD(fd *int) {
	if *fd >= 0 {
		_ = syscall.Close(*fd) // nothing to lose
		*fd = -1
	}
}

func poll(fds []pollFD, timeout int) (int, syscall.Errno) {
	var limit *syscall.Timespec
	if timeout >= 0 {
		t := syscall.NsecToTimespec(int64(timeout) * 1e6)
		limit = &t
	}
	n, _, errno := syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)), uintptr(unsafe.Pointer(limit)), 0, 0, 0)
	return int(n), errno
}

func sleep(ms int) {
	t := syscall.NsecToTimespec(int64(ms) * 1e6)
	_ = syscall.Nanosleep(&t, nil)
}

// setName is what ps shows as the name of the process.
func setName(name string) {
	var buf [16]byte
	copy(buf[:15], name)
	_, _, _ = syscall.Syscall(syscall.SYS_PRCTL, syscall.PR_SET_NAME, uintptr(unsafe.Pointer(&buf[0])), 0)
}
