package squashfs

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// xzQueue is how many blocks one xz process may have been given beyond the one
// that is read back. Its pipes hold less.
const xzQueue = 64

// xzPipe is a running `xz -dc` that decodes one block after the other: each is a
// whole .xz stream, and xz decodes concatenated streams (xz(1)). Where the output
// of one ends is known from the stream's own index, which xz verifies. It keeps
// back the last bytes of a block until it gets more input, so giving it blocks
// must never wait for reading one.
type xzPipe struct {
	cmd      *exec.Cmd
	in, out  *os.File
	inflight chan *job
	stderr   messages
}

func startXZ(ctx context.Context, path string) (_ *xzPipe, err error) {
	x := &xzPipe{inflight: make(chan *job, xzQueue)}
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start xz: %w", err)
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start xz: %w", err), childIn.Close(), in.Close())
	}
	x.in, x.out = in, out
	growPipe(in)
	growPipe(out)
	x.cmd = exec.CommandContext(ctx, path, "-dcqT1", "-M", fmt.Sprint(maxDictionary))
	x.cmd.Stdin, x.cmd.Stdout, x.cmd.Stderr = childIn, childOut, &x.stderr
	x.cmd.Env = []string{"LC_ALL=C"} // without the user's XZ_DEFAULTS and XZ_OPT
	err = errors.Join(x.cmd.Start(), childIn.Close(), childOut.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start xz: %w", err), in.Close(), out.Close())
	}
	return x, nil
}

// growPipe asks for a larger pipe; a refusal (pipe(7)) costs only speed.
func growPipe(f *os.File) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, 1<<20) })
	}
}

// errEnded says that xz ended its output early: its exit status says why.
var errEnded = errors.New("xz has ended")

// workXZ is work by an xz process, which is fed from a goroutine. The process is
// started for the first block that it is needed for.
func (p *pipeline) workXZ(path string) error {
	first, err := p.nextCompressed()
	if first == nil || err != nil {
		return err
	}
	x, err := startXZ(p.ctx, path)
	if err != nil {
		return err
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		if err := p.feed(x, first); err != nil {
			p.cancel(err)
		}
	}()
	err = p.readBack(x)
	if err != nil && !errors.Is(err, errEnded) {
		p.cancel(err) // ends xz
	}
	werr := x.cmd.Wait()
	_ = x.out.Close() // only read from
	if err != nil || werr != nil {
		if err == nil || errors.Is(err, errEnded) {
			err = fmt.Errorf("cannot decompress xz: %w%s", cmp.Or(werr, err), x.stderr.suffix())
		}
		p.cancel(err) // ends the feeder
	}
	<-fed
	return err
}

// nextCompressed takes the next block that is compressed, nil at the end. Those
// that are not it writes itself: not through the process's queue, where they
// would keep their buffers while the reader waits for the last bytes of a block,
// which take more input.
func (p *pipeline) nextCompressed() (*job, error) {
	for j := range p.jobs {
		if !j.plain() {
			return j, nil
		}
		if err := p.write(j, j.src); err != nil {
			return nil, err
		}
		p.free <- j.src
	}
	return nil, nil
}

// feed gives the process the blocks, beginning with j.
func (p *pipeline) feed(x *xzPipe, j *job) error {
	defer close(x.inflight)
	defer func() { _ = x.in.Close() }() // the end of xz's input
	for j != nil {
		n, err := xzLength(j.src)
		if err == nil && n > uint64(p.tree.super.BlockSize) {
			err = errTooLong
		}
		if err != nil {
			return p.blockError(j, err)
		}
		j.length = int(n)
		select {
		case <-p.ctx.Done():
			return nil
		case x.inflight <- j:
		}
		if _, err := x.in.Write(j.src); err != nil {
			return nil // xz is gone: the reader finds that too, and knows why
		}
		p.free <- j.src
		if j, err = p.nextCompressed(); err != nil {
			return err
		}
	}
	return nil
}

// readBack writes the blocks, as they come out, to their files.
func (p *pipeline) readBack(x *xzPipe) error {
	buf := make([]byte, p.tree.super.BlockSize)
	for j := range x.inflight {
		if _, err := io.ReadFull(x.out, buf[:j.length]); err != nil {
			return errEnded
		}
		if err := p.write(j, buf[:j.length]); err != nil {
			return err
		}
	}
	if n, _ := x.out.Read(buf[:1]); n > 0 {
		return errTooLong
	}
	return nil
}

// messages keeps the beginning of what a program prints, for people to read.
type messages struct{ b []byte }

func (m *messages) Write(p []byte) (int, error) {
	if room := 1024 - len(m.b); room > 0 {
		m.b = append(m.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// suffix is the first line as ": line".
func (m *messages) suffix() string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(m.b), []byte("\n"))
	if len(line) == 0 {
		return ""
	}
	return ": " + string(line)
}
