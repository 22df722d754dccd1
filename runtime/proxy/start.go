package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"poolctl/runtime/join"
	"poolctl/runtime/proxy/relay"
)

// Started is the relay of a device.
type Started struct {
	// PID is a child of the process that has started it.
	PID int
	// File is the socket that it listens on, if that has a path.
	File   *File
	status *os.File
}

// Release has a relay that was started, and is recorded by now, pass connections on. One
// that is not released ends with the process that has started it.
func (s Started) Release() error {
	_, err := s.status.Write([]byte{1})
	return errors.Join(err, s.status.Close())
}

// Cancel ends a relay in place of Release. side is where it listens.
func (s Started) Cancel(side Side) error {
	_ = unix.Kill(s.PID, unix.SIGKILL) // not reaped, so the number is its own
	err := errors.Join(join.Reap(s.PID), s.status.Close())
	if s.File != nil {
		err = errors.Join(err, RemoveFile(*s.File, side))
	}
	return err
}

// Start starts the relay of a device and returns when it is ready; connections wait for
// Release. instance is the name, for messages, which go to log. On an error nothing is
// left.
func Start(ctx context.Context, instance string, d Device, host, inside Side, log *os.File) (s Started, err error) {
	if err := d.Validate(); err != nil {
		return s, err
	}
	from, to := d.Sides(host, inside)
	fds, made, err := listen(d, from)
	if err != nil {
		return s, err
	}
	defer closeAll(fds) // the relay has them
	defer func() {
		if err != nil && made != nil {
			err = errors.Join(err, RemoveFile(*made, from))
		}
	}()
	s.File = made
	s.PID, s.status, err = startRelay(ctx, d, instance, to, inside.PIDFD, fds, log)
	return s, err
}

// Sides are where it listens and where it connects.
func (d Device) Sides(host, inside Side) (from, to Side) {
	if d.Inside {
		return inside, host
	}
	return host, inside
}

// config is what the relay is told.
func (d Device) config(instance string, listeners int) relay.Config {
	c := relay.Config{
		Instance: instance, Device: d.Name, Target: d.Connect.String(), Listeners: listeners,
		Datagrams: d.Listen.Kind == UDP, Unix: d.Listen.Kind == Unix,
		ToDatagrams: d.Connect.Kind == UDP, ToUnix: d.Connect.Kind == Unix,
		Header: d.ProxyProtocol, Addresses: d.Connect.sockaddrs(),
	}
	return c
}

func startRelay(ctx context.Context, d Device, instance string, side Side, init int, fds []int, log *os.File) (pid int, status *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, nil, fmt.Errorf("cannot make a socket: %w", err)
	}
	theirs := pair[1]
	defer func() {
		if theirs >= 0 {
			_ = unix.Close(theirs) // nothing was written
		}
	}()
	status = os.NewFile(uintptr(pair[0]), "status")
	defer func() {
		if err != nil {
			_ = status.Close() // all that matters has been read
			status = nil
		}
	}()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = null.Close() }() // the process has it
	program, err := ownProgram()
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = program.Close() }() // the process has it
	files := append([]int{int(null.Fd()), theirs, int(log.Fd()), init}, fds...)
	pid, err = d.execute(instance, side, files, int(program.Fd()))
	_ = unix.Close(theirs) // the process has it
	theirs = -1
	if err != nil {
		return 0, nil, fmt.Errorf("cannot start a process: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(pid, unix.SIGKILL) }) // not reaped, so the number is its own
	defer stop()
	buf := make([]byte, 4096)
	n, err := status.Read(buf)
	if err == nil && string(buf[:n]) == relay.Ready && stop() {
		return pid, status, nil
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return 0, nil, relayFailed(ctx, pid, strings.TrimSpace(string(buf[:n])), err)
}

// relayFailed takes a relay that does not work, and says why.
func relayFailed(ctx context.Context, pid int, text string, err error) error {
	st, werr := reapNow(pid)
	switch {
	case ctx.Err() != nil:
		return errors.Join(ctx.Err(), werr)
	case err != nil || werr != nil:
		return errors.Join(err, werr)
	case text != "":
		return errors.New(text)
	case st.Signaled():
		return fmt.Errorf("the process that passes connections on was ended by signal %d (%s)", st.Signal(), unix.SignalName(st.Signal()))
	}
	return fmt.Errorf("the process that passes connections on ended with exit code %d", st.ExitStatus())
}

// reapNow takes a child that has ended, or is ended.
func reapNow(pid int) (st unix.WaitStatus, err error) {
	ended := time.Now().Add(time.Second)
	for {
		n, err := unix.Wait4(pid, &st, unix.WNOHANG, nil)
		switch {
		case n == pid:
			return st, nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return st, fmt.Errorf("cannot wait for process %d: %w", pid, err)
		case time.Now().After(ended):
			_ = unix.Kill(pid, unix.SIGKILL) // not reaped, so the number is its own
		}
		time.Sleep(time.Millisecond)
	}
}

// maxFiles is how many the relay may have open: two for each connection.
const maxFiles = 1 << 18

// execute executes this program as the relay, on a side; open become its descriptors
// from 0 on.
func (d Device) execute(instance string, side Side, open []int, program int) (pid int, err error) {
	// Numbers that none of the copies overwrites.
	var high []int
	defer func() { closeAll(high) }()
	for _, fd := range append(open, side.PIDFD, program) {
		copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, len(open)+8)
		if err != nil {
			return 0, fmt.Errorf("cannot copy a descriptor: %w", err)
		}
		high = append(high, copied)
	}
	program, side.PIDFD = high[len(open)+1], high[len(open)]
	config := d.config(instance, len(open)-relay.FirstListener)
	c := &calls{}
	limit := &unix.Rlimit{Cur: maxFiles, Max: maxFiles}
	c.keep = append(c.keep, limit)
	c.add("raise the limit of files", unix.SYS_PRLIMIT64, 0, unix.RLIMIT_NOFILE, uintptr(unsafe.Pointer(limit)), 0).Try = true
	c.add("protect the process", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	c.add("make a session keyring", unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0).Try = true
	c.enter(side, d.Connect.Kind == Unix && !d.Connect.Abstract)
	c.add("change to the root directory", unix.SYS_CHDIR, c.text("/"))
	c.add("make a session", unix.SYS_SETSID)
	for i := range open {
		c.add("set the files", unix.SYS_DUP3, uintptr(high[i]), uintptr(i), 0)
	}
	c.add("close files", unix.SYS_CLOSE_RANGE, uintptr(len(open)), 0xffffffff, unix.CLOSE_RANGE_CLOEXEC)
	c.giveUp(d)
	c.add("execute the own program", unix.SYS_EXECVEAT, uintptr(program), c.text(""), c.vector(config.Args()), c.vector([]string{"GOMAXPROCS=1"}), unix.AT_EMPTY_PATH)
	return join.Execute(c.list, c.keep)
}

// Securebits (linux/securebits.h): an execve as root gives no capabilities, for good.
const noRoot = 1<<0 | 1<<1

// giveUp has the process have the ids of the relay, and no capability but, as root,
// the one to use any socket of its side. There is nothing that it could get them back
// by.
func (c *calls) giveUp(d Device) {
	var uid, gid uint32
	if d.SecurityUID != nil {
		uid = *d.SecurityUID
	}
	if d.SecurityGID != nil {
		gid = *d.SecurityGID
	}
	var kept uint32
	if uid == 0 && d.Connect.Kind == Unix && !d.Connect.Abstract {
		kept = 1 << unix.CAP_DAC_OVERRIDE
	}
	c.add("give up capabilities", unix.SYS_PRCTL, unix.PR_SET_SECUREBITS, noRoot, 0, 0, 0)
	c.add("give up groups", unix.SYS_SETGROUPS, 0, 0)
	c.add(fmt.Sprintf("become group %d", gid), unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid))
	c.add(fmt.Sprintf("become user %d", uid), unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid))
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{{Effective: kept, Permitted: kept, Inheritable: kept}}
	c.keep = append(c.keep, header, data)
	c.add("give up capabilities", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	c.add("give up capabilities", unix.SYS_CAPSET, uintptr(unsafe.Pointer(header)), uintptr(unsafe.Pointer(data)))
	if kept != 0 {
		c.add("keep a capability", unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, unix.CAP_DAC_OVERRIDE, 0, 0)
	}
	c.add("give up privileges", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

func (c *calls) vector(list []string) uintptr {
	v := make([]uintptr, len(list)+1)
	for i, s := range list {
		v[i] = c.text(s)
	}
	c.keep = append(c.keep, v)
	return uintptr(unsafe.Pointer(&v[0]))
}

// ownProgram is this program, so that an instance's users may execute it.
func ownProgram() (*os.File, error) {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("cannot open the own program: %w", err)
	}
	var st unix.Stat_t
	err = unix.Fstat(int(exe.Fd()), &st)
	if err == nil && st.Mode&0o001 != 0 {
		return exe, nil
	}
	defer func() { _ = exe.Close() }() // read-only
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("poolctl", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("poolctl", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a file in memory: %w", err)
	}
	program := os.NewFile(uintptr(fd), "poolctl")
	if _, err := io.Copy(program, exe); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot copy the own program: %w", err), program.Close())
	}
	return program, nil
}
