package loopdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// lockWait bounds the wait for a file's lock where ctx does not: whoever
// attaches holds it for milliseconds.
const lockWait = 30 * time.Second

// lockFile takes an exclusive flock(2) of the file that f has open, by an open
// file description of its own: a loop device keeps a reference on the one that
// it was given, and with it would keep the lock until it is detached.
func lockFile(ctx context.Context, f *os.File) (unlock func(), err error) {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	// The same access mode: over NFS an exclusive lock needs a file open for writing.
	lock, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags&unix.O_ACCMODE|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open it to lock: %w", err)
	}
	deadline := time.Now().Add(lockWait)
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = lock.Close() }, nil
		}
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("cannot lock it: %w", os.NewSyscallError("flock", err)), lock.Close())
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, errors.Join(fmt.Errorf("another process has it locked: %w", err), lock.Close())
		}
	}
}
