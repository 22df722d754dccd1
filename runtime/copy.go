package runtime

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

const copyBuffer = 64 << 10

// endOfFile is what a terminal takes as the end of its input (VEOF, Ctrl-D).
const endOfFile = 4

// The copiers work on descriptors: package os would make them blocking again
// whenever it is asked for one.

// copyIn copies from in to out, the command's end, which does not block, until the input ends, the command does not read
// any more, or stop becomes readable. An input that never comes, such as a
// terminal's, does not hold it up. With tty, the end is passed on as Ctrl-D.
func copyIn(out, in, stop int, tty bool) error {
	buf := make([]byte, copyBuffer)
	for {
		ready, stopped, err := pollOne(in, unix.POLLIN, stop, -1)
		if err != nil || stopped {
			return err
		}
		if !ready {
			continue
		}
		n, err := readFD(in, buf)
		if errors.Is(err, unix.EAGAIN) {
			continue
		}
		if errors.Is(err, unix.EIO) { // a terminal that hung up, or the background
			n, err = 0, nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the input: %w", err)
		}
		if n == 0 {
			if tty {
				_, err = writeFD(out, []byte{endOfFile}, stop)
			}
			return err
		}
		if ok, err := writeFD(out, buf[:n], stop); !ok || err != nil {
			return err
		}
	}
}

// copyOut copies to out from in, the command's end, which does not block, until everybody has closed the other end, or,
// once stop is readable, until nothing is left: a process that the command left
// in the background does not hold it up.
func copyOut(out, in, stop int) error {
	buf := make([]byte, copyBuffer)
	for {
		_, stopped, err := pollOne(in, unix.POLLIN, stop, -1)
		if err != nil {
			return err
		}
		n, err := readFD(in, buf)
		switch {
		case errors.Is(err, unix.EAGAIN):
			if stopped {
				return nil
			}
			continue
		case errors.Is(err, unix.EIO), err == nil && n == 0: // EIO: no slave is open
			return nil
		case err != nil:
			return fmt.Errorf("cannot read the output: %w", err)
		}
		if ok, err := writeFD(out, buf[:n], -1); !ok || err != nil {
			return err
		}
	}
}

// pollOne waits for an event on fd, or for stop to become readable. A stop of
// -1 never does.
func pollOne(fd int, events int16, stop, timeout int) (ready, stopped bool, err error) {
	fds := []unix.PollFd{{Fd: int32(fd), Events: events}, {Fd: int32(stop), Events: unix.POLLIN}}
	_, err = unix.Poll(fds, timeout)
	if errors.Is(err, unix.EINTR) {
		return false, false, nil
	}
	if err != nil {
		return false, false, os.NewSyscallError("poll", err)
	}
	return fds[0].Revents != 0, fds[1].Revents != 0, nil
}

func readFD(fd int, buf []byte) (int, error) {
	for {
		n, err := unix.Read(fd, buf)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), err
		}
	}
}

// writeFD writes all of data; ok is false when the other end is gone, or stop
// became readable.
func writeFD(fd int, data []byte, stop int) (ok bool, err error) {
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		switch {
		case err == nil:
			data = data[n:]
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EAGAIN):
			_, stopped, err := pollOne(fd, unix.POLLOUT, stop, -1)
			if err != nil || stopped {
				return false, err
			}
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EIO):
			return false, nil
		default:
			return false, fmt.Errorf("cannot pass on data: %w", err)
		}
	}
	return true, nil
}
