package loopdev

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "loopdev: the tests attach real loop devices: run them as root")
		os.Exit(1)
	}
	if err := Check(); err != nil {
		fmt.Fprintln(os.Stderr, "loopdev:", err)
		os.Exit(1)
	}
	if path := os.Getenv(attachVariable); path != "" {
		attachAndWait(path)
	}
	os.Exit(m.Run())
}

// newFile makes a sparse file, and sees to it that no device has it when the
// test is over.
func newFile(t *testing.T, path string, size int64) string {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Truncate(size), f.Close()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { noDevice(t, path) })
	return path
}

func tempFile(t *testing.T, size int64) string {
	t.Helper()
	return newFile(t, filepath.Join(t.TempDir(), "disk.img"), size)
}

// noDevice fails the test when a device still has the file after a moment, and
// detaches it: a test running beside this one may have it open for its List.
func noDevice(t *testing.T, path string) {
	t.Helper()
	var left []Info
	for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		var err error
		if left, err = Find(path); err != nil {
			t.Fatal(err)
		}
		if len(left) == 0 {
			return
		}
	}
	for _, i := range left {
		t.Errorf("%s is still attached to %s", path, i.Path)
		if err := Detach(i.Number); err != nil {
			t.Error(err)
		}
	}
}

func mustAttach(t *testing.T, path string, o AttachOptions) *Device {
	t.Helper()
	d, err := Attach(context.Background(), path, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func mustInfo(t *testing.T, d *Device) Info {
	t.Helper()
	i, err := d.Info()
	if err != nil {
		t.Fatal(err)
	}
	return i
}
