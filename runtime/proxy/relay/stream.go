package relay

import "syscall"

// conn is a connection that was taken, and the one that was made for it.
type conn struct {
	loop   *loop
	a, b   end // who connected, and the target
	ab, ba half
	target []byte
	// connecting until the target has answered; since when it is tried again, in
	// milliseconds, if it is.
	connecting bool
	since      int64
	closed     bool
	// until is when it ends in any case, if it lingers.
	until int64
}

// end is one of the two sockets of a conn.
type end struct {
	fd              int
	unix, datagrams bool
	// broken is set once it has hung up or worse: as long as nothing can be read from it,
	// there is nothing to see that was not seen.
	broken bool
}

// half is one direction.
type half struct {
	conn     *conn
	from, to *end
	// What was taken and not yet given: bytes in a pipe, or pending ones with the
	// descriptors that go with the first of them.
	pipe    pipe
	piped   int
	pending []byte
	rights  []int
	// copies is set when there is no splicing.
	copies bool
	done   bool
}

const (
	// maxRounds bounds what one direction does before others have their turn.
	maxRounds = 8
	// maxSplice is what is moved at once, if there is so much: the size of the pipes.
	maxSplice = 256 << 10
	// maxDatagram is how much of a stream becomes one datagram.
	maxDatagram = 32 << 10
	// retryTime is how long it is tried to connect to a unix socket with a full queue,
	// in milliseconds.
	retryTime = 10_000
	// lingerTime is how long answers in datagrams are waited for once nothing more is
	// asked, in milliseconds.
	lingerTime = 10_000
)

func (h *half) waiting() bool { return h.piped > 0 || len(h.pending) > 0 }

// connect begins to connect to the target.
func (c *conn) connect() {
	kind := syscall.SOCK_STREAM
	if c.b.datagrams {
		kind = syscall.SOCK_DGRAM
	}
	fd, errno := socket(family(c.target), kind)
	if errno != 0 {
		c.refuse(errno)
		return
	}
	c.b.fd = fd
	if !c.b.datagrams {
		tune(fd, c.b.unix)
	}
	c.connecting = true
	c.loop.watch(fd, c, 0)
	c.connectOnce()
}

func (c *conn) connectOnce() {
	switch errno := connect(c.b.fd, c.target); errno {
	case 0:
		c.connected()
	case syscall.EINPROGRESS:
		c.loop.want(c.b.fd, epollOut)
	case syscall.EAGAIN: // man connect: the queue of a unix socket is full
		if c.since == 0 {
			c.since = now()
			c.loop.retries = append(c.loop.retries, c)
		}
	default:
		c.refuse(errno)
	}
}

// retry tries again to connect.
func (l *loop) retry(t int64) {
	all := l.retries
	l.retries = nil
	for _, c := range all {
		if c.closed || !c.connecting {
			continue
		}
		if t-c.since > retryTime {
			c.refuse(syscall.EAGAIN)
			continue
		}
		c.connectOnce()
		if !c.closed && c.connecting {
			l.retries = append(l.retries, c)
		}
	}
}

// refuse ends a connection whose target does not answer.
func (c *conn) refuse(errno syscall.Errno) {
	c.loop.problem("connect to "+c.loop.config.Target, errno)
	c.abort()
}

func (c *conn) connected() {
	c.connecting = false
	if c.a.unix && c.b.unix {
		c.ab.copies, c.ba.copies = true, true
	}
	if c.b.datagrams {
		c.ab.copies, c.ba.copies = true, true
	}
	c.ab.flush()
	c.settle()
}

func (c *conn) event(fd int, ev uint32) {
	if c.connecting {
		if fd != c.b.fd {
			return
		}
		if errno := socketError(fd); errno != 0 {
			c.refuse(errno)
			return
		}
		c.connected()
		return
	}
	e, in, out := &c.a, &c.ab, &c.ba
	if fd == c.b.fd {
		e, in, out = &c.b, &c.ba, &c.ab
	}
	bad := ev&(epollErr|epollHup) != 0
	if out.waiting() && (bad || ev&epollOut != 0) {
		out.flush()
	}
	if !c.closed && !in.done && !in.waiting() && (bad || ev&epollIn != 0) {
		in.pump()
	}
	if !c.closed && bad {
		if ev&epollErr != 0 && in.done && !out.done { // nobody is there for the other direction
			c.abort()
			return
		}
		e.broken = true
	}
	c.settle()
}

// settle says what is waited for now.
func (c *conn) settle() {
	if c.closed {
		return
	}
	if c.ab.done && c.ba.done {
		c.close()
		return
	}
	c.loop.want(c.a.fd, c.mask(&c.a, &c.ab, &c.ba))
	c.loop.want(c.b.fd, c.mask(&c.b, &c.ba, &c.ab))
}

// onlyErrors has the kernel tell of errors and hang-ups, which it does for any mask
// but none (want): it is EPOLLMSG, which is never told.
const onlyErrors = 0x400

func (c *conn) mask(e *end, in, out *half) uint32 {
	if e.broken {
		if in.waiting() || in.done {
			return 0 // it would be told for ever
		}
		e.broken = false
	}
	var m uint32 = onlyErrors
	if !in.done && !in.waiting() {
		m |= epollIn
	}
	if out.waiting() {
		m |= epollOut
	}
	return m
}

// pump moves what has come.
func (h *half) pump() {
	for range maxRounds {
		var n int
		var errno syscall.Errno
		switch {
		case h.conn.a.unix && h.conn.b.unix:
			n, errno = h.takeRights()
		case h.copies:
			n, errno = h.take()
		default:
			n, errno = h.takePipe()
		}
		switch {
		case errno == syscall.EAGAIN:
			return
		case errno == syscall.EINTR:
			continue
		case errno == syscall.ECONNREFUSED && h.from.datagrams:
			continue // nobody has taken one; the next may be
		case errno != 0:
			h.conn.abort()
			return
		case n == 0 && !h.from.datagrams:
			h.end()
			return
		}
		if h.flush(); h.conn.closed || h.waiting() {
			return
		}
	}
}

// end passes the end of a direction on.
func (h *half) end() {
	h.done = true
	if !h.to.datagrams {
		shutdownWrite(h.to.fd)
		return
	}
	c := h.conn
	c.until = now() + lingerTime
	c.loop.lingering = append(c.loop.lingering, c)
}

// takePipe moves what has come into a pipe.
func (h *half) takePipe() (int, syscall.Errno) {
	p, errno := h.conn.loop.takePipe()
	if errno != 0 {
		h.copies = true
		return h.take()
	}
	n, errno := splice(h.from.fd, p.w, maxSplice)
	if errno != 0 || n == 0 {
		h.conn.loop.givePipe(p)
		if errno == syscall.EINVAL || errno == syscall.ENOSYS {
			h.copies = true
			return h.take()
		}
		return n, errno
	}
	h.pipe, h.piped = p, n
	return n, 0
}

// take copies what has come.
func (h *half) take() (int, syscall.Errno) {
	buf := h.conn.loop.scratch[:]
	if h.to.datagrams {
		buf = buf[:maxDatagram]
	}
	n, errno := read(h.from.fd, buf)
	if errno != 0 {
		return 0, errno
	}
	h.pending = buf[:n]
	return n, 0
}

// flush gives what waits.
func (h *half) flush() {
	for h.piped > 0 {
		n, errno := splice(h.pipe.r, h.to.fd, h.piped)
		if !h.gave(errno) {
			return
		}
		if h.piped -= max(n, 0); errno == 0 && n == 0 {
			h.conn.abort()
			return
		}
	}
	if h.pipe != (pipe{}) {
		h.conn.loop.givePipe(h.pipe)
		h.pipe = pipe{}
	}
	for len(h.pending) > 0 {
		n, errno := h.give()
		if errno == syscall.ECONNREFUSED && h.to.datagrams {
			n, errno = len(h.pending), 0 // lost, as datagrams may be
		}
		if !h.gave(errno) {
			h.keep()
			return
		}
		if errno == 0 {
			h.pending = h.pending[n:]
		}
	}
	h.pending = nil
}

func (h *half) give() (int, syscall.Errno) {
	if len(h.rights) > 0 {
		return h.giveRights()
	}
	return send(h.to.fd, h.pending)
}

// gave says whether to go on.
func (h *half) gave(errno syscall.Errno) bool {
	switch errno {
	case 0, syscall.EINTR:
		return true
	case syscall.EAGAIN:
		return false
	}
	h.conn.abort()
	return false
}

// keep takes a copy of what waits, out of the buffer that all have in common.
func (h *half) keep() {
	if !h.conn.closed {
		h.pending = append([]byte(nil), h.pending...)
	}
}

// abort ends both connections as broken ones.
func (c *conn) abort() {
	for _, e := range [...]*end{&c.a, &c.b} {
		if e.fd >= 0 && !e.unix && !e.datagrams {
			reset(e.fd)
		}
	}
	c.close()
}

func (c *conn) close() {
	if c.closed {
		return
	}
	c.closed = true
	for _, h := range [...]*half{&c.ab, &c.ba} {
		for _, fd := range h.rights {
			closeFD(fd)
		}
		h.rights, h.pending = nil, nil
		if h.pipe != (pipe{}) {
			h.pipe.close() // there is something in it
			h.pipe = pipe{}
		}
	}
	c.loop.drop(c.a.fd)
	if c.b.fd >= 0 {
		c.loop.drop(c.b.fd)
	}
}
