package template

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// childName is the whole command line of the child process.
const childName = "poolctl: image template"

// Resource limits of the child (getrlimit(2)); it dies when it exceeds one.
const (
	childCPU    = 2         // seconds of CPU time
	childMemory = 208 << 20 // bytes of private memory, Go's arenas of 64 MiB included
	childStack  = 64 << 20  // bytes of goroutine stack: pongo2's macros recurse without limit
)

// Exit codes of the child.
const (
	exitRendered = 0
	exitRefused  = 3 // the template is wrong; the message is on stderr
)

// ErrResources says that a template took more time, memory or recursion than
// it may.
var ErrResources = errors.New("it takes too much time, memory or recursion")

type request struct {
	Source []byte `json:"source"`
	Data   *Data  `json:"data"`
}

// init turns a process that renderInChild started into the renderer. In init, so
// that it works in every program that links this package (tests too) without a
// call in its main; the first thing it does is to limit itself.
func init() {
	if len(os.Args) == 1 && os.Args[0] == childName {
		os.Exit(serve(os.Stdin, os.Stdout, os.Stderr))
	}
}

// serve renders the request on in.
func serve(in io.Reader, out, messages io.Writer) int {
	fail := func(err error) int {
		_, _ = fmt.Fprintln(messages, err) // nobody left to tell
		return exitRefused
	}
	if err := limitSelf(); err != nil {
		return fail(err)
	}
	var req request
	if err := json.NewDecoder(in).Decode(&req); err != nil || req.Data == nil {
		return fail(fmt.Errorf("cannot read the request: %w", err))
	}
	b, err := execute(req.Source, req.Data)
	if err != nil {
		return fail(err)
	}
	if _, err := out.Write(b); err != nil {
		return fail(err)
	}
	return exitRendered
}

func limitSelf() error {
	debug.SetMaxStack(childStack)
	for _, l := range []struct {
		resource int
		value    uint64
	}{
		{unix.RLIMIT_CPU, childCPU},
		{unix.RLIMIT_DATA, childMemory},
		{unix.RLIMIT_CORE, 0},
		{unix.RLIMIT_FSIZE, 0},
	} {
		if err := unix.Setrlimit(l.resource, &unix.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("cannot limit the template's process: %w", err)
		}
	}
	return nil
}

// renderInChild renders in a limited process of this program.
func renderInChild(ctx context.Context, source []byte, data *Data) ([]byte, error) {
	input, err := json.Marshal(request{source, data})
	if err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, MaxTime)
	defer cancel()
	out, messages := head{limit: MaxOutput + 1}, head{limit: 2048}
	cmd := exec.CommandContext(timed, "/proc/self/exe")
	cmd.Args = []string{childName}
	cmd.Env = []string{"GOTRACEBACK=none", "GOMAXPROCS=1"}
	cmd.Dir = "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &messages
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var exit *exec.ExitError
	switch {
	case err == nil && len(out.b) > MaxOutput:
		return nil, ErrOutput
	case err == nil:
		return out.b, nil
	case errors.As(err, &exit) && exit.ExitCode() == exitRefused:
		return nil, errors.New(string(bytes.TrimSpace(messages.b)))
	case errors.As(err, &exit):
		return nil, ErrResources
	}
	return nil, fmt.Errorf("cannot run the template's process: %w", err)
}

// head keeps the beginning of what is written to it.
type head struct {
	b     []byte
	limit int
}

func (h *head) Write(p []byte) (int, error) {
	if room := h.limit - len(h.b); room > 0 {
		h.b = append(h.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}
