package squashfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/images/internal/testtree"
)

const someData = `yes text | head -c 3000000 > text; head -c 3000000 /dev/urandom > random; seq 100000 > numbers; mkdir d; cp numbers d`

// checkNothingRuns: no child process, and no more open files than before.
func checkNothingRuns(t *testing.T, fds int) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		if b, err := os.ReadFile(task); err == nil && len(bytes.TrimSpace(b)) > 0 {
			t.Errorf("processes left: %s", b)
		}
	}
	if n := openFDs(t); n > fds {
		t.Errorf("%d open files, %d before", n, fds)
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// TestUnpackFull: a full file system ends it, names the entry, and leaves no
// process and no open file.
func TestUnpackFull(t *testing.T) {
	testtree.NeedRoot(t)
	for _, compression := range []string{"xz", "gzip"} {
		image := openImage(t, pack(t, shell(t, someData), "-comp", compression))
		mnt := t.TempDir()
		if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=2m"); err != nil {
			t.Fatal(err)
		}
		fds := openFDs(t)
		dir, err := os.Open(mnt)
		if err == nil {
			_, err = (&Unpacker{}).Unpack(t.Context(), image, image, dir)
			if cerr := dir.Close(); cerr != nil {
				t.Error(cerr)
			}
		}
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), `cannot unpack "`) {
			t.Errorf("%s: got %v", compression, err)
		}
		checkNothingRuns(t, fds)
		if err := unix.Unmount(mnt, 0); err != nil {
			t.Error(err)
		}
	}
}

// cancelling ends a context when n bytes have been read, and is then silent until
// that has an effect, as the reader of a part is.
type cancelling struct {
	io.Reader
	n      int
	ctx    context.Context
	cancel func()
}

func (c *cancelling) Read(b []byte) (int, error) {
	if c.n <= 0 {
		c.cancel()
		<-c.ctx.Done()
		return 0, c.ctx.Err()
	}
	n, err := c.Reader.Read(b[:min(len(b), c.n)])
	c.n -= n
	return n, err
}

// TestUnpackCancel: it ends soon wherever it is.
func TestUnpackCancel(t *testing.T) {
	testtree.NeedRoot(t)
	for _, compression := range []string{"xz", "zstd"} {
		image := openImage(t, pack(t, shell(t, someData), "-comp", compression))
		for _, n := range []int{50, 1000, 100_000, 2_000_000} {
			if _, err := image.Seek(0, io.SeekStart); err != nil {
				t.Fatal(err)
			}
			dir := openDir(t, t.TempDir())
			fds := openFDs(t)
			ctx, cancel := context.WithCancel(t.Context())
			start := time.Now()
			_, err := (&Unpacker{TempDir: t.TempDir()}).Unpack(ctx, &cancelling{image, n, ctx, cancel}, image, dir)
			if !errors.Is(err, context.Canceled) || time.Since(start) > 30*time.Second {
				t.Errorf("%s at %d: %v after %s", compression, n, err, time.Since(start))
			}
			checkNothingRuns(t, fds)
		}
	}
}
