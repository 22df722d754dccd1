package pool

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/journal"
)

// poolSizes are the sizes of a pool's file, loop device and file system, which
// must agree, and what its record says.
func poolSizes(t *testing.T, s *System, name string) (size int64, config string) {
	t.Helper()
	info, err := s.PoolInfo(t.Context(), name)
	if err != nil || len(info.Loop) != 1 {
		t.Fatalf("%+v, %v", info, err)
	}
	fsys, err := btrfs.FSInfo(info.MountPoint)
	if err != nil {
		t.Fatal(err)
	}
	if info.File.Size != int64(info.Loop[0].Size) || info.File.Size != int64(fsys.Devices[0].TotalBytes) {
		t.Errorf("the file has %d bytes, the loop device %d, the file system %d", info.File.Size, info.Loop[0].Size, fsys.Devices[0].TotalBytes)
	}
	return info.File.Size, info.Pool.Config["size"]
}

// randomFile writes a file that compresses badly, and returns its content.
func randomFile(t *testing.T, path string, size int) []byte {
	t.Helper()
	data := make([]byte, size)
	src := rand.New(rand.NewPCG(uint64(size), uint64(len(path)))) //nolint:gosec // not for secrets
	for i := range data {
		data[i] = byte(src.Uint32())
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return data
}

func TestResizePool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "600MiB"})
	mp := s.dir.MountPoint("p")
	want := randomFile(t, filepath.Join(mp, "f"), 40<<20)
	for _, step := range []struct {
		size   string
		bytes  int64
		config string
	}{
		{"+424MiB", 1 << 30, "1GiB"},
		{"2GB", 1999998976, "2GB"}, // whole sectors
		{"+4096", 2000003072, "2000003072B"},
		{"2GiB", 2 << 30, "2GiB"},
		{"2GiB", 2 << 30, "2GiB"},
		{"-1GiB", 1 << 30, "1GiB"},
		{"300MiB", 300 << 20, "300MiB"},
	} {
		if err := s.ResizePool(ctx, "p", step.size, nil); err != nil {
			t.Fatalf("%s: %v", step.size, err)
		}
		if size, config := poolSizes(t, s, "p"); size != step.bytes || config != step.config {
			t.Errorf("resized by %s: %d bytes, size=%s; want %d, %s", step.size, size, config, step.bytes, step.config)
		}
	}
	// Detached, it is attached for it, and has the size when it is attached again.
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	var moved []Progress
	if err := s.ResizePool(ctx, "p", "1GiB", func(p Progress) { moved = append(moved, p) }); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.DetachPool(ctx, "p"), s.AttachPool(ctx, "p"), s.ResizePool(ctx, "p", "min", func(p Progress) { moved = append(moved, p) })); err != nil {
		t.Fatal(err)
	}
	if size, _ := poolSizes(t, s, "p"); size < 256<<20 || size > 400<<20 {
		t.Errorf("min is %d MiB with 40 MiB in it", size>>20)
	}
	if len(moved) > 0 && moved[len(moved)-1].Done != moved[len(moved)-1].Total {
		t.Errorf("progress ends at %+v", moved[len(moved)-1])
	}
	if got, err := os.ReadFile(filepath.Join(mp, "f")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the file has changed: %v", err)
	}
	if left, err := os.ReadDir(s.journalDir()); err != nil || len(left) != 0 {
		t.Errorf("journal: %v, %v", left, err)
	}
}

func TestResizeRefuses(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "1GiB"})
	for i := range 5 {
		randomFile(t, filepath.Join(s.dir.MountPoint("p"), strconv.Itoa(i)), 80<<20)
	}
	for size, wanted := range map[string]string{
		"":         "size",
		"large":    "large",
		"-2GiB":    "less than nothing",
		"0":        "a size above 0",
		"200MiB":   "256MiB at least",
		"300MiB":   "smallest size is",
		"-600MiB":  "smallest size is",
		"max":      "block device",
		"+9000EiB": "",
	} {
		if err := s.ResizePool(ctx, "p", size, nil); err == nil || !strings.HasPrefix(err.Error(), "cannot resize pool p: ") || !strings.Contains(err.Error(), wanted) {
			t.Errorf("%q: %v; want %q", size, err, wanted)
		}
		if now, config := poolSizes(t, s, "p"); now != 1<<30 || config != "1GiB" {
			t.Fatalf("%q: it has %d bytes, size=%s", size, now, config)
		}
	}
	if err := s.ResizePool(ctx, "q", "1GiB", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such pool: %v", err)
	}
	// A second loop device that can write would see its device change beneath it.
	dev := losetup(t, s.dir.DiskFile("p"))
	f, err := os.OpenFile(dev, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ResizePool(ctx, "p", "2GiB", nil); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dev) {
		t.Errorf("with %s on its file: %v", dev, err)
	}
	if err := errors.Join(f.Close(), detachLoop(dev)); err != nil {
		t.Fatal(err)
	}
}

func detachLoop(path string) error {
	n, err := strconv.Atoi(strings.TrimPrefix(path, "/dev/loop"))
	if err != nil {
		return err
	}
	return loopdev.Detach(n)
}

// A resize that is cancelled leaves the old size, and a pool that works.
func TestResizeCancelled(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"size": "3GiB"})
	mp := s.dir.MountPoint("p")
	for i := range 4000 {
		randomFile(t, filepath.Join(mp, strconv.Itoa(i)), 8<<10)
	}
	for after := time.Millisecond; after < time.Second; after *= 3 {
		ctx, cancel := context.WithTimeout(t.Context(), after)
		err := s.ResizePool(ctx, "p", "min", nil)
		cancel()
		size, config := poolSizes(t, s, "p")
		if err == nil {
			if size > 2<<30 {
				t.Errorf("done, and it has %d bytes", size)
			}
			break
		}
		if !errors.Is(err, context.DeadlineExceeded) || size != 3<<30 || config != "3GiB" {
			t.Errorf("after %s: %v; it has %d bytes, size=%s", after, err, size, config)
		}
		randomFile(t, filepath.Join(mp, "after"), 1<<20)
	}
	if left, err := os.ReadDir(s.journalDir()); err != nil || len(left) != 0 {
		t.Errorf("journal: %v, %v", left, err)
	}
}

// Reserved space stays reserved when a pool grows; where the host has too little,
// nothing changes.
func TestResizeReserved(t *testing.T) {
	s := newSystem(t)
	host := t.TempDir()
	if err := unix.Mount("tmpfs", host, "tmpfs", 0, "size=700m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.DeletePool(context.Background(), "p", true), unix.Unmount(host, unix.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(host, "p.img")
	createPool(t, s, "p", map[string]string{"size": "300MiB", "reserve": "true", "source": file})
	if err := s.ResizePool(t.Context(), "p", "500MiB", nil); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil || st.Blocks*512 < 500<<20 {
		t.Errorf("it has %d MiB of 500, %v", st.Blocks*512>>20, err)
	}
	err := s.ResizePool(t.Context(), "p", "900MiB", nil)
	if err == nil || !strings.Contains(err.Error(), "cannot reserve") {
		t.Errorf("more than the host has: %v", err)
	}
	if size, config := poolSizes(t, s, "p"); size != 500<<20 || config != "500MiB" {
		t.Errorf("after that it has %d bytes, size=%s", size, config)
	}
}

// What a killed resize left is settled whatever it was, also when its intent is
// out of date.
func TestResizeRecovers(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "1GiB"})
	rec, err := s.loadPool("p")
	if err != nil {
		t.Fatal(err)
	}
	img, mp := s.dir.DiskFile("p"), s.dir.MountPoint("p")
	const m = int64(1 << 20)
	grow := resizing{Name: "p", UUID: rec.UUID, From: 1024 * m, Source: 1024 * m, To: 2048 * m, Size: "2GiB"}
	shrink := resizing{Name: "p", UUID: rec.UUID, From: 2048 * m, Source: 2048 * m, To: 1024 * m, Size: "1GiB"}
	resizeFS := func(size int64) func() error {
		return func() error { return btrfs.Resize(ctx, mp, 1, uint64(size)) }
	}
	detach := func() error { return s.DetachPool(ctx, "p") }
	for _, tt := range []struct {
		name   string
		intent resizing
		steps  []func() error
		want   int64
		config string
	}{
		{"grow, nothing done", grow, nil, 1024 * m, "1GiB"},
		{"grow, file extended", grow, []func() error{func() error { return os.Truncate(img, 2048*m) }}, 2048 * m, "2GiB"},
		{"shrink, nothing done", shrink, nil, 2048 * m, "2GiB"},
		{"shrink, half way", shrink, []func() error{resizeFS(1500 * m)}, 2048 * m, "2GiB"},
		{"shrink, half way, after a power cut", shrink, []func() error{resizeFS(1500 * m), detach}, 2048 * m, "2GiB"},
		{"shrink, file system done, after a power cut", shrink, []func() error{resizeFS(1024 * m), detach}, 1024 * m, "1GiB"},
		{"grow, file extended, after a power cut", grow, []func() error{detach, func() error { return os.Truncate(img, 2048*m) }}, 2048 * m, "2GiB"},
		{"shrink, file cut", shrink, []func() error{resizeFS(1024 * m), func() error { return os.Truncate(img, 1024*m) }}, 1024 * m, "1GiB"},
		{"an old shrink", resizing{Name: "p", UUID: rec.UUID, From: 3000 * m, Source: 3000 * m, To: 500 * m, Size: "500MiB"}, nil, 1024 * m, "1GiB"},
		{"an old grow", resizing{Name: "p", UUID: rec.UUID, From: 500 * m, Source: 500 * m, To: 600 * m, Size: "600MiB"}, nil, 1024 * m, "1GiB"},
		{"another pool's", resizing{Name: "p", UUID: "x", From: 1024 * m, To: 500 * m, Size: "500MiB"}, nil, 1024 * m, "1GiB"},
		{"no pool's", resizing{Name: "gone", UUID: "x", From: 1024 * m, To: 500 * m, Size: "500MiB"}, nil, 1024 * m, "1GiB"},
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
		var told []string
		if _, err := Open(ctx, Options{Root: s.dir.Root, Notice: func(l string) { told = append(told, l) }}); err != nil || len(told) > 0 {
			t.Fatalf("%s: %v, told %q", tt.name, err, told)
		}
		if err := s.AttachPool(ctx, "p"); err != nil {
			t.Fatal(err)
		}
		if size, config := poolSizes(t, s, "p"); size != tt.want || config != tt.config {
			t.Errorf("%s: %d MiB, size=%s; want %d, %s", tt.name, size/m, config, tt.want/m, tt.config)
		}
		if left, err := os.ReadDir(s.journalDir()); err != nil || len(left) != 0 {
			t.Errorf("%s: journal: %v, %v", tt.name, left, err)
		}
	}
}
