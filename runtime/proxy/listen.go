package proxy

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// File is a socket in a file system, as it was made.
type File struct {
	Path string `json:"path"`
	Dev  uint64 `json:"dev"`
	Ino  uint64 `json:"ino"`
}

// ErrInUse says that something else is where a device is to listen.
var ErrInUse = errors.New("it is in use")

// portsAtOnce is how many sockets one process makes.
const portsAtOnce = 64

// listen makes the sockets of a device, open in this process.
func listen(d Device, side Side) (fds []int, made *File, err error) {
	defer func() {
		if err != nil {
			closeAll(fds)
			fds = nil
		}
	}()
	if d.Listen.Kind == Unix {
		return listenUnix(d, side)
	}
	addrs := d.Listen.sockaddrs()
	for from := 0; from < len(addrs); from += portsAtOnce {
		c := &calls{}
		c.enter(side, false)
		first := len(c.list)
		for i, a := range addrs[from:min(from+portsAtOnce, len(addrs))] {
			c.listenIP(d.Listen, d.Listen.Ports[from+i], a)
		}
		err = c.run()
		for _, call := range c.list[first:] {
			if call.Opens && call.Result != 0 { // never 0: that is this process's input
				fds = append(fds, int(call.Result))
			}
		}
		if err != nil {
			return fds, nil, inUse(err)
		}
	}
	return fds, nil, nil
}

// inUse is an error that tells what it means that an address is taken.
func inUse(err error) error {
	if errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("%w: %w", err, ErrInUse)
	}
	return err
}

func (c *calls) listenIP(a Address, port uint16, addr []byte) {
	op := fmt.Sprintf("listen on %s", Address{Kind: a.Kind, IP: a.IP, Ports: []uint16{port}})
	domain, kind := unix.AF_INET, unix.SOCK_STREAM
	if a.IP.Is6() {
		domain = unix.AF_INET6
	}
	if a.Kind == UDP {
		kind = unix.SOCK_DGRAM
	}
	c.add(op, unix.SYS_SOCKET, uintptr(domain), uintptr(kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC), 0).Opens = true
	if a.Kind == TCP {
		c.option(op, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // not kept by connections of before
	}
	if a.IP.Is6() {
		only := byte(1)
		if a.IP.IsUnspecified() { // [::] is for IPv4, too, as in Incus
			only = 0
		}
		c.option(op, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	c.add(op, unix.SYS_BIND, 0, c.bytes(addr), uintptr(len(addr))).OnOpened = true
	if a.Kind == TCP {
		c.add(op, unix.SYS_LISTEN, 0, backlog).OnOpened = true
	}
}

// backlog is how many connections wait to be taken, as far as the kernel lets them
// (net.core.somaxconn).
const backlog = 4096

func (c *calls) option(op string, level, option uintptr, value byte) {
	c.add(op, unix.SYS_SETSOCKOPT, 0, level, option, c.bytes([]byte{value, 0, 0, 0}), 4).OnOpened = true
}

// listenUnix makes the socket of a device that listens on a unix one.
func listenUnix(d Device, side Side) (fds []int, made *File, err error) {
	if !d.Listen.Abstract {
		if err := removeDead(d.Listen, side); err != nil {
			return nil, nil, err
		}
	}
	op := "listen on " + d.Listen.String()
	addr := d.Listen.sockaddr(0)
	c := &calls{}
	c.enter(side, true)
	c.becomeRoot()
	c.add(op, unix.SYS_UMASK, 0)
	socket := len(c.list)
	c.add(op, unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0).Opens = true
	var st unix.Statx_t
	if !d.Listen.Abstract { // the file that bind makes has the permissions of the socket
		c.add(op, unix.SYS_FCHMOD, 0, uintptr(d.Mode)).OnOpened = true
	}
	c.add(op, unix.SYS_BIND, 0, c.bytes(addr), uintptr(len(addr))).OnOpened = true
	c.add(op, unix.SYS_LISTEN, 0, backlog).OnOpened = true
	file := len(c.list)
	if !d.Listen.Abstract {
		c.own(op, d, &st)
	}
	err = c.run()
	if file < len(c.list) && c.list[file].Result != 0 {
		_ = unix.Close(int(c.list[file].Result)) // a path only
	}
	if fd := c.list[socket].Result; fd != 0 {
		fds = append(fds, int(fd))
	}
	if st.Ino != 0 {
		made = &File{Path: d.Listen.Path, Dev: unix.Mkdev(st.Dev_major, st.Dev_minor), Ino: st.Ino}
	}
	if err != nil {
		if made != nil {
			err = errors.Join(err, RemoveFile(*made, side))
		}
		return fds, nil, inUse(err)
	}
	return fds, made, nil
}

// own gives the file of a socket its owner, whatever is at its path by now, and says
// which file it is.
func (c *calls) own(op string, d Device, st *unix.Statx_t) {
	const getFile = 0x89e0 // SIOCUNIXFILE (linux/sockios.h): it, opened as a path
	c.add(op, unix.SYS_IOCTL, 0, getFile, 0).OnOpened = true
	c.list[len(c.list)-1].Opens = true
	empty := c.text("")
	c.keep = append(c.keep, st)
	c.add(op, unix.SYS_STATX, 0, empty, unix.AT_EMPTY_PATH, unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(st))).OnOpened = true
	c.add(op, unix.SYS_FCHOWNAT, 0, empty, uintptr(d.UID), uintptr(d.GID), unix.AT_EMPTY_PATH).OnOpened = true
}

// removeDead removes a socket that nobody listens on any more; what else is there is
// left, and an error.
func removeDead(a Address, side Side) error {
	st, err := lookAt(a.Path, side)
	if errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("cannot listen on %s: there is something else than a socket: %w", a, ErrInUse)
	}
	op := "connect to " + a.String()
	addr := a.sockaddr(0)
	c := &calls{}
	c.enter(side, true)
	c.becomeRoot()
	c.add(op, unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0).Opens = true
	c.add(op, unix.SYS_CONNECT, 0, c.bytes(addr), uintptr(len(addr))).OnOpened = true
	err = c.run()
	if fd := c.list[len(c.list)-2].Result; fd != 0 {
		_ = unix.Close(int(fd)) // nothing was sent
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("cannot listen on %s: somebody listens there: %w", a, ErrInUse)
	}
	return RemoveFile(File{a.Path, unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino}, side)
}

// lookAt is what is at a path of a side.
func lookAt(path string, side Side) (*unix.Statx_t, error) {
	st := &unix.Statx_t{}
	c := &calls{keep: []any{st}}
	c.enter(side, true)
	c.becomeRoot()
	at := unix.AT_FDCWD
	c.add("look at "+path, unix.SYS_STATX, uintptr(at), c.text(path), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(st)))
	return st, c.run()
}

// IsThere says whether a socket is still at its path.
func (f File) IsThere(side Side) (bool, error) {
	st, err := lookAt(f.Path, side)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	}
	return err == nil && st.Ino == f.Ino && unix.Mkdev(st.Dev_major, st.Dev_minor) == f.Dev, err
}

// RemoveFile removes a socket, unless something else is at its path by now.
func RemoveFile(f File, side Side) error {
	if there, err := f.IsThere(side); err != nil || !there {
		return err
	}
	c := &calls{}
	c.enter(side, true)
	c.becomeRoot()
	at := unix.AT_FDCWD
	c.add("remove "+f.Path, unix.SYS_UNLINKAT, uintptr(at), c.text(f.Path), 0)
	if err := c.run(); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd) // nobody has connected
	}
}
