package pool

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
)

// nothingStaged checks that nothing is left of what failed, and that what it took is free.
func nothingStaged(t *testing.T, s *System, pool string, before btrfs.Usage) {
	t.Helper()
	mp := s.dir.MountPoint(pool)
	ok(t, btrfs.Sync(mp))
	after, err := btrfs.GetUsage(mp)
	ok(t, err)
	if after.Free+(32<<20) < before.Free { // less than what a bomb takes; a block group may have become one of metadata
		t.Errorf("%d bytes are free, and %d were", after.Free, before.Free)
	}
	for _, dir := range []string{".poolctl/staging", "images"} {
		if left, err := filepath.Glob(filepath.Join(mp, dir, "*")); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	if left, err := os.ReadDir(s.journalDir()); err != nil && !errors.Is(err, os.ErrNotExist) || len(left) > 0 {
		t.Errorf("left in the journal: %v, %v", left, err)
	}
}

// memoryPool makes the pool p1, of that size, in memory.
func memoryPool(t *testing.T, size string) *System {
	t.Helper()
	dir := testfs.Memory(t) // unmounted after the pool is deleted
	s := newSystem(t)
	createPool(t, s, "p1", map[string]string{"size": size, "source": filepath.Join(dir, "p1.img")})
	return s
}

// bombOf1GiB is the root file of an image of some KiB.
func bombOf1GiB(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b)
	ok(t, err, tar.NewWriter(z).WriteHeader(&tar.Header{Name: "big", Mode: 0o644, Size: 1 << 30}), z.Close())
	part := z.EncodeAll(bytes.Repeat([]byte("patterns"), 8<<20/8), nil)
	b.Write(bytes.Repeat(part, 128)) // frames in a row are one stream
	b.Write(z.EncodeAll(make([]byte, 1024), nil))
	path := filepath.Join(t.TempDir(), "bomb.tar.zst")
	ok(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}

// TestImportThatFillsThePool: what has no end, and an archive that is much larger than it seems, are given up while there
// is room, and what they took is free at once. Who else writes does not notice.
func TestImportThatFillsThePool(t *testing.T) {
	for _, size := range []string{"120MiB", "256MiB"} { // with mixed block groups, and without
		t.Run(size, func(t *testing.T) {
			s := memoryPool(t, size)
			mp := s.dir.MountPoint("p1")
			f, bomb := newImageFiles(t), bombOf1GiB(t)
			end := testfs.Bystander(t, mp+"/bystander")
			defer end()
			before, err := btrfs.GetUsage(mp)
			ok(t, err)
			endless := readerOf(func(b []byte) (int, error) { return len(b), nil })
			for _, files := range [][]string{{"-"}, {f.meta, bomb}} {
				_, err := s.ImportImage(t.Context(), ImportImageOptions{Files: files, Stdin: endless})
				if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "pool p1 is full: less than ") || !strings.Contains(err.Error(), "it was given up") || strings.Contains(hintOf(err), "is full") {
					t.Errorf("%q: %v (%s)", files, err, hintOf(err))
				}
				nothingStaged(t, s, "p1", before)
			}
			end()
			addInstance(t, s, "p1", "c1")
		})
	}
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	if _, err := s.ImportImage(t.Context(), ImportImageOptions{Files: []string{"/dev/zero"}}); err == nil || !strings.Contains(err.Error(), "/dev/zero is a device") {
		t.Errorf("a device: %v", err)
	}
}

// TestWatchPace: a watch looks often where little is left, and seldom where there is plenty.
func TestWatchPace(t *testing.T) {
	for _, c := range []struct {
		spare int64
		step  int
		every time.Duration
	}{
		{-1 << 20, watchStep, watchEvery},
		{0, watchStep, watchEvery},
		{100 << 20, watchStep, watchEvery},
		{1 << 30, 16 << 20, (1 << 28) * time.Nanosecond},
		{100 << 30, watchStride, watchSeldom},
	} {
		if step, every := watchPace(c.spare); step != c.step || every != c.every {
			t.Errorf("%d bytes to spare: %d bytes, %s", c.spare, step, every)
		}
	}
	s := newSystem(t)
	createPool(t, s, "p1", map[string]string{"size": "8GiB"})
	rec, err := s.loadPool("p1")
	ok(t, err)
	w := s.watchSpace(t.Context(), rec, "it")
	defer w.stop()
	ok(t, w.pass(1))
	if w.mu.Lock(); w.step != watchStride {
		t.Errorf("with 8 GiB free it looks every %d bytes", w.step)
	}
	w.mu.Unlock()
}

// allocate makes a file of which all is allocated, and nothing is written.
func allocate(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, size), f.Close())
}

// unifiedTar is a unified image of n files of the size, as a stream.
func unifiedTar(n, size int) io.Reader {
	r, w := io.Pipe()
	go func() {
		a := tar.NewWriter(w)
		meta := "architecture: x86_64\ncreation_date: 1600000000\n"
		err := a.WriteHeader(&tar.Header{Name: "metadata.yaml", Mode: 0o644, Size: int64(len(meta))})
		if err == nil {
			_, err = a.Write([]byte(meta))
		}
		body := []byte(strings.Repeat("0123456789abcdef", size/16))
		for i := 0; err == nil && i < n; i++ {
			if err = a.WriteHeader(&tar.Header{Name: fmt.Sprintf("rootfs/d%d/f%d", i/1000, i), Mode: 0o644, Size: int64(len(body))}); err == nil {
				_, err = a.Write(body)
			}
		}
		w.CloseWithError(errors.Join(err, a.Close())) // nil is the end
	}()
	return r
}

// TestWatchWaitsForDeleted: what was deleted a moment ago is not free yet; that is no
// reason to give up what will have room.
func TestWatchWaitsForDeleted(t *testing.T) {
	for _, what := range []string{"file", "subvolume"} {
		t.Run(what, func(t *testing.T) {
			s := memoryPool(t, "256MiB")
			mp := s.dir.MountPoint("p1")
			dir := mp + "/full"
			ok(t, btrfs.CreateSubvolume(dir))
			usage, err := btrfs.GetUsage(mp)
			ok(t, err)
			ok(t, allocate(dir+"/fill", poolFree(usage)-(6<<20)), btrfs.Sync(mp))
			image, first := unifiedTar(60, 1<<20), true
			in := readerOf(func(b []byte) (int, error) {
				if first {
					first = false
					if what == "file" {
						ok(t, os.Remove(dir+"/fill"))
					} else {
						ok(t, btrfs.DeleteSubvolume(dir))
					}
				}
				return image.Read(b)
			})
			if _, err := s.ImportImage(t.Context(), ImportImageOptions{Files: []string{"-"}, Stdin: in}); err != nil {
				t.Errorf("%v (%s)", err, hintOf(err))
			}
		})
	}
}

// TestWatchMetadata: many small files, which are in the trees, are given up while
// others can still make files, although there is room for data.
func TestWatchMetadata(t *testing.T) {
	s := memoryPool(t, "256MiB")
	mp := s.dir.MountPoint("p1")
	// All block groups that there may be become data's, and stay that with a file in each.
	for i := 0; ; i++ {
		err := allocate(fmt.Sprintf("%s/fill%d", mp, i), 4<<20)
		if errors.Is(err, unix.ENOSPC) {
			break
		}
		ok(t, err)
	}
	fills, err := filepath.Glob(mp + "/fill*")
	ok(t, err, btrfs.Sync(mp))
	for i, path := range fills {
		if i%3 > 0 {
			ok(t, os.Remove(path))
		}
	}
	ok(t, btrfs.Sync(mp))
	end := testfs.Bystander(t, mp+"/bystander")
	defer end()
	_, err = s.ImportImage(t.Context(), ImportImageOptions{Files: []string{"-"}, Stdin: unifiedTar(15_000, 1920)})
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "is left for metadata") || !strings.Contains(hintOf(err), "pool balance p1") {
		t.Errorf("%v (%s)", err, hintOf(err))
	}
	nothingStaged(t, s, "p1", btrfs.Usage{}) // what is free became metadata's
}

// TestWatchHost: what would fill the host around the pool's file is given up before
// the kernel gives up the file system.
func TestWatchHost(t *testing.T) {
	s := newSystem(t)
	host := t.TempDir()
	ok(t, unix.Mount("tmpfs", host, "tmpfs", 0, "size=250m"))
	t.Cleanup(func() {
		ok(t, s.DeletePool(context.Background(), "p1", true), unix.Unmount(host, 0))
	})
	createPool(t, s, "p1", map[string]string{"size": "2GiB", "source": filepath.Join(host, "p1.img")})
	mp := s.dir.MountPoint("p1")
	f, bomb := newImageFiles(t), bombOf1GiB(t)
	end := testfs.Bystander(t, mp+"/bystander")
	defer end()
	before, err := btrfs.GetUsage(mp)
	ok(t, err)
	for range 2 { // what the first took is given back to the host
		_, err = s.ImportImage(t.Context(), ImportImageOptions{Files: []string{f.meta, bomb}})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), host+" on the host") || !strings.Contains(hintOf(err), "make room there") {
			t.Errorf("%v (%s)", err, hintOf(err))
		}
		nothingStaged(t, s, "p1", before)
	}
	end()
	addInstance(t, s, "p1", "c1")
}
