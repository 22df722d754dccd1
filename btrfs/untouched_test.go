package btrfs

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/fixtures/testfs"
)

// TestOpenUntouched looks into a file system that was not unmounted and has a log, by a device that could be written to.
func TestOpenUntouched(t *testing.T) {
	image := newImage(t, 200<<20, MkfsOptions{})
	mnt := mountImage(t, image)
	write(t, filepath.Join(mnt, "committed"), "1")
	must(t, Sync(mnt))
	f, err := os.Create(filepath.Join(mnt, "synced"))
	must(t, err)
	_, err = f.WriteString("2")
	must(t, errors.Join(err, f.Sync(), f.Close())) // goes to the log
	dirty := image + ".dirty"
	run(t, "cp", "--sparse=always", image, dirty)
	s, err := ReadSuper(dirty)
	must(t, err)
	if s.LogRoot == 0 {
		t.Fatal("the copy has no log: the test shows nothing")
	}
	testfs.Unmount(t, mnt)
	t.Cleanup(func() { must(t, unix.Mount("tmpfs", mnt, "tmpfs", 0, "")) }) // for mountImage's clean-up
	if s, err := ReadSuper(image); err != nil || s.LogRoot != 0 {
		t.Errorf("after an unmount: log at %d, %v", s.LogRoot, err)
	}
	before := sumOf(t, dirty)
	loop := strings.TrimSpace(run(t, "losetup", "--find", "--show", dirty))
	t.Cleanup(func() { run(t, "losetup", "-d", loop) })
	root, err := OpenUntouched(loop)
	must(t, err)
	at := "/proc/self/fd/" + strconv.Itoa(int(root.Fd()))
	if got, err := os.ReadFile(at + "/committed"); err != nil || string(got) != "1" {
		t.Errorf("%q, %v", got, err)
	}
	if exists(t, at+"/synced") {
		t.Error("the log was replayed")
	}
	wantErr(t, "a write", os.WriteFile(at+"/new", nil, 0o600), unix.EROFS)
	must(t, root.Close())
	for i := 0; len(active(t, s.UUID)) > 0; i++ {
		if i == 300 {
			t.Fatal("it is mounted still")
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !bytes.Equal(before, sumOf(t, dirty)) {
		t.Error("the file was changed")
	}
	if _, err := OpenUntouched("/dev/null"); err == nil {
		t.Error("/dev/null was mounted")
	}
}

func active(t *testing.T, uuid string) []Active {
	t.Helper()
	a, err := ActiveOf(uuid)
	must(t, err)
	return a
}

func sumOf(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	must(t, err)
	sum := sha256.Sum256(data)
	return sum[:]
}
