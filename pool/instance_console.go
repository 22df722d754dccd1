package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"poolctl/runtime"
)

// ConsoleOptions are the arguments of Console. Log and LogFrom are filled in.
type ConsoleOptions = runtime.ConsoleOptions

// Console is at the console of a running instance until the user leaves it, or the
// instance ends. A ConsoleMark shows what was written since first.
func (s *System) Console(ctx context.Context, name string, o ConsoleOptions, since *ConsoleMark) error {
	if err := s.exists(ctx, name); err != nil {
		return err
	}
	if since != nil {
		o.Log, o.LogFrom = s.consoleLog(name), since.size
	}
	err := runtime.AttachConsole(ctx, s.instanceRunDir(name), o)
	if err == nil {
		return nil
	}
	shown := fmt.Errorf("cannot attach to the console of %s: %w", name, err)
	var busy *runtime.ConsoleBusyError
	switch {
	case errors.As(err, &busy):
		return withHint(shown, "poolctl console --force %s takes it over", name)
	case errors.Is(err, runtime.ErrNotRunning):
		return fmt.Errorf("cannot attach to the console of %s: %w", name, s.stoppedError(name, "poolctl start --console %s, or poolctl console --show-log %s", name, name))
	case errors.Is(err, runtime.ErrConsoleLost):
		return withHint(shown, "poolctl exec %s -- sh works; after poolctl restart %s there is a console again", name, name)
	}
	return shown
}

// exists is nil for the name of an instance.
func (s *System) exists(ctx context.Context, name string) error {
	p, _, err := s.findInstance(ctx, name)
	if err != nil {
		return err
	}
	return p.close()
}

// ConsoleMark is a place in what an instance has written to its console.
type ConsoleMark struct{ size int64 }

// ConsoleNow is the place that it has come to.
func (s *System) ConsoleNow(name string) *ConsoleMark {
	info, err := os.Stat(s.consoleLog(name))
	if err != nil {
		return &ConsoleMark{}
	}
	return &ConsoleMark{info.Size()}
}

// ConsoleLog writes what an instance, running or not, has written to its console,
// as far as it is kept: the last one to two MiB.
func (s *System) ConsoleLog(ctx context.Context, name string, to io.Writer) error {
	if err := s.exists(ctx, name); err != nil {
		return err
	}
	for _, path := range []string{s.consoleLog(name) + ".old", s.consoleLog(name)} {
		if err := ignoreNotExist(writeKept(to, path)); err != nil {
			return fmt.Errorf("cannot show the console's log of %s: %w", name, err)
		}
	}
	return nil
}

// writeKept writes a whole file.
func writeKept(to io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(to, f)
	return errors.Join(err, f.Close())
}
