package squashfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Unsquashfs is the Unpacker that runs the unsquashfs program (squashfs-tools),
// which needs a file it can seek in: r is stored first.
type Unsquashfs struct {
	TempDir string // where to store it: an open anonymous file, gone with the process
	Limits  Limits
}

var _ Unpacker = (*Unsquashfs)(nil)

// ErrNoUnsquashfs says that the program is not installed.
var ErrNoUnsquashfs = errors.New("the program unsquashfs is missing (apt-get install squashfs-tools)")

// queueMiB bounds unsquashfs's two queues of decompressed blocks, 256 MiB each by
// default.
const queueMiB = 64

// Check says whether squashfs files can be unpacked here, and if not what is missing.
func Check() error {
	_, err := lookup()
	return err
}

func lookup() (string, error) {
	path, err := exec.LookPath("unsquashfs")
	if err != nil {
		return "", ErrNoUnsquashfs
	}
	return path, nil
}

// Unpack implements Unpacker. received is called before any of the file's content
// is looked at. Extended attributes of all namespaces are kept, file capabilities
// too (not -user-xattrs). Every complaint of unsquashfs is an error: its exit
// status is 1 for fatal ones and 2 for those after which it went on without a
// file or an attribute (unsquashfs(1), 4.5 and later).
func (u *Unsquashfs) Unpack(ctx context.Context, r io.Reader, dir *os.File, received func() error) (err error) {
	program, err := lookup()
	if err != nil {
		return err
	}
	f, err := receive(ctx, r, u.TempDir, u.Limits)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if received != nil {
		if err := received(); err != nil {
			return err
		}
	}
	queue := strconv.Itoa(queueMiB)
	err = confined{
		path: program,
		args: []string{
			"-quiet", "-no-progress", "-force", "-processors", strconv.Itoa(runtime.NumCPU()),
			"-da", queue, "-fr", queue, "-dest", ".", "/proc/self/fd/3",
		},
		dir: dir, file: f, fsize: u.Limits.Bytes,
	}.run(ctx)
	if err != nil {
		return err
	}
	return dropACLs(dir)
}

// confined is a program to be run where it can change nothing but one directory.
type confined struct {
	path  string
	args  []string
	dir   *os.File // its working directory, and all it can write to
	file  *os.File // its descriptor 3, read-only by its nature or not
	fsize int64    // largest file it may make in bytes (RLIMIT_FSIZE); 0 = any
}

// run runs the program to its end, or kills it when ctx ends. It dies with this
// process, too.
func (c confined) run(ctx context.Context) error {
	null, err := os.Open(os.DevNull) // before the sandbox: no device opens inside
	if err != nil {
		return err
	}
	defer func() { _ = null.Close() }()
	var msgs messages
	cmd := exec.CommandContext(ctx, c.path, c.args...) // looked up by name, fixed arguments
	cmd.Stdin, cmd.Stdout, cmd.Stderr = null, &msgs, &msgs
	cmd.ExtraFiles = []*os.File{c.file}
	cmd.Env = []string{"LC_ALL=C"}
	cmd.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	result := make(chan error, 1)
	onThrowawayThread(func() { result <- c.inSandbox(cmd) })
	err = <-result
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("unsquashfs failed (%s)%s", exit.ProcessState, msgs.suffix())
	}
	return err
}

// inSandbox starts cmd from this thread, whose namespace and capabilities it
// inherits, and waits for it.
func (c confined) inSandbox(cmd *exec.Cmd) error {
	tree, err := enterSandbox(c.dir)
	if err != nil {
		return fmt.Errorf("cannot confine unsquashfs: %w", err)
	}
	defer func() { _ = unix.Close(tree) }()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot start unsquashfs: %w", err)
	}
	if c.fsize > 0 {
		limit := unix.Rlimit{Cur: uint64(c.fsize), Max: uint64(c.fsize)}
		if err := unix.Prlimit(cmd.Process.Pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil && !errors.Is(err, unix.ESRCH) {
			return errors.Join(fmt.Errorf("cannot limit unsquashfs: %w", err), cmd.Process.Kill(), cmd.Wait())
		}
	}
	return cmd.Wait()
}

// messages keeps the beginning of what a program prints, for people to read.
type messages struct{ b []byte }

func (m *messages) Write(p []byte) (int, error) {
	if room := 2048 - len(m.b); room > 0 {
		m.b = append(m.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// suffix is the first two lines as ": ...; ...".
func (m *messages) suffix() string {
	lines := strings.FieldsFunc(strings.TrimSpace(string(m.b)), func(r rune) bool { return r == '\n' })
	if len(lines) == 0 {
		return ""
	}
	return ": " + strings.Join(lines[:min(2, len(lines))], "; ")
}
