package pool

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"poolctl/loopdev"
)

// losetup attaches the file behind poolctl's back, as a person would, until the
// test ends, and returns the device.
func losetup(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "losetup", append([]string{"-f", "--show"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	dev := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.CommandContext(context.Background(), "losetup", "-d", dev).Run() }) // the test may have done it
	return dev
}

// A second loop device on a pool's file, which poolctl did not make, is reported.
func TestStrangersAreReported(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	dev := losetup(t, s.dir.DiskFile("p"))
	var told string
	s.notice = func(l string) { told += l }
	if err := s.AttachPool(ctx, "p"); err != nil {
		t.Error(err)
	}
	if !strings.Contains(told, dev) {
		t.Errorf("told of %s: %q", dev, told)
	}
}

// A stranger's device that shows only a part of the file is not the pool.
func TestPartOfFileIsRefused(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	for _, args := range [][]string{{"-o", "4096"}, {"--sizelimit", "64M"}} {
		if err := s.DetachPool(ctx, "p"); err != nil {
			t.Fatal(err)
		}
		dev := losetup(t, append(args, s.dir.DiskFile("p"))...)
		err := s.AttachPool(ctx, "p")
		if err == nil || !strings.Contains(err.Error(), dev) || !strings.Contains(err.Error(), "part") {
			t.Errorf("losetup %v: %v", args, err)
		}
		loops, err := loopdev.Find(s.dir.DiskFile("p"))
		if err != nil || len(loops) != 1 {
			t.Fatalf("%+v, %v", loops, err)
		}
		if err := loopdev.Detach(loops[0].Number); err != nil {
			t.Error(err)
		}
		if err := s.AttachPool(ctx, "p"); err != nil {
			t.Error(err)
		}
	}
}
