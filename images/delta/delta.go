// Package delta makes the file of a new version out of that of an old one and a
// delta, the way LXD and Incus do it: by the program xdelta3 (VCDIFF, RFC 3284).
//
// Neither the old file nor the delta need be trusted: what comes out is bounded in
// size and verified.
package delta

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

// program applies deltas.
const program = "xdelta3"

// waitDelay is how long the delta's reader may go on to block when the program has
// ended.
const waitDelay = 5 * time.Second

// maxMessage bounds what is kept of the program's messages, in bytes.
const maxMessage = 4 << 10

// ErrNoProgram says that there is no xdelta3 program.
var ErrNoProgram = errors.New("the program xdelta3 is not installed")

// Available says whether deltas can be applied here.
func Available() bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// Target is the file that is to come out.
type Target struct {
	Size   int64  // bytes
	SHA256 string // lower-case hexadecimal
}

// MismatchError says that something else came out.
type MismatchError struct {
	Want, Got Target // of one that became too long, Got is the size at which it was given up
}

func (e *MismatchError) Error() string {
	if e.Got.SHA256 == "" {
		return fmt.Sprintf("what comes of it has more than %d bytes", e.Want.Size)
	}
	return fmt.Sprintf("what comes of it has %d bytes and the sha256 %s, expected %d and %s", e.Got.Size, e.Got.SHA256, e.Want.Size, e.Want.SHA256)
}

// Apply writes what the delta makes of the old file into out, an empty file, while
// the delta is read, and verifies that it is want. After an error the content of out
// is undefined. old is read by the program through a descriptor of its own.
func Apply(ctx context.Context, old *os.File, delta io.Reader, out io.Writer, want Target) error {
	path, err := exec.LookPath(program)
	if err != nil {
		return ErrNoProgram
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// -D and -R: a header of the delta may ask for other programs to be run.
	cmd := exec.CommandContext(ctx, path, "-d", "-c", "-D", "-R", "-q", "-s", "/proc/self/fd/3")
	cmd.Env = []string{"LC_ALL=C"} // without the user's XDELTA
	cmd.ExtraFiles = []*os.File{old}
	var messages bounded
	cmd.Stderr = &messages
	in := &source{r: delta}
	cmd.Stdin = in
	cmd.WaitDelay = waitDelay
	made, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return fmt.Errorf("cannot run %s: %w", program, err)
	}
	sum := sha256.New()
	n, copyErr := io.Copy(io.MultiWriter(out, sum), io.LimitReader(made, want.Size+1))
	if copyErr != nil || n > want.Size {
		cancel() // it need not go on
	}
	err = cmd.Wait()
	if cause := in.failure(); cause != nil { // rather than what came of it
		return fmt.Errorf("cannot read it: %w", cause)
	}
	switch {
	case copyErr != nil:
		return fmt.Errorf("cannot apply it: %w", copyErr)
	case n > want.Size:
		return &MismatchError{Want: want, Got: Target{Size: n}}
	case err != nil:
		return messages.explain(err)
	}
	if got := (Target{n, hex.EncodeToString(sum.Sum(nil))}); got != want {
		return &MismatchError{Want: want, Got: got}
	}
	return nil
}

// source remembers the error of the delta's reader.
type source struct {
	r io.Reader

	mu  sync.Mutex
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		s.err = err
		s.mu.Unlock()
	}
	return n, err
}

func (s *source) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// bounded keeps the beginning of what is written.
type bounded struct{ bytes.Buffer }

func (b *bounded) Write(p []byte) (int, error) {
	if room := maxMessage - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(len(p), room)]) // never fails (bytes.Buffer)
	}
	return len(p), nil
}

// explain is an error of the program with what it said of it.
func (b *bounded) explain(err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("cannot apply it: %w", err)
	}
	first, _, _ := strings.Cut(strings.TrimSpace(b.String()), "\n")
	if first == "" {
		first = exit.Error()
	}
	return fmt.Errorf("cannot apply it: %.300q", strings.TrimPrefix(first, program+": "))
}
