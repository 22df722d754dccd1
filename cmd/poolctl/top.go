package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/cmd/poolctl/internal/table"
	"poolctl/pool"
)

// topOptions are the flags of top.
type topOptions struct {
	format, columns, sort string
	refresh, rounds       int
	once                  bool
}

func topCommand(e *env) *cli.Command {
	o := &topOptions{}
	return &cli.Command{
		Name: "top", Category: catInstances, Usage: "show what the running instances use, live",
		Description: example("Keys: c, m, t, p and n sort by processor, memory, time, processes and name; q ends. Without a terminal it shows one look.\n\n"+
			"Columns: n name, c processor in percent of one, u CPU seconds, m memory, M memory in percent, w swap, N processes, p PID, s state.",
			"poolctl top", "poolctl top --once --sort memory --format csv"),
		Flags: []cli.Flag{
			formatFlag(&o.format, output.Table),
			&cli.StringFlag{Name: "columns", Aliases: []string{"c"}, Usage: "`COLUMNS` to show", Value: topDefault, Destination: &o.columns},
			&cli.StringFlag{Name: "sort", Usage: "`KEY` to sort by: cpu, memory, time, processes or name", Value: "cpu", Destination: &o.sort},
			&cli.IntFlag{Name: "refresh", Aliases: []string{"r"}, Usage: "`SECONDS` between two looks", Value: 2, Destination: &o.refresh, Action: positive},
			&cli.IntFlag{Name: "n", Usage: "end after `NUMBER` looks", Destination: &o.rounds, Action: positive},
			&cli.BoolFlag{Name: "once", Usage: "show one look and end", Destination: &o.once},
		},
		Action: e.action(0, 0, func(ctx context.Context, s *pool.System, _ []string) error { return e.top(ctx, s, o) }),
	}
}

func (e *env) top(ctx context.Context, s *pool.System, o *topOptions) error {
	columns, err := topColumns(o.columns)
	if err != nil {
		return err
	}
	if !isTopSort(o.sort) {
		return badUsage("top", "unknown key %q to sort by: not one of cpu, memory, time, processes, name", o.sort)
	}
	v := &topView{columns: columns, sort: o.sort, look: s.LiveInstances}
	live := term.IsTerminal(int(e.stdin.Fd())) && term.IsTerminal(int(e.stdout.Fd()))
	if o.once || !live && o.rounds == 0 {
		o.rounds = 1
	}
	if o.format != output.Table || !live || o.once {
		return e.topLooks(ctx, v, o)
	}
	return e.topLive(ctx, v, o)
}

// topFirst is how long the use of the processor is measured for the first look.
const topFirst = 250 * time.Millisecond

// topLooks writes looks one after the other.
func (e *env) topLooks(ctx context.Context, v *topView, o *topOptions) error {
	if err := v.update(); err != nil {
		return err
	}
	for i, pause := 0, topFirst; i < max(o.rounds, 1); i, pause = i+1, time.Duration(o.refresh)*time.Second {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		if err := v.update(); err != nil {
			return err
		}
		if err := v.list().Write(e.stdout, o.format); err != nil {
			return err
		}
	}
	return nil
}

// Sequences of a terminal (ECMA-48; xterm's "Alternate Screen Buffer").
const (
	enterScreen = "\x1b[?1049h\x1b[?25l"
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	clearLine   = "\x1b[K"
	clearBelow  = "\x1b[J"
)

// topLive shows looks on the terminal until q, and leaves that as it was however
// it ends: signals end the context, and the process is never stopped by ^Z, which
// is a key like any other here.
func (e *env) topLive(ctx context.Context, v *topView, o *topOptions) (err error) {
	old, err := term.MakeRaw(int(e.stdin.Fd()))
	if err != nil {
		return fmt.Errorf("cannot set up the terminal: %w", err)
	}
	defer func() {
		_, werr := e.stdout.WriteString(leaveScreen)
		err = errors.Join(err, werr, term.Restore(int(e.stdin.Fd()), old))
	}()
	if err := e.printf("%s", enterScreen); err != nil {
		return err
	}
	if err := v.update(); err != nil {
		return err
	}
	pause := topFirst
	for round := 0; ; {
		next := time.Now().Add(pause)
		for time.Until(next) > 0 {
			key, err := readKey(ctx, e.stdin, time.Until(next))
			if err != nil || isQuit(key) {
				return err
			}
			if v.key(key) {
				if err := e.draw(v); err != nil {
					return err
				}
			}
		}
		if err := v.update(); err != nil {
			return err
		}
		if err := e.draw(v); err != nil {
			return err
		}
		if round++; o.rounds > 0 && round >= o.rounds {
			return nil
		}
		pause = time.Duration(o.refresh) * time.Second
	}
}

// isQuit says whether a key ends top: q, ^C, ^D or the end of the input.
func isQuit(key byte) bool { return key == 'q' || key == 'Q' || key == 3 || key == 4 }

// readKey waits for a key; 0 when there was none in time.
func readKey(ctx context.Context, in *os.File, wait time.Duration) (byte, error) {
	const step = 100 * time.Millisecond // a signal is noticed as soon
	for end := time.Now().Add(wait); ; {
		if ctx.Err() != nil {
			return 'q', nil //nolint:nilerr // a signal ends it as q does
		}
		left := min(time.Until(end), step)
		if left <= 0 {
			return 0, nil
		}
		fds := []unix.PollFd{{Fd: int32(in.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return 0, fmt.Errorf("cannot wait for a key: %w", err)
		}
		if n < 1 {
			continue
		}
		var b [1]byte
		if n, err := unix.Read(int(in.Fd()), b[:]); err != nil || n == 0 {
			return 'q', nil //nolint:nilerr // the terminal has gone
		}
		return b[0], nil
	}
}

// draw writes the view over what is on the screen, as far as it has lines.
func (e *env) draw(v *topView) error {
	width, height, err := term.GetSize(int(e.stdout.Fd()))
	if err != nil || width < 1 || height < 3 {
		width, height = 80, 24
	}
	l := v.list()
	var text bytes.Buffer
	if err := table.Write(&text, l.Header, l.Rows); err != nil {
		return err
	}
	lines := append([]string{v.title()}, strings.Split(strings.TrimRight(text.String(), "\n"), "\n")...)
	var b strings.Builder
	b.WriteString(home)
	for i, line := range lines[:min(len(lines), height-1)] {
		if i > 0 {
			b.WriteString("\r\n")
		}
		if r := []rune(line); len(r) > width {
			line = string(r[:width])
		}
		b.WriteString(line + clearLine)
	}
	b.WriteString(clearBelow)
	return e.printf("%s", b.String())
}
