package loopdev

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	losetup "github.com/freddierice/go-losetup/v2"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestAttach(t *testing.T) {
	const size = 8 << 20
	path := tempFile(t, size)
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	d := mustAttach(t, path, AttachOptions{})
	got := mustInfo(t, d)
	want := Info{
		Number: d.Number(), Path: d.Path(), BackingFile: path, Dev: st.Dev, Inode: st.Ino, Size: size,
		Autoclear: true, DirectIO: true, BlockSize: 4096,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Info (-want +got):\n%s", diff)
	}
	found, err := Find(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Info{want}, found); diff != "" {
		t.Errorf("Find (-want +got):\n%s", diff)
	}
	if flags, err := unix.FcntlInt(d.f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("the device is not close-on-exec: flags %#x, %v", flags, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	noDevice(t, path)
	if _, err := d.Info(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Info after Close: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// What is written to the device must be in the file.
func TestAttachedDeviceShowsTheFile(t *testing.T) {
	path := tempFile(t, 1<<20)
	d := mustAttach(t, path, AttachOptions{})
	dev, err := os.OpenFile(d.Path(), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = dev.WriteAt([]byte("hello"), 8192)
	if err := errors.Join(err, dev.Sync(), dev.Close()); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(b[8192:8197]) != "hello" {
		t.Errorf("the file holds %q", b[8192:8197])
	}
}

func TestAttachVariants(t *testing.T) {
	ram := filepath.Join(t.TempDir(), "ram")
	if err := os.Mkdir(ram, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", ram, "ramfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(ram, 0); err != nil {
			t.Error(err)
		}
	})
	tests := []struct {
		name string
		path string
		o    AttachOptions
		want func(Info) bool
	}{
		{"read-only", tempFile(t, 1<<20), AttachOptions{ReadOnly: true}, func(i Info) bool { return i.ReadOnly && i.DirectIO }},
		{"no direct I/O", tempFile(t, 1<<20), AttachOptions{NoDirectIO: true}, func(i Info) bool { return !i.ReadOnly && !i.DirectIO && i.BlockSize == 4096 }},
		{"a file system without direct I/O", newFile(t, filepath.Join(ram, "disk"), 1<<20), AttachOptions{}, func(i Info) bool { return !i.DirectIO && i.Autoclear }},
		{"a size that is no multiple of the block", tempFile(t, 1<<20+5000), AttachOptions{}, func(i Info) bool { return i.Size > 1<<20 && i.Size <= 1<<20+5000 }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if i := mustInfo(t, mustAttach(t, tt.path, tt.o)); !tt.want(i) {
				t.Errorf("not as asked: %+v", i)
			}
		})
	}
}

func TestBackingFileNames(t *testing.T) {
	for _, name := range []string{
		"with space", "new\nline", "ends in newline\n", `back\slash\040`, "tab\t", "ü", "bytes\xff\xfe",
		strings.Repeat("long", 60),
	} {
		path := newFile(t, filepath.Join(t.TempDir(), name), 1<<20)
		d := mustAttach(t, path, AttachOptions{})
		if got := mustInfo(t, d).BackingFile; got != path {
			t.Errorf("backing file %q is shown as %q", path, got)
		}
	}
}

// The same file must be found by each of its names, and by none when renamed.
func TestAttachTwice(t *testing.T) {
	path := tempFile(t, 1<<20)
	d := mustAttach(t, path, AttachOptions{})
	hard, soft, moved := path+".hard", path+".soft", path+".moved"
	if err := errors.Join(os.Link(path, hard), os.Symlink(path, soft)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{path, hard, soft} {
		_, err := Attach(context.Background(), name, AttachOptions{})
		var attached *AttachedError
		if !errors.As(err, &attached) || attached.Info.Number != d.Number() || attached.Path != name {
			t.Errorf("Attach(%s) again: %v", name, err)
		}
	}
	if err := os.Rename(hard, moved); err != nil {
		t.Fatal(err)
	}
	if found, err := Find(moved); err != nil || len(found) != 1 {
		t.Errorf("Find by a new name: %v, %v", found, err)
	}
	other := newFile(t, hard, 1<<20) // another file by an old name
	mustAttach(t, other, AttachOptions{ReadOnly: true})
}

// A stranger's device, made without locks, flags or full name, counts too.
func TestAttachFindsStrangers(t *testing.T) {
	path := newFile(t, filepath.Join(t.TempDir(), strings.Repeat("x", 100)), 1<<20)
	stranger := attachStranger(t, path)
	_, err := Attach(context.Background(), path, AttachOptions{})
	var attached *AttachedError
	if !errors.As(err, &attached) {
		t.Fatalf("Attach: %v", err)
	}
	if i := attached.Info; i.Path != stranger.Path() || i.Autoclear || i.DirectIO || i.BackingFile != path {
		t.Errorf("reported as %+v", i)
	}
	d, was, err := Hold(context.Background(), path, AttachOptions{})
	if err != nil || !was {
		t.Fatalf("Hold: %v, %v", was, err)
	}
	if d.Path() != stranger.Path() {
		t.Errorf("held %s, not %s", d.Path(), stranger.Path())
	}
	if err := errors.Join(d.Close(), Detach(d.Number())); err != nil {
		t.Fatal(err)
	}
}

// attachStranger attaches with go-losetup, trying again when others are faster.
func attachStranger(t *testing.T, path string) losetup.Device {
	t.Helper()
	for range 50 {
		d, err := losetup.Attach(path, 0, false)
		if err == nil {
			return d
		}
		if !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
	}
	t.Fatal("no free loop device for go-losetup")
	return losetup.Device{}
}

func TestAttachRefuses(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		path string
		want error
	}{{dir, unix.EISDIR}, {fifo, nil}, {"/dev/null", nil}, {filepath.Join(dir, "none"), fs.ErrNotExist}} {
		d, err := Attach(context.Background(), tt.path, AttachOptions{})
		if err == nil {
			t.Errorf("attached %s to %s", tt.path, d.Path())
			_ = d.Close()
		} else if tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("Attach(%s): %v, want %v", tt.path, err, tt.want)
		}
		if err != nil && strings.Count(err.Error(), tt.path) != 1 {
			t.Errorf("the error should name the path once: %v", err)
		}
	}
}

func TestAttachWaitsForTheLock(t *testing.T) {
	path := tempFile(t, 1<<20)
	other, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	fd := int(other.Fd())
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if d, err := Attach(ctx, path, AttachOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Attach of a locked file: %v, %v", d, err)
	}
	noDevice(t, path)
	time.AfterFunc(20*time.Millisecond, func() { _ = unix.Flock(fd, unix.LOCK_UN) })
	d := mustAttach(t, path, AttachOptions{})
	// The device must not have kept the lock.
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		t.Errorf("%s keeps its file locked: %v", d.Path(), err)
	}
}

// Of many that attach one file at the same time one succeeds, and the others
// are told which device it is.
func TestAttachRace(t *testing.T) {
	path := tempFile(t, 1<<20)
	var mu sync.Mutex
	var won []*Device
	var told []int
	var wg sync.WaitGroup
	for range 12 {
		wg.Go(func() {
			d, err := Attach(context.Background(), path, AttachOptions{})
			mu.Lock()
			defer mu.Unlock()
			var attached *AttachedError
			switch {
			case err == nil:
				won = append(won, d)
			case errors.As(err, &attached):
				told = append(told, attached.Info.Number)
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d devices have the file", len(won))
	}
	for _, d := range won {
		for _, n := range told {
			if n != d.Number() {
				t.Errorf("told of device %d instead of %d", n, d.Number())
			}
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Many that attach different files race for the free device that the kernel
// names: each must end up with one of its own, while others come and go.
func TestAttachNumberRace(t *testing.T) {
	const files, rounds = 8, 5
	var wg sync.WaitGroup
	for range files {
		path := tempFile(t, 1<<20)
		wg.Go(func() {
			for range rounds {
				d, err := Attach(context.Background(), path, AttachOptions{})
				if err != nil {
					var attached *AttachedError
					if errors.As(err, &attached) { // the last round's, kept for a moment by another's List
						time.Sleep(time.Millisecond)
						continue
					}
					t.Error(err)
					return
				}
				if i, err := d.Info(); err != nil || i.BackingFile != path {
					t.Errorf("%s has %q, not %q: %v", d.Path(), i.BackingFile, path, err)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// Hold must always end up with the right file, however often the last user of
// the device goes away under it.
func TestHoldRace(t *testing.T) {
	path := tempFile(t, 1<<20)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 25 {
				d, _, err := Hold(context.Background(), path, AttachOptions{})
				if err != nil {
					t.Error(err)
					return
				}
				if i, err := d.Info(); err != nil || i.BackingFile != path {
					t.Errorf("held %q: %v", i.BackingFile, err)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestSettings(t *testing.T) {
	direct := settings(AttachOptions{})
	if len(direct) != 3 || direct[0].Info.Flags&losetup.FlagsDirectIO == 0 || direct[0].Size != 4096 || direct[2].Size != 0 {
		t.Errorf("unexpected order: %+v", direct)
	}
	for _, c := range append(settings(AttachOptions{NoDirectIO: true}), direct...) {
		if c.Info.Flags&losetup.FlagsAutoClear == 0 {
			t.Errorf("no autoclear: %+v", c)
		}
	}
}
