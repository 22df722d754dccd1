package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running dnsmasq, held by a pidfd: signals cannot reach another
// process that got its number.
type process struct {
	pid  int
	fd   int
	args []string
}

func (p *process) Close() { _ = unix.Close(p.fd) }

// findDnsmasq finds the network's dnsmasq; nil when it does not run. The pid
// file only says where to look first: what counts is a process whose arguments
// name this very file, which no two networks share. It must belong to root or
// to dnsmasq's user and be in the caller's pid namespace, so that nobody else's
// process, least of all one in an instance, can pass for it.
func (b Bridge) findDnsmasq() (*process, error) {
	if p, err := b.servingDnsmasq(); p != nil || err != nil {
		return p, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := b.checkProcess(pid); p != nil || err != nil {
			return p, err
		}
	}
	return nil, nil
}

// servingDnsmasq finds the network's dnsmasq by its pid file alone: nil also when
// it runs but has not come so far yet as to write that.
func (b Bridge) servingDnsmasq() (*process, error) {
	pid, err := b.notedPID()
	if err != nil || pid == 0 {
		return nil, err
	}
	return b.checkProcess(pid)
}

// notedPID is what the pid file says; 0 when it names no process.
func (b Bridge) notedPID() (int, error) {
	data, err := os.ReadFile(b.pidFile())
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil && pid > 0 {
		return pid, nil
	}
	return 0, nil // whatever else is in the file names no process
}

// awaitDying waits for a dnsmasq that is about to end, at most stopTimeout: the kernel
// takes its arguments first and closes its sockets later (kernel/exit.c, do_exit),
// and until then another one cannot have the same addresses.
func (b Bridge) awaitDying(ctx context.Context) error {
	pid, err := b.notedPID()
	if err != nil || pid == 0 {
		return err
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil // it has ended
	}
	if err != nil {
		return fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	p := &process{pid: pid, fd: fd}
	defer p.Close()
	if isDying(filepath.Join("/proc", strconv.Itoa(pid))) {
		_, err = p.wait(ctx, stopTimeout)
	}
	return err
}

// isDying says whether a process is a dnsmasq without arguments any more.
func isDying(dir string) bool {
	name, err1 := os.ReadFile(filepath.Join(dir, "comm"))
	cmdline, err2 := os.ReadFile(filepath.Join(dir, "cmdline"))
	return err1 == nil && err2 == nil && len(cmdline) == 0 && string(name) == "dnsmasq\n" && trustedOwner(dir)
}

// checkProcess returns the process if it is the network's dnsmasq.
func (b Bridge) checkProcess(pid int) (*process, error) {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	if !b.looksLike(dir) {
		return nil, nil
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	p := &process{pid: pid, fd: fd}
	// Read again what is now certain to be the process that fd holds, if it is
	// alive afterwards.
	same := b.looksLike(dir) && sameNamespace(dir) && trustedOwner(dir)
	cmdline, readErr := os.ReadFile(filepath.Join(dir, "cmdline"))
	ended, err := p.wait(context.Background(), 0)
	if err != nil || !same || readErr != nil || ended || len(cmdline) == 0 {
		p.Close()
		return nil, err
	}
	p.args = strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	return p, nil
}

// looksLike says whether a process has the argument that only the network's
// dnsmasq has.
func (b Bridge) looksLike(dir string) bool {
	cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	arg := "\x00--pid-file=" + b.pidFile() + "\x00"
	return err == nil && bytes.Contains(cmdline, []byte(arg))
}

func sameNamespace(dir string) bool {
	theirs, err1 := os.Readlink(filepath.Join(dir, "ns/pid"))
	ours, err2 := os.Readlink("/proc/self/ns/pid")
	return err1 == nil && err2 == nil && theirs == ours
}

func trustedOwner(dir string) bool {
	st, err := os.Stat(dir)
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	if sys.Uid == 0 {
		return true
	}
	u, err := user.Lookup("dnsmasq")
	return err == nil && u.Uid == strconv.FormatUint(uint64(sys.Uid), 10)
}

// signal sends a signal; that the process has ended already is no error.
func (p *process) signal(ctx context.Context, sig unix.Signal) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := unix.PidfdSendSignal(p.fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot signal dnsmasq (process %d): %w", p.pid, err)
	}
	return nil
}

// wait waits until the process has ended, at most for the given time, and says
// whether it has.
func (p *process) wait(ctx context.Context, atMost time.Duration) (bool, error) {
	const slice = 50 * time.Millisecond // how often ctx is looked at
	for end := time.Now().Add(atMost); ; {
		left := max(min(time.Until(end), slice), 0)
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int((left+time.Millisecond-1)/time.Millisecond))
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, fmt.Errorf("cannot wait for process %d: %w", p.pid, err)
		}
		if n > 0 {
			return true, nil
		}
		if !time.Now().Before(end) {
			return false, nil
		}
		if err := ctx.Err(); err != nil {
			return false, err
		}
	}
}
