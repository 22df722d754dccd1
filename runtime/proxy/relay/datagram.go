package relay

import (
	"syscall"
	"unsafe"
)

// datagrams is a socket of udp that is listened on.
type datagrams struct {
	loop      *loop
	fd, index int
	six       bool
}

// session is one sender, with a socket of its own to the target. When that is a
// stream, what comes in datagrams is strung together.
type session struct {
	from       *datagrams
	key        sender
	fd         int
	connecting bool
	pending    []byte // of a stream, what it has not taken
	last       int64
	prev, next *session
	gone       bool
}

// sender is what tells sessions apart: who sends, to which of the own addresses,
// which is the one to answer from.
type sender struct {
	listener int
	size     uint32
	addr     [28]byte // struct sockaddr_in or sockaddr_in6
	info     [20]byte // struct in_pktinfo or in6_pktinfo
}

const (
	// sessionTime is how long a session lives without a datagram, in milliseconds
	// (RFC 4787, REQ-5, recommends it).
	sessionTime = 5 * 60 * 1000
	// maxSessions is how many there are: then the one that was silent longest ends.
	maxSessions = 4096
	// maxPending is what waits for a stream; what comes then is lost.
	maxPending = 64 << 10

	ipPktinfo       = 8  // IP_PKTINFO
	ipv6RecvPktinfo = 49 // IPV6_RECVPKTINFO
	ipv6Pktinfo     = 50 // IPV6_PKTINFO
)

func newDatagrams(l *loop, fd, index int) {
	var own [128]byte
	localAddress(fd, &own)
	d := &datagrams{loop: l, fd: fd, index: index, six: family(own[:]) == syscall.AF_INET6}
	if d.six {
		setInt(fd, syscall.IPPROTO_IPV6, ipv6RecvPktinfo, 1)
	} else {
		setInt(fd, syscall.IPPROTO_IP, ipPktinfo, 1)
	}
	l.watch(fd, d, epollIn)
}

// pktinfo is a message with the address that a datagram came to, or comes from.
type pktinfo struct {
	header syscall.Cmsghdr
	info   [24]byte
}

// set makes it that of an answer.
func (p *pktinfo) set(six bool, info *[20]byte) (size int) {
	n, ifindex := 12, info[0:4] // struct in_pktinfo
	p.header.Level, p.header.Type = syscall.IPPROTO_IP, ipPktinfo
	if six {
		n, ifindex = 20, info[16:20] // struct in6_pktinfo
		p.header.Level, p.header.Type = syscall.IPPROTO_IPV6, ipv6Pktinfo
	}
	if !six || info[0] != 0xfe || info[1]&0xc0 != 0x80 { // only a link-local address has to say of which link
		clear(ifindex)
	}
	copy(p.info[:], info[:])
	p.header.SetLen(int(unsafe.Sizeof(p.header)) + n)
	return (int(p.header.Len) + 7) &^ 7
}

// event takes what has come to the listening socket.
func (d *datagrams) event(int, uint32) {
	l := d.loop
	for range maxAccepts {
		key := sender{listener: d.index}
		var p pktinfo
		iov := syscall.Iovec{Base: &l.scratch[0], Len: uint64(len(l.scratch))}
		m := syscall.Msghdr{
			Name: &key.addr[0], Namelen: uint32(len(key.addr)), Iov: &iov, Iovlen: 1,
			Control: (*byte)(unsafe.Pointer(&p)), Controllen: uint64(unsafe.Sizeof(p)),
		}
		n, errno := recvmsg(d.fd, &m, syscall.MSG_DONTWAIT)
		if errno == syscall.EAGAIN {
			return
		}
		if errno != 0 {
			continue // an error of a former answer
		}
		key.size = m.Namelen
		copy(key.info[:], p.info[:])
		if !d.six {
			clear(key.info[8:]) // the address in the header, which may be one for all
		}
		if s := l.sessions.of(d, key); s != nil {
			s.send(l.scratch[:n])
		}
	}
}

// sessions are those of all sockets, the one that was silent longest first.
type sessions struct {
	byKey map[sender]*session
	list  session // next is the first, prev the last
	count int
}

func (t *sessions) init() {
	t.byKey = map[sender]*session{}
	t.list.next, t.list.prev = &t.list, &t.list
}

// of is the session of a sender, nil if there cannot be one.
func (t *sessions) of(d *datagrams, key sender) *session {
	s := t.byKey[key]
	if s != nil {
		s.unlink()
		s.link(t)
		return s
	}
	if t.count >= maxSessions {
		t.list.next.end()
	}
	l := d.loop
	target := l.config.address(d.index)
	kind := syscall.SOCK_DGRAM
	if !l.config.ToDatagrams {
		kind = syscall.SOCK_STREAM
	}
	fd, errno := socket(family(target), kind)
	if errno == syscall.EMFILE && t.count > 0 {
		t.list.next.end()
		fd, errno = socket(family(target), kind)
	}
	if errno != 0 {
		l.problem("make a socket", errno)
		return nil
	}
	s = &session{from: d, key: key, fd: fd}
	if !l.config.ToDatagrams {
		tune(fd, l.config.ToUnix)
	}
	switch errno := connect(fd, target); errno {
	case 0:
	case syscall.EINPROGRESS:
		s.connecting = true
	default:
		l.problem("connect to "+l.config.Target, errno)
		closeFD(fd)
		return nil
	}
	if l.config.Header {
		s.pending = []byte("PROXY UNKNOWN\r\n") // version 1 knows no udp
	}
	t.byKey[key] = s
	t.count++
	s.link(t)
	l.watch(fd, s, 0)
	s.settle()
	return s
}

// link makes it the last in the list.
func (s *session) link(t *sessions) {
	s.last = now()
	s.prev, s.next = t.list.prev, &t.list
	s.prev.next, t.list.prev = s, s
}

func (s *session) unlink() { s.prev.next, s.next.prev = s.next, s.prev }

// expire ends sessions that were silent too long.
func (t *sessions) expire(at int64) {
	for t.count > 0 && at-t.list.next.last > sessionTime {
		t.list.next.end()
	}
}

func (s *session) end() {
	if s.gone {
		return
	}
	l := s.from.loop
	s.gone = true
	s.unlink()
	delete(l.sessions.byKey, s.key)
	l.sessions.count--
	l.drop(s.fd)
}

func (s *session) stream() bool { return !s.from.loop.config.ToDatagrams }

// settle says what is waited for now.
func (s *session) settle() {
	mask := uint32(epollIn)
	if s.connecting || len(s.pending) > 0 {
		mask |= epollOut
	}
	s.from.loop.want(s.fd, mask)
}

// send passes a datagram on.
func (s *session) send(data []byte) {
	if !s.stream() {
		// One that the target refuses or has no room for is lost; the error may be that
		// of the one before.
		if _, errno := send(s.fd, data); errno == syscall.ECONNREFUSED {
			_, _ = send(s.fd, data)
		}
		return
	}
	if len(s.pending)+len(data) > maxPending {
		return
	}
	s.pending = append(s.pending, data...)
	s.flush()
}

// flush gives a stream what waits for it.
func (s *session) flush() {
	for !s.connecting && len(s.pending) > 0 {
		n, errno := send(s.fd, s.pending)
		if errno == syscall.EAGAIN {
			break
		}
		if errno != 0 {
			s.end()
			return
		}
		s.pending = s.pending[n:]
	}
	if len(s.pending) == 0 {
		s.pending = nil
	}
	s.settle()
}

// event takes what the target says.
func (s *session) event(_ int, ev uint32) {
	l := s.from.loop
	if s.connecting {
		if errno := socketError(s.fd); errno != 0 {
			l.problem("connect to "+l.config.Target, errno)
			s.end()
			return
		}
		s.connecting = false
	}
	if ev&epollOut != 0 {
		if s.flush(); s.gone {
			return
		}
	}
	for range maxAccepts {
		buf := l.scratch[:]
		if s.stream() {
			buf = buf[:maxDatagram]
		}
		n, errno := read(s.fd, buf)
		switch {
		case errno == syscall.EAGAIN:
			return
		case errno == syscall.ECONNREFUSED && !s.stream():
			continue
		case errno != 0, n == 0 && s.stream():
			s.end()
			return
		}
		s.answer(buf[:n])
	}
}

// answer sends a datagram to the sender.
func (s *session) answer(data []byte) {
	s.unlink()
	s.link(&s.from.loop.sessions)
	var p pktinfo
	info := s.key.info
	size := p.set(s.from.six, &info)
	iov := syscall.Iovec{Len: uint64(len(data))}
	if len(data) > 0 {
		iov.Base = &data[0]
	}
	m := syscall.Msghdr{
		Name: &s.key.addr[0], Namelen: s.key.size, Iov: &iov, Iovlen: 1,
		Control: (*byte)(unsafe.Pointer(&p)), Controllen: uint64(size), //nolint:gosec // some bytes
	}
	_, _ = sendmsg(s.from.fd, &m) // it may be lost
}
