package pool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/btrfs"
	"poolctl/pool/journal"
)

const mib = int64(1 << 20)

// deviceSizes checks what the pool x on a device has: its device's size, its file
// system's, and nothing in its record.
func deviceSizes(t *testing.T, s *System, when string, device, filesystem int64) {
	t.Helper()
	info, err := s.PoolInfo(t.Context(), "x")
	if err != nil || info.Device == nil || info.Usage == nil {
		t.Fatalf("%s: %+v, %v", when, info, err)
	}
	if info.Device.Size != device || int64(info.Usage.Size) != filesystem || info.Pool.Config["size"] != "" {
		t.Errorf("%s: the device has %d MiB, the file system %d, size=%s; want %d, %d", when, info.Device.Size/mib, info.Usage.Size>>20, info.Pool.Config["size"], device/mib, filesystem/mib)
	}
}

// growDevice gives the device another size, as one of an array or a cloud's disk
// gets it.
func growDevice(t *testing.T, dev, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	run(t, "losetup", "-c", dev)
}

// A pool on a device that has grown takes all of it, attached or not, and can be
// made smaller again; the device is left as it is.
func TestDeviceResize(t *testing.T) {
	dev, file := newDevice(t, 600*mib)
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "x", map[string]string{"source": dev})
	precious := filepath.Join(s.dir.MountPoint("x"), "f")
	want := randomFile(t, precious, 60<<20)
	resize := func(size string, device, filesystem int64) {
		t.Helper()
		if err := s.ResizePool(ctx, "x", size, nil); err != nil {
			t.Errorf("%s: %v (%s)", size, err, hintOf(err))
		}
		deviceSizes(t, s, size, device, filesystem)
	}
	resize("max", 600*mib, 600*mib)
	for _, size := range []string{"601MiB", "+4096", "1TiB"} {
		if err := s.ResizePool(ctx, "x", size, nil); err == nil || !strings.Contains(err.Error(), "its device has only 600MiB") || !strings.Contains(hintOf(err), "resize x max") {
			t.Errorf("%s: %v (%s)", size, err, hintOf(err))
		}
		deviceSizes(t, s, size, 600*mib, 600*mib)
	}
	growDevice(t, dev, file, 1024*mib+1536) // no whole block
	deviceSizes(t, s, "the device has grown", 1024*mib+1536, 600*mib)
	resize("max", 1024*mib+1536, 1024*mib)
	resize("400MiB", 1024*mib+1536, 400*mib)
	resize("+100MiB", 1024*mib+1536, 500*mib)
	if err := s.DetachPool(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	growDevice(t, dev, file, 1100*mib)
	resize("max", 1100*mib, 1100*mib) // which attaches it
	if err := errors.Join(s.ResizePool(ctx, "x", "min", nil), s.DetachPool(ctx, "x"), s.AttachPool(ctx, "x")); err != nil {
		t.Fatal(err)
	}
	if info, err := s.PoolInfo(ctx, "x"); err != nil || int64(info.Usage.Size) > 400*mib || int64(info.Usage.Size) < minResize {
		t.Errorf("min: %+v, %v", info.Usage, err)
	}
	resize("max", 1100*mib, 1100*mib)
	if got, err := os.ReadFile(precious); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file has changed: %v", err)
	}
	addInstance(t, s, "x", "c1")
	// A device that lost its end is refused until it is back.
	if err := s.DetachPool(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	growDevice(t, dev, file, 900*mib)
	if err := s.AttachPool(ctx, "x"); err == nil || !strings.HasPrefix(err.Error(), "cannot attach pool x: ") || !strings.Contains(err.Error(), "900MiB") {
		t.Errorf("a device that is too small: %v (%s)", err, hintOf(err))
	}
	growDevice(t, dev, file, 1100*mib)
	if err := s.AttachPool(ctx, "x"); err != nil {
		t.Error(err)
	}
}

// What a killed resize of a device left ends in the old size or the new one.
func TestDeviceResizeRecovers(t *testing.T) {
	dev, _ := newDevice(t, 1024*mib)
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "x", map[string]string{"source": dev})
	rec, err := s.loadPool("x")
	if err != nil {
		t.Fatal(err)
	}
	to := func(size int64) func() error {
		return func() error { return btrfs.Resize(ctx, s.dir.MountPoint("x"), 1, uint64(size)) }
	}
	detach := func() error { return s.DetachPool(ctx, "x") }
	shrink := resizing{Name: "x", UUID: rec.UUID, From: 1024 * mib, Source: 1024 * mib, To: 500 * mib, Size: "500MiB"}
	grow := resizing{Name: "x", UUID: rec.UUID, From: 500 * mib, Source: 1024 * mib, To: 1024 * mib, Size: "1GiB"}
	for _, tt := range []struct {
		name   string
		intent resizing
		steps  []func() error
		want   int64
	}{
		{"shrink, nothing done", shrink, nil, 1024},
		{"shrink, half way", shrink, []func() error{to(700 * mib)}, 1024},
		{"shrink, half way, after a power cut", shrink, []func() error{to(700 * mib), detach}, 1024},
		{"shrink, done", shrink, []func() error{to(500 * mib)}, 500},
		{"shrink, done, after a power cut", shrink, []func() error{to(500 * mib), detach}, 500},
		{"grow, nothing done", grow, []func() error{to(500 * mib)}, 1024},
		{"grow, nothing done, after a power cut", grow, []func() error{to(500 * mib), detach}, 1024},
		{"grow, done", grow, []func() error{to(1024 * mib)}, 1024},
		{"another pool's", resizing{Name: "x", UUID: "other", From: 1024 * mib, To: 500 * mib}, nil, 1024},
	} {
		e, err := journal.Begin(ctx, s.journalDir(), "pool-resize", tt.intent)
		if err != nil {
			t.Fatal(err)
		}
		for _, step := range tt.steps {
			if err := step(); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(ctx, Options{Root: s.dir.Root, Notice: func(l string) { t.Errorf("%s: told %s", tt.name, l) }}); err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if err := s.AttachPool(ctx, "x"); err != nil {
			t.Fatal(err)
		}
		deviceSizes(t, s, tt.name, 1024*mib, tt.want*mib)
		if left, err := os.ReadDir(s.journalDir()); err != nil || len(left) != 0 {
			t.Errorf("%s: journal: %v, %v", tt.name, left, err)
		}
		if err := s.ResizePool(ctx, "x", "max", nil); err != nil {
			t.Fatal(err)
		}
	}
}
