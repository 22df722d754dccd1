package runtime

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// consoleLog keeps what instances write to their console, within limits.
type consoleLog struct {
	path string
	file *os.File
	size int64
	// slave keeps the terminal from hanging up while nobody inside has it open.
	slave *os.File
	done  chan struct{} // closed when the copying has ended
}

func openConsoleLog(path string) (*consoleLog, error) {
	c := &consoleLog{path: path}
	if err := c.open(); err != nil {
		return nil, fmt.Errorf("cannot open the console's log: %w", err)
	}
	return c, nil
}

func (c *consoleLog) open() error {
	f, err := openLog(c.path)
	if err != nil {
		return err
	}
	st, err := f.Stat()
	if err != nil {
		_ = f.Close() // the first error counts
		return err
	}
	if c.file != nil {
		_ = c.file.Close() // written without buffering
	}
	c.file, c.size = f, 0
	if st.Mode().IsRegular() {
		c.size = st.Size()
	}
	return nil
}

// follow copies from a console's master, until the instance ends or reboots.
// The master must be read even when there is no log: an instance that writes to
// a full console stands still.
func (c *consoleLog) follow(master int) error {
	flags := uintptr(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		_ = unix.Close(master) // the first error counts
		return fmt.Errorf("cannot open the console: %w", errno)
	}
	if err := unix.SetNonblock(master, true); err != nil {
		return fmt.Errorf("cannot set up the console: %w", err)
	}
	c.finish() // of the run before
	c.slave, c.done = os.NewFile(fd, "console slave"), make(chan struct{})
	go c.copy(os.NewFile(uintptr(master), "console"), c.done)
	return nil
}

func (c *consoleLog) copy(master *os.File, done chan<- struct{}) {
	defer close(done)
	buf := make([]byte, 4096)
	for {
		n, err := master.Read(buf)
		if err != nil { // EIO: the last slave has been closed
			break
		}
		c.write(buf[:n])
	}
	_ = master.Close() // at its end
}

// drainTime bounds how long the last words of an instance are waited for.
const drainTime = time.Second

// finish takes down what is still on the way, once the instance has ended.
func (c *consoleLog) finish() {
	if c == nil || c.slave == nil {
		return
	}
	_ = c.slave.Close() // nothing was written to it
	c.slave = nil
	select {
	case <-c.done:
	case <-time.After(drainTime): // somebody else has the terminal open
	}
}

// write never fails: a full disk must not stop the instance.
func (c *consoleLog) write(p []byte) {
	if c.path == "" {
		return
	}
	if c.size+int64(len(p)) > maxLog {
		if err := os.Rename(c.path, c.path+".old"); err == nil {
			_ = c.open() // when it fails, the old file goes on
		}
	}
	n, _ := c.file.Write(p)
	c.size += int64(n)
}
