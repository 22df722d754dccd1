// Package relay is the process of a proxy device: it takes connections on sockets
// that it was started with and passes what comes on to another address.
//
// It is small: like package wait, it imports next to nothing, so that its init comes
// before nearly all others, which never run then. One thread does all the work, with
// epoll. Data of streams goes from socket to socket by way of a pipe (splice) and is
// never copied into the process; pipes are taken when there is something to move, so
// that a connection without traffic is two descriptors and some hundred bytes.
//
//	stream.go    tcp and unix; to another stream, or as datagrams
//	rights.go    unix to unix, with the descriptors that are sent along
//	datagram.go  udp: sessions, one for each sender
//	confine.go   what the process gives up before the first connection
//
// What the other side does not take is not read: the sender waits. The end of one
// direction is passed on as that (shutdown), a broken connection as a broken one.
package relay
