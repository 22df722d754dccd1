package wait

import (
	"syscall"
	"unsafe"
)

// ConsoleSocket is in the run directory: a SOCK_SEQPACKET socket, on which each
// packet begins with the byte that says what it is. Numbers are little-endian.
//
//	from the taker                         from the supervisor
//	                                       Busy, PID uint32: another process has it; the taker may wait
//	Force: take it all the same
//	                                       Yours, size uint64: the console from now on; what there was
//	                                       before is in the log, which has that size
//	Data: typed                            Data: written by the instance
//	Size, rows uint16, columns uint16      Taken, PID uint32: another process has it now
const (
	ConsoleSocket = "console"

	Busy  = 'b'
	Data  = 'd'
	Force = 'f'
	Size  = 'w'
	Taken = 't'
	Yours = 'y'

	// MaxData is the most that comes in one packet.
	MaxData = 4096
)

const (
	// maxLog is the size above which the log is moved aside, to the same name with
	// ".old".
	maxLog = 1 << 20
	// drainTime bounds how long the last words of an instance are waited for, in
	// milliseconds, and maxDrain how much of them there may be.
	drainTime = 1000
	maxDrain  = 4 << 20
)

// input is what was typed and the console has not taken yet.
type input struct {
	buf  [1 + MaxData]byte
	from int
	n    int // 0 when there is nothing
}

// output is read to and sent from, the byte before it says that it is Data.
var output [1 + MaxData]byte

// console copies in both directions.
func (p *process) console(events int16) {
	if events&pollOut != 0 {
		p.flushInput()
	}
	if events&^pollOut != 0 && p.copyOutput() < 0 {
		closeFD(&p.Console)
	}
}

// copyOutput copies what the instance has written to the log and to who has the
// console, as much as he takes: an instance that nobody listens to must not
// stand still. It returns how much that was, -1 at the end.
func (p *process) copyOutput() int {
	n, err := syscall.Read(p.Console, output[1:])
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return 0
	}
	if n <= 0 || err != nil { // EIO: nobody has the other end open
		return -1
	}
	p.writeLog(output[1 : 1+n])
	if p.Client >= 0 {
		output[0] = Data
		if !send(p.Client, output[:1+n]) {
			p.release()
		}
	}
	return n
}

// drain takes down what is still on the way, once the instance has ended.
func (p *process) drain() {
	closeFD(&p.Slave) // nothing was written to it
	for left := maxDrain; p.Console >= 0 && left > 0; {
		fds := [1]pollFD{{fd: int32(p.Console), events: pollIn}}
		n, errno := poll(fds[:], drainTime)
		if errno == syscall.EINTR {
			continue
		}
		if n <= 0 {
			break // somebody else has the terminal open
		}
		n = p.copyOutput()
		if n < 0 {
			break
		}
		left -= max(n, 1)
	}
	closeFD(&p.LogFile)
}

func (p *process) openLog() {
	if p.LogFile >= 0 {
		var st syscall.Stat_t
		if syscall.Fstat(p.LogFile, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFREG {
			p.size = st.Size
		}
	}
}

// writeLog never fails: a full disk must not stop the instance.
func (p *process) writeLog(data []byte) {
	if p.Log == "" || p.LogFile < 0 {
		return
	}
	if p.size+int64(len(data)) > maxLog {
		if err := syscall.Rename(p.Log, p.Log+".old"); err == nil {
			fd, errno := open(p.Log+"\x00", syscall.O_WRONLY|syscall.O_CREAT|syscall.O_APPEND|syscall.O_NOFOLLOW)
			if errno == 0 { // else the old file goes on
				closeFD(&p.LogFile)
				p.LogFile, p.size = fd, 0
			}
		}
	}
	n, _ := syscall.Write(p.LogFile, data)
	p.size += int64(max(n, 0))
}

// accept takes a new taker. One who waits for the console makes place for him.
func (p *process) accept() {
	fd, _, errno := syscall.Syscall6(syscall.SYS_ACCEPT4, uintptr(p.Listener), 0, 0, syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, 0, 0)
	if errno != 0 {
		return
	}
	closeFD(&p.pending)
	p.pending = int(fd)
	if p.Client >= 0 && hungUp(p.Client) {
		p.finishClient()
	}
	if p.Client < 0 {
		p.attach()
		return
	}
	if !sendNumber(p.pending, Busy, uint64(p.owner), 4) { //nolint:gosec // a process number
		closeFD(&p.pending)
	}
}

// finishClient takes what the one who is gone has typed, as far as the console
// does.
func (p *process) finishClient() {
	for p.Client >= 0 {
		if p.in.n > 0 {
			p.release()
			return
		}
		p.client()
	}
}

// hungUp says whether the other end is gone.
func hungUp(fd int) bool {
	fds := [1]pollFD{{fd: int32(fd)}}
	n, _ := poll(fds[:], 0)
	return n == 1
}

// attach gives the console to who waits for it.
func (p *process) attach() {
	p.Client, p.pending = p.pending, -1
	p.openClient()
	if !sendNumber(p.Client, Yours, uint64(p.size), 8) { //nolint:gosec // a size
		p.release()
	}
}

// openClient finds out who has the console.
func (p *process) openClient() {
	p.owner = 0
	if p.Client < 0 {
		return
	}
	if cred, err := syscall.GetsockoptUcred(p.Client, syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
		p.owner = int(cred.Pid)
	}
}

// release takes the console from who has it.
func (p *process) release() {
	closeFD(&p.Client)
	p.in.n, p.owner = 0, 0
}

// takeOver gives the console to who waits for it, if he insists.
func (p *process) takeOver() {
	var buf [8]byte
	if n := receive(p.pending, buf[:]); n == 0 {
		return
	} else if n < 0 || buf[0] != Force {
		closeFD(&p.pending)
		return
	}
	if p.Client >= 0 {
		if cred, err := syscall.GetsockoptUcred(p.pending, syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			sendNumber(p.Client, Taken, uint64(cred.Pid), 4) //nolint:gosec // a process number
		}
		p.release()
	}
	p.attach()
}

// client reads one packet.
func (p *process) client() {
	n := receive(p.Client, p.in.buf[:])
	if n == 0 {
		return
	}
	if n < 0 {
		p.release()
		return
	}
	switch b := p.in.buf[:n]; {
	case b[0] == Data && n > 1:
		p.in.from, p.in.n = 1, n-1
		p.flushInput()
	case b[0] == Size && n == 5 && p.Console >= 0:
		size := [4]uint16{uint16(b[1]) | uint16(b[2])<<8, uint16(b[3]) | uint16(b[4])<<8}                                    // struct winsize
		_, _, _ = syscall.Syscall(syscall.SYS_IOCTL, uintptr(p.Console), syscall.TIOCSWINSZ, uintptr(unsafe.Pointer(&size))) // the old one stays
	}
}

// flushInput gives the console as much as it takes.
func (p *process) flushInput() {
	if p.Console < 0 {
		p.in.n = 0
	}
	for p.in.n > 0 {
		n, err := syscall.Write(p.Console, p.in.buf[p.in.from:p.in.from+p.in.n])
		if err == syscall.EINTR {
			continue
		}
		if err != nil && err != syscall.EAGAIN {
			p.in.n = 0
		}
		if n <= 0 {
			return
		}
		p.in.from += n
		p.in.n -= n
	}
}

// send is false when the other end is gone. What it does not take now is lost.
func send(fd int, packet []byte) bool {
	for {
		_, _, errno := syscall.Syscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&packet[0])), uintptr(len(packet)),
			syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case syscall.EINTR:
		case 0, syscall.EAGAIN, syscall.ENOBUFS:
			return true
		default:
			return false
		}
	}
}

func sendNumber(fd int, what byte, n uint64, size int) bool {
	packet := [9]byte{what}
	for i := range size {
		packet[1+i] = byte(n >> (8 * i))
	}
	return send(fd, packet[:1+size])
}

// receive reads one packet: 0 when there is none, -1 when the other end is gone.
func receive(fd int, buf []byte) int {
	n, _, errno := syscall.Syscall6(syscall.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), syscall.MSG_DONTWAIT, 0, 0)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return 0
	case errno != 0 || int(n) <= 0:
		return -1
	}
	return int(n)
}
