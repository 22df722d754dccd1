package btrfs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// MinSize is the smallest file or device, in bytes, that mkfs.btrfs takes
	// with its default profiles and node size (109 MiB).
	MinSize = 114294784

	labelSize = 256 // BTRFS_LABEL_SIZE, with a NUL
	labelMax  = 254 // mkfs.btrfs cuts a label of 255 bytes without a word
)

// MkfsOptions says how to make a file system.
type MkfsOptions struct {
	Label     string   // at most 254 bytes, without NUL, newline and slash
	Nodesize  int      // bytes; 0 for mkfs.btrfs's default, 16 KiB
	UUID      string   // "" for a new one
	ExtraArgs []string // further arguments of mkfs.btrfs(8)
}

// Mkfs makes a btrfs file system on the file or device at path, or, when file
// is not nil, on that open file, which may have no name (O_TMPFILE); path is
// then only what errors call it. What holds any file system already is refused,
// unless ExtraArgs has "-f". When ctx ends mkfs.btrfs is killed and what is
// there is undefined.
//
// The file system can be mounted by Linux 5.15 and later, unless ExtraArgs ask
// for features that cannot.
func Mkfs(ctx context.Context, path string, file *os.File, o MkfsOptions) error {
	if err := mkfs(ctx, path, file, o); err != nil {
		return fmt.Errorf("cannot make a btrfs file system on %s: %w", path, err)
	}
	return nil
}

func mkfs(ctx context.Context, path string, file *os.File, o MkfsOptions) error {
	args, err := mkfsArgs(o)
	if err != nil {
		return err
	}
	program, err := findMkfs()
	if err != nil {
		return err
	}
	own := file == nil
	if own {
		// Opened here too, so that what is checked is what is formatted.
		if file, err = openTarget(path); err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
	}
	if err := checkTarget(file, len(o.ExtraArgs) > 0); err != nil {
		return err
	}
	// A device is given by its own name: mkfs.btrfs looks up by name whether it is mounted.
	target := path
	if !own {
		target = "/proc/self/fd/3"
	}
	if err := runMkfs(ctx, program, file, append(args, "--", target)); err != nil {
		return err
	}
	if len(o.ExtraArgs) > 0 {
		return nil
	}
	s, err := readSuperAt(file)
	if err != nil {
		return fmt.Errorf("mkfs.btrfs left something that cannot be read: %w", err)
	}
	if s.CompatRO&compatROBlockGroupTree == 0 {
		return nil
	}
	// A default of later releases that Linux before 6.1 cannot mount read-write.
	return runMkfs(ctx, program, file, append(args, "--force", "--features", "^block-group-tree", "--", target))
}

// mkfsArgs checks the options and makes arguments of them.
func mkfsArgs(o MkfsOptions) ([]string, error) {
	args := []string{"--quiet"}
	if o.Label != "" {
		if len(o.Label) > labelMax || strings.ContainsAny(o.Label, "\x00\n/") {
			return nil, fmt.Errorf("%q cannot be its label: at most %d bytes, no newline and no slash", o.Label, labelMax)
		}
		args = append(args, "--label", o.Label)
	}
	if o.Nodesize != 0 {
		if o.Nodesize < 0 || o.Nodesize > 65536 || !validSize(uint32(o.Nodesize)) {
			return nil, fmt.Errorf("%d cannot be its node size: a power of 2 from 4096 to 65536", o.Nodesize)
		}
		args = append(args, "--nodesize", strconv.Itoa(o.Nodesize))
	}
	if o.UUID != "" {
		if !isUUID(o.UUID) {
			return nil, fmt.Errorf("%q is no UUID", o.UUID)
		}
		args = append(args, "--uuid", o.UUID)
	}
	return append(args, o.ExtraArgs...), nil
}

func openTarget(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		return nil, pathErr.Err // the caller names the path
	}
	return f, err
}

// checkTarget refuses what mkfs.btrfs would refuse less clearly. The minimum is
// another with other profiles or node sizes, which mkfs.btrfs then judges.
func checkTarget(f *os.File, special bool) error {
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if kind := fi.Mode().Type(); kind != 0 && kind != os.ModeDevice {
		return errors.New("it is neither a file nor a block device")
	}
	size := fi.Size()
	if fi.Mode().Type() == os.ModeDevice {
		if size, err = f.Seek(0, io.SeekEnd); err != nil {
			return err
		}
	}
	if size < MinSize && !special {
		return fmt.Errorf("it has %d bytes, and btrfs needs at least %d (109 MiB)", size, MinSize)
	}
	return nil
}

// mkfsTries is how often mkfs.btrfs is run, and mkfsPause the time in between: it
// looks at every loop device of the machine to see whether its target is mounted,
// and fails when one of them is detached at that moment.
const (
	mkfsTries = 4
	mkfsPause = 50 * time.Millisecond
)

// runMkfs runs mkfs.btrfs with the file as descriptor 3, again when it fails
// before it has written a superblock.
func runMkfs(ctx context.Context, program string, file *os.File, args []string) error {
	for try := 1; ; try++ {
		err := runMkfsOnce(ctx, program, file, args)
		if err == nil || ctx.Err() != nil || try == mkfsTries {
			return err
		}
		if _, serr := readSuperAt(file); !errors.Is(serr, ErrNotBtrfs) {
			return err // it has begun, or holds a file system that it refuses to replace
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(mkfsPause):
		}
	}
}

func runMkfsOnce(ctx context.Context, program string, file *os.File, args []string) error {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.Stderr = &stderr
	cmd.ExtraFiles = []*os.File{file}
	// It ends with this process, and its thread (prctl(2), PR_SET_PDEATHSIG): it must not write to a device that whoever
	// cleans up after a kill has found empty.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		if lines := lastLines(stderr.String(), 3); lines != "" {
			return fmt.Errorf("%s: %w: %s", mkfsProgram, err, lines)
		}
		return fmt.Errorf("%s: %w", mkfsProgram, err)
	}
	return nil
}

// lastLines joins the last lines of a program's complaints into one.
func lastLines(text string, n int) string {
	lines := strings.FieldsFunc(strings.TrimSpace(text), func(r rune) bool { return r == '\n' })
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}
