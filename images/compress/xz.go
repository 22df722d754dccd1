package compress

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const pipeSize = 1 << 20

// xzProcess is a running `xz -dc`. A goroutine feeds it; the process itself is
// the read-ahead.
type xzProcess struct {
	ctx    context.Context
	format Format
	cmd    *exec.Cmd
	in     *os.File // write end of its stdin
	out    *os.File // read end of its stdout
	buf    *bufio.Reader
	stderr tail

	fed     chan struct{} // closed when the feeder is done
	feedErr error         // error of the source, valid after fed

	waitOnce sync.Once
	waitErr  error
}

// startXZ runs the xz program at path on r: all cores (files of several blocks),
// at most MaxMemory, without the user's XZ_DEFAULTS and XZ_OPT (xz(1)).
func startXZ(ctx context.Context, path string, f Format, r io.Reader) (io.ReadCloser, error) {
	childIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cannot start xz: %w", err)
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start xz: %w", err), childIn.Close(), in.Close())
	}
	growPipe(in)
	growPipe(out)
	p := &xzProcess{
		ctx: ctx, format: f, fed: make(chan struct{}),
		cmd: exec.CommandContext(ctx, path, "-dc", "-T0", "--format="+string(f), "-M", fmt.Sprint(MaxMemory)),
	}
	p.in, p.out = in, out
	p.buf = bufio.NewReaderSize(p.out, 256<<10)
	p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = childIn, childOut, &p.stderr
	p.cmd.Env = []string{"LC_ALL=C"}
	err = p.cmd.Start()
	err = errors.Join(err, childIn.Close(), childOut.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot start xz: %w", err), in.Close(), out.Close())
	}
	go p.feed(r)
	return p, nil
}

// growPipe asks for a larger pipe: fewer wake-ups. A refusal (the limit
// pipe-user-pages-soft, pipe(7)) costs only speed. Not by Fd(), which would make
// the file blocking, so that Close could not end a blocked Read or Write.
func growPipe(f *os.File) {
	if c, err := f.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
	}
}

// feed copies the source into the process until either ends.
func (p *xzProcess) feed(r io.Reader) {
	defer close(p.fed)
	defer func() { _ = p.in.Close() }() // the process sees the end of its input
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := p.in.Write(buf[:n]); werr != nil {
				return // xz is gone: its exit status says why
			}
		}
		if err != nil {
			if err != io.EOF {
				p.feedErr = err
			}
			return
		}
	}
}

func (p *xzProcess) Read(b []byte) (int, error) {
	n, err := p.buf.Read(b)
	if n > 0 || err == nil {
		return n, nil
	}
	if err != io.EOF {
		return 0, fmt.Errorf("cannot decompress %s: %w", p.format, err)
	}
	return 0, p.finish()
}

// finish waits for the process after the end of its output and turns its fate
// into io.EOF or an error.
func (p *xzProcess) finish() error {
	werr := p.wait()
	if werr != nil {
		_ = p.in.Close() // ends a feeder that is blocked in Write
	}
	<-p.fed
	switch {
	case p.ctx.Err() != nil:
		return p.ctx.Err()
	case p.feedErr != nil:
		return p.feedErr
	case werr != nil:
		return fmt.Errorf("cannot decompress %s: %w%s", p.format, werr, p.stderr.suffix())
	}
	return io.EOF
}

func (p *xzProcess) wait() error {
	p.waitOnce.Do(func() { p.waitErr = p.cmd.Wait() })
	return p.waitErr
}

// Close ends the process if it still runs, and waits for it and for the feeder.
func (p *xzProcess) Close() error {
	_ = p.cmd.Process.Kill() // "already finished" is fine
	_ = p.wait()             // a killed process has nothing to report
	_ = p.in.Close()
	<-p.fed
	return p.out.Close()
}

// tail keeps the first bytes of a process's messages.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	if room := 1024 - len(t.b); room > 0 {
		t.b = append(t.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// suffix is the first line of the messages as ": line", for people.
func (t *tail) suffix() string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(t.b)), "\n")
	if line == "" {
		return ""
	}
	return ": " + line
}
