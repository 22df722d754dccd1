package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/images/compress"
)

// qcow2Program makes qcow2 files (Debian: qemu-utils).
const qcow2Program = "qemu-img"

// PackDisk writes s.Disk as a compressed qcow2, the root file of a virtual machine's
// split image, into out, which is an empty file open for reading and writing. The
// program qemu-img does it; it ends with ctx and with this process.
func (s *Source) PackDisk(ctx context.Context, out *os.File) error {
	path, err := exec.LookPath(qcow2Program)
	if err != nil {
		return fmt.Errorf("cannot make a qcow2 file: the program %s is needed (Debian: qemu-utils): %w", qcow2Program, err)
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path, "convert", "-f", "raw", "-O", "qcow2", "-c", "/proc/self/fd/3", "/proc/self/fd/4")
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.ExtraFiles = []*os.File{s.Disk, out}
	done := make(chan error, 1)
	if err := compress.RunProgram(cmd, done); err != nil {
		return fmt.Errorf("cannot start %s: %w", qcow2Program, err)
	}
	err = s.reportSize(out, done)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if strings.Contains(said.String(), "No space left on device") {
			err = errors.Join(unix.ENOSPC, err)
		}
		return fmt.Errorf("cannot make a qcow2 file: %s: %w: %.500s", qcow2Program, err, strings.Join(strings.Fields(said.String()), " "))
	}
	return nil
}
