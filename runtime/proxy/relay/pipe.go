package relay

import "syscall"

// pipe is what data is moved through; it is empty whenever nobody has it.
type pipe struct{ r, w int }

// sparePipes is how many are kept for the next who needs one.
const sparePipes = 8

func (l *loop) takePipe() (pipe, syscall.Errno) {
	if n := len(l.pipes); n > 0 {
		p := l.pipes[n-1]
		l.pipes = l.pipes[:n-1]
		return p, 0
	}
	var fds [2]int
	if err := syscall.Pipe2(fds[:], syscall.O_NONBLOCK|syscall.O_CLOEXEC); err != nil {
		return pipe{}, syscall.EMFILE // there is hardly another reason
	}
	_, _, _ = syscall.Syscall(syscall.SYS_FCNTL, uintptr(fds[1]), setPipeSize, maxSplice) // a smaller one does it, too
	return pipe{fds[0], fds[1]}, 0
}

func (l *loop) givePipe(p pipe) {
	if len(l.pipes) >= sparePipes {
		p.close()
		return
	}
	l.pipes = append(l.pipes, p)
}

func (p pipe) close() {
	closeFD(p.r)
	closeFD(p.w)
}
