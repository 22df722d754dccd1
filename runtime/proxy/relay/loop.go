package relay

import (
	"syscall"
	"unsafe"
)

//go:linkname programArgs os.runtime_args
func programArgs() []string

func init() {
	if args := programArgs(); len(args) > 0 && args[0] == Name {
		c, ok := Parse(args)
		if !ok {
			syscall.Exit(2)
		}
		run(&c)
	}
}

// handler is told of what can be done with one of its descriptors.
type handler interface {
	event(fd int, events uint32)
}

// watched is a descriptor of the loop.
type watched struct {
	handler handler
	// generation tells a descriptor from another one that had the number before: an
	// event may be left of that.
	generation int32
	mask       uint32
	in         bool // in the epoll set
}

// loop waits for events and has them handled. There is one.
type loop struct {
	config  *Config
	epoll   int
	fds     []watched
	pipes   []pipe
	scratch [64 << 10]byte

	listeners []*listener
	// paused are listeners that wait for descriptors to become free.
	paused bool
	// retries are connections to unix sockets whose queue is full, lingering are ones
	// that end in a while.
	retries   []*conn
	lingering []*conn
	sessions  sessions
	errors    errorLog
}

var theLoop loop

// run is the main of the process; it never returns.
func run(c *Config) {
	setName("poolctl-proxy")
	ignorePipe()
	raiseFiles()
	l := &theLoop
	l.config = c
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		fail("cannot watch files: " + err.Error())
	}
	l.epoll = epoll
	l.sessions.init()
	for i := range c.Listeners {
		if c.Datagrams {
			newDatagrams(l, FirstListener+i, i)
		} else {
			l.listeners = append(l.listeners, newListener(l, FirstListener+i, i))
		}
	}
	l.watch(Init, ending{}, epollIn)
	if errno := confine(family(c.Addresses[0])); errno != 0 {
		fail("cannot filter system calls: " + errno.Error())
	}
	_, _ = syscall.Write(Status, []byte(Ready)) // who started it is gone, then
	if n, errno := read(Status, make([]byte, 1)); n != 1 || errno != 0 {
		syscall.Exit(1)
	}
	_ = syscall.Dup3(0, Status, syscall.O_CLOEXEC)
	for {
		l.once()
	}
}

// fail ends the process for a reason that whoever starts it is told.
func fail(text string) {
	_, _ = syscall.Write(Status, []byte(text)) // nobody else to tell
	syscall.Exit(1)
}

// ending ends the process with the instance's init.
type ending struct{}

func (ending) event(int, uint32) { syscall.Exit(0) }

const maxEvents = 128

var events [maxEvents]epollEvent

func (l *loop) once() {
	n, _, errno := syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&events[0])), maxEvents, uintptr(l.timeout()), 0, 0)
	if errno != 0 {
		n = 0
	}
	for i := range events[:n] {
		e := &events[i]
		fd := int(e.Fd)
		if w := &l.fds[fd]; w.handler != nil && w.generation == e.Pad {
			w.handler.event(fd, e.Events)
		}
	}
	l.tick()
}

// timeout is how long to wait for something to happen, in milliseconds; -1 for ever.
func (l *loop) timeout() int {
	switch {
	case len(l.retries) > 0:
		return 10
	case l.paused:
		return 100
	case len(l.lingering) > 0 || l.sessions.count > 0:
		return 1000
	}
	return -1
}

// tick does what is due.
func (l *loop) tick() {
	if len(l.retries)+len(l.lingering)+l.sessions.count == 0 && !l.paused {
		return
	}
	t := now()
	l.retry(t)
	l.sessions.expire(t)
	keep := l.lingering[:0]
	for _, c := range l.lingering {
		if !c.closed && t >= c.until {
			c.close()
		}
		if !c.closed {
			keep = append(keep, c)
		}
	}
	clear(l.lingering[len(keep):])
	l.lingering = keep
	if l.paused {
		l.paused = false
		for _, s := range l.listeners {
			l.want(s.fd, epollIn)
		}
	}
}

// pause stops taking connections for a moment.
func (l *loop) pause() {
	l.paused = true
	for _, s := range l.listeners {
		l.want(s.fd, 0)
	}
}

// watch has a handler told of events of a descriptor.
func (l *loop) watch(fd int, h handler, mask uint32) {
	for fd >= len(l.fds) {
		l.fds = append(l.fds, make([]watched, 64)...)
	}
	w := &l.fds[fd]
	w.handler, w.generation, w.in, w.mask = h, w.generation+1, false, 0
	l.want(fd, mask)
}

// want changes what is waited for. With nothing to wait for, errors are not told
// either.
func (l *loop) want(fd int, mask uint32) {
	w := &l.fds[fd]
	if w.mask == mask {
		return
	}
	e := epollEvent{Events: mask, Fd: int32(fd), Pad: w.generation} //nolint:gosec // a descriptor
	op := syscall.EPOLL_CTL_MOD
	switch {
	case !w.in:
		op = syscall.EPOLL_CTL_ADD
	case mask == 0:
		op = syscall.EPOLL_CTL_DEL
	}
	if err := syscall.EpollCtl(l.epoll, op, fd, &e); err != nil {
		l.config.say("cannot watch a connection: " + err.Error())
		return
	}
	w.in, w.mask = mask != 0, mask
}

// drop closes a descriptor.
func (l *loop) drop(fd int) {
	w := &l.fds[fd]
	w.handler, w.in, w.mask = nil, false, 0
	closeFD(fd)
}

// errorLog says what goes wrong, not too often.
type errorLog struct {
	last    int64
	skipped int
}

// errorPause is how long nothing more is said then, in milliseconds.
const errorPause = 10_000

func (l *loop) problem(what string, errno syscall.Errno) {
	t := now()
	e := &l.errors
	if e.last != 0 && t-e.last < errorPause {
		e.skipped++
		return
	}
	text := "cannot " + what + ": " + errno.Error()
	if e.skipped > 0 {
		text += " (and " + itoa(e.skipped) + " more like this or others)"
	}
	l.config.say(text)
	e.last, e.skipped = t, 0
}
