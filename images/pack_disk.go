package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
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
	cmd := exec.CommandContext(ctx, path, "convert", "-f", "raw", "-O", "qcow2", "-c", "/proc/self/fd/3", "/proc/self/fd/4")
	return s.runPacker(ctx, cmd, "a qcow2 file", out, s.Disk, out)
}
