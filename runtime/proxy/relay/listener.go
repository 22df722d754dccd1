package relay

import (
	"syscall"
)

// listener takes connections of streams.
type listener struct {
	loop      *loop
	fd, index int
}

func newListener(l *loop, fd, index int) *listener {
	s := &listener{loop: l, fd: fd, index: index}
	l.watch(fd, s, epollIn)
	return s
}

// maxAccepts is how many connections are taken before others have their turn.
const maxAccepts = 64

func (s *listener) event(int, uint32) {
	for range maxAccepts {
		var from [128]byte
		fd, errno := accept(s.fd, &from)
		switch errno {
		case 0:
			s.connect(fd, &from)
		case syscall.EINTR, syscall.ECONNABORTED:
		case syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM:
			s.loop.problem("accept a connection", errno)
			s.loop.pause()
			return
		default: // EAGAIN, and what the network reported for one that is gone (man accept)
			return
		}
	}
}

// connect starts to connect for somebody who has connected.
func (s *listener) connect(fd int, from *[128]byte) {
	l, c := s.loop, s.loop.config
	tune(fd, c.Unix)
	cn := &conn{loop: l, target: c.address(s.index)}
	cn.a = end{fd: fd, unix: c.Unix}
	cn.b = end{fd: -1, unix: c.ToUnix, datagrams: c.ToDatagrams}
	cn.ab = half{conn: cn, from: &cn.a, to: &cn.b}
	cn.ba = half{conn: cn, from: &cn.b, to: &cn.a}
	if c.Header {
		cn.ab.pending = header(fd, from, c.Unix)
	}
	l.watch(fd, cn, 0)
	cn.connect()
}

// header is the first line of the PROXY protocol, version 1
// (https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt, 2.1): who connects,
// to what.
func header(fd int, from *[128]byte, unix bool) []byte {
	if unix {
		return []byte("PROXY UNKNOWN\r\n")
	}
	var to [128]byte
	localAddress(fd, &to)
	source, sourcePort := hostPort(from)
	dest, destPort := hostPort(&to)
	kind := "TCP6"
	if mapped(source) != nil {
		kind = "TCP4"
	}
	return []byte("PROXY " + kind + " " + ipText(source) + " " + ipText(dest) + " " + itoa(sourcePort) + " " + itoa(destPort) + "\r\n")
}

// hostPort takes a struct sockaddr_in or sockaddr_in6 apart.
func hostPort(a *[128]byte) (ip []byte, port int) {
	port = int(a[2])<<8 | int(a[3])
	if family(a[:]) == syscall.AF_INET6 {
		return a[8:24], port
	}
	return a[4:8], port
}
