package runtime

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// pipes is the session of a command without a terminal.
type pipes struct {
	guest [3]*os.File
	// stop is an eventfd that becomes readable when the command has ended.
	stop    *os.File
	copies  []func() error
	ends    []*os.File // our ends of pipes
	wg      sync.WaitGroup
	mu      sync.Mutex
	copyErr error
}

// openPipes prepares the standard files, with ends that belong to the command's
// ids on the host: programs inside that open /dev/stdout need that.
func openPipes(o ExecOptions, uid, gid int) (_ session, err error) {
	p := &pipes{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.abort())
		}
	}()
	if p.stop, err = newEvent(); err != nil {
		return nil, err
	}
	given := [3]*os.File{o.Stdin, o.Stdout, o.Stderr}
	for i, f := range given {
		if i == 2 && f != nil && o.Stdout != nil && isSame(f, o.Stdout) {
			// One pipe for both keeps the order of what is written.
			p.guest[2], err = dup(p.guest[1])
		} else {
			p.guest[i], err = p.connect(f, i > 0, uid, gid)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot connect descriptor %d: %w", i, err)
		}
	}
	return p, nil
}

// connect makes one standard file of the command.
func (p *pipes) connect(f *os.File, output bool, uid, gid int) (*os.File, error) {
	if f == nil || isNull(f) {
		return openAbove2(os.DevNull)
	}
	if isAnonymousPipe(f) {
		g, err := dup(f)
		if err != nil {
			return nil, err
		}
		_ = g.Chown(uid, gid) // only /dev/stdin and the like need it
		return g, nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, err
	}
	r, w := os.NewFile(uintptr(fds[0]), "pipe"), os.NewFile(uintptr(fds[1]), "pipe")
	guest, own := r, w
	if output {
		guest, own = w, r
	}
	p.ends = append(p.ends, own)
	_ = guest.Chown(uid, gid)                                     // as above
	if err := unix.SetNonblock(int(own.Fd()), true); err != nil { // not the command's end
		return nil, err
	}
	theirs, ours, stop := int(f.Fd()), int(own.Fd()), int(p.stop.Fd())
	if output {
		p.copies = append(p.copies, func() error { return copyOut(theirs, ours, stop) })
	} else {
		p.copies = append(p.copies, func() error { return copyIn(ours, theirs, stop, false) })
	}
	return above2(guest)
}

func (p *pipes) files() [3]*os.File { return p.guest }

func (p *pipes) start() error {
	for i, c := range p.copies {
		p.wg.Go(func() {
			err := c()
			// Closed at once: a reader inside sees the end, a writer SIGPIPE.
			err = errors.Join(err, p.ends[i].Close())
			p.mu.Lock()
			defer p.mu.Unlock()
			p.copyErr = errors.Join(p.copyErr, err)
		})
	}
	return closeAll(p.guest[:])
}

func (p *pipes) finish() error {
	err := signalEvent(p.stop)
	p.wg.Wait()
	return errors.Join(err, p.copyErr, p.stop.Close())
}

func (p *pipes) abort() error {
	return errors.Join(closeAll(p.guest[:]), closeAll(p.ends), closeAll([]*os.File{p.stop}))
}

func closeAll(files []*os.File) error {
	var errs []error
	for _, f := range files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// dup duplicates to a descriptor above the standard ones.
func dup(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return nil, os.NewSyscallError("dup", err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// above2 moves a file off the standard descriptors, which a caller may have
// closed.
func above2(f *os.File) (*os.File, error) {
	if f.Fd() > 2 {
		return f, nil
	}
	g, err := dup(f)
	return g, errors.Join(err, f.Close())
}

func openAbove2(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return above2(f)
}

func isNull(f *os.File) bool {
	var st unix.Stat_t
	err := unix.Fstat(int(f.Fd()), &st)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == unix.Mkdev(1, 3)
}

// isAnonymousPipe is false of a FIFO in a filesystem, whose owner must not be
// changed.
func isAnonymousPipe(f *os.File) bool {
	var st unix.Statfs_t
	return unix.Fstatfs(int(f.Fd()), &st) == nil && st.Type == unix.PIPEFS_MAGIC
}

func isSame(a, b *os.File) bool {
	sa, erra := a.Stat()
	sb, errb := b.Stat()
	return erra == nil && errb == nil && os.SameFile(sa, sb)
}

func newEvent() (*os.File, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	return os.NewFile(uintptr(fd), "eventfd"), nil
}

func signalEvent(f *os.File) error {
	_, err := f.Write([]byte{1, 0, 0, 0, 0, 0, 0, 0})
	return err
}
