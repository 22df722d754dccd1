package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// squashfsProgram makes squashfs files (Debian: squashfs-tools, 4.4 or newer).
const squashfsProgram = "mksquashfs"

// HasSquashfs says whether PackSquashfs can work: whether mksquashfs is installed.
func HasSquashfs() bool {
	_, err := exec.LookPath(squashfsProgram)
	return err == nil
}

// PackSquashfs writes the root file of a split image as a squashfs with zstd, of
// that level (0 = the program's own), into out, which is an empty file open for
// reading and writing. The program mksquashfs does it, with two threads or more;
// it ends with ctx and with this process. Times become whole seconds, and POSIX
// ACLs are lost, for which the format has no place: see CountACLs.
func (s *Source) PackSquashfs(ctx context.Context, level int, out *os.File) error {
	path, err := exec.LookPath(squashfsProgram)
	if err != nil {
		return fmt.Errorf("cannot make a squashfs: the program %s is needed (Debian: squashfs-tools): %w", squashfsProgram, err)
	}
	args := []string{".", "/proc/self/fd/3", "-noappend", "-no-progress", "-quiet", "-exit-on-error", "-comp", "zstd", "-mkfs-time", strconv.FormatInt(max(s.Metadata.CreationDate, 0), 10)}
	if level > 0 {
		args = append(args, "-Xcompression-level", strconv.Itoa(level))
	}
	cmd := exec.CommandContext(ctx, path, args...)
	// The directory by its descriptor: its mount may be nowhere.
	cmd.Dir = fmt.Sprintf("/proc/self/fd/%d", s.Root.Fd())
	return s.runPacker(ctx, cmd, "a squashfs", out, out)
}

// CountACLs counts the files of a tree that have POSIX ACLs.
func CountACLs(ctx context.Context, root *os.File) (int, error) {
	n := 0
	names := make([]byte, 64<<10) // XATTR_LIST_MAX
	err := filepath.WalkDir(fmt.Sprintf("/proc/self/fd/%d/.", root.Fd()), func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || d.Type()&fs.ModeSymlink != 0 {
			return err
		}
		size, err := unix.Llistxattr(path, names)
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		} else if err != nil {
			return &os.PathError{Op: "llistxattr", Path: path, Err: err}
		}
		if bytes.Contains(names[:size], []byte("system.posix_acl_")) {
			n++
		}
		return nil
	})
	return n, err
}
