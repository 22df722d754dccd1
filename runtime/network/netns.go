package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// openNetNS opens the network namespace of a process.
func openNetNS(pid int) (*os.File, error) {
	f, err := os.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns/net"))
	if err != nil {
		return nil, fmt.Errorf("cannot open the network namespace of process %d: %w", pid, err)
	}
	return f, nil
}

// handleAt opens a netlink socket in a network namespace. A socket stays in the
// namespace it was made in, whichever thread uses it later, so only its making
// needs a thread there. That thread is not returned to the Go scheduler: the
// goroutine ends without UnlockOSThread, at which Go ends the thread (runtime.
// LockOSThread), and no other goroutine can ever run in the wrong namespace.
func handleAt(ns *os.File) (*netlink.Handle, error) {
	type result struct {
		handle *netlink.Handle
		err    error
	}
	ch := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			ch <- result{err: fmt.Errorf("cannot enter the network namespace: %w", err)}
			return
		}
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
		if err != nil {
			err = fmt.Errorf("cannot open a netlink socket inside: %w", err)
		}
		ch <- result{h, err}
	}()
	r := <-ch
	return r.handle, r.err
}

// dump runs a netlink dump until it gives a consistent answer: the kernel marks
// dumps that a concurrent change interrupted (NLM_F_DUMP_INTR), and their data
// may be incomplete.
func dump[T any](f func() ([]T, error)) ([]T, error) {
	const tries = 20
	for i := 0; ; i++ {
		list, err := f()
		if errors.Is(err, netlink.ErrDumpInterrupted) && i < tries {
			continue
		}
		return list, err
	}
}

// isNotFound says whether err is netlink's "no such link".
func isNotFound(err error) bool {
	var notFound netlink.LinkNotFoundError
	return errors.As(err, &notFound)
}

// setSysctl writes one of the settings of a link in the calling process's
// network namespace; family is "ipv4" or "ipv6".
func setSysctl(family, link, key, value string) error {
	path := filepath.Join("/proc/sys/net", family, "conf", link, key)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot set %s: %w", key, err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot set %s: %w", key, err)
	}
	return nil
}
