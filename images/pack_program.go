package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/images/compress"
)

// runPacker runs a program that makes what (as "a squashfs") and writes it into out.
// It has files from descriptor 3 on, and ends with ctx and with this process. A full
// disk, which such programs only tell of in words, is ENOSPC.
func (s *Source) runPacker(ctx context.Context, cmd *exec.Cmd, what string, out *os.File, files ...*os.File) error {
	name := filepath.Base(cmd.Path)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.ExtraFiles = files
	done := make(chan error, 1)
	if err := compress.RunProgram(cmd, done); err != nil {
		return fmt.Errorf("cannot start %s: %w", name, err)
	}
	err := s.reportSize(out, done)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if strings.Contains(said.String(), "No space left on device") {
			err = errors.Join(unix.ENOSPC, err)
		}
		return fmt.Errorf("cannot make %s: %s: %w: %.500s", what, name, err, strings.Join(strings.Fields(said.String()), " "))
	}
	return nil
}

// reportSize reports how large a file is until done, whose error it returns.
func (s *Source) reportSize(out *os.File, done <-chan error) error {
	if s.Report == nil {
		return <-done
	}
	report := func() {
		if st, err := out.Stat(); err == nil {
			s.Report(st.Size())
		}
	}
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			report()
		case err := <-done:
			report()
			return err
		}
	}
}
