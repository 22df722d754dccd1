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
// needs a thread there. The thread goes back home afterwards; should that fail,
// the goroutine ends without UnlockOSThread, at which Go ends the thread, so
// that no other goroutine can ever run in the wrong namespace. (Ending it always
// would be simpler, but the kernel sends a child its parent-death signal when
// the thread that started it ends, see prctl(2), PR_SET_PDEATHSIG.)
func handleAt(ns *os.File) (*netlink.Handle, error) {
	type result struct {
		handle *netlink.Handle
		err    error
	}
	ch := make(chan result, 1)
	go func() {
		runtime.LockOSThread()
		h, home, err := openAt(ns)
		if home {
			runtime.UnlockOSThread()
		}
		ch <- result{h, err}
	}()
	r := <-ch
	return r.handle, r.err
}

// openAt is handleAt's work on its thread; home says whether the thread is in
// its own namespace again.
func openAt(ns *os.File) (_ *netlink.Handle, home bool, err error) {
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, true, fmt.Errorf("cannot open the own network namespace: %w", err)
	}
	defer own.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, true, fmt.Errorf("cannot enter the network namespace: %w", err)
	}
	h, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		err = fmt.Errorf("cannot open a netlink socket inside: %w", err)
	}
	home = unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil
	return h, home, err
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
