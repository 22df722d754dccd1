package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"poolctl/btrfs"
)

// What an instance had is given back to the host when it is deleted and the pool
// trimmed, in one go: nobody has to wait for the kernel's cleaner.
func TestTrimAfterDelete(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "1GiB"})
	mp := s.dir.MountPoint("p")
	vol := filepath.Join(mp, "containers", "x")
	if err := btrfs.CreateSubvolume(vol); err != nil {
		t.Fatal(err)
	}
	randomFile(t, filepath.Join(vol, "f"), 80<<20)
	if err := btrfs.Sync(mp); err != nil {
		t.Fatal(err)
	}
	rec, err := s.loadPool("p")
	if err != nil {
		t.Fatal(err)
	}
	full := allocatedOnHost(rec)
	if err := btrfs.DeleteTree(ctx, vol); err != nil {
		t.Fatal(err)
	}
	if err := s.DetachPool(ctx, "p"); err != nil { // detached, it is attached for it
		t.Fatal(err)
	}
	r, err := s.TrimPool(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	if now := allocatedOnHost(rec); full-now < 75<<20 || r.After != now || r.Trimmed < 80<<20 {
		t.Errorf("the file had %d MiB and has %d: %+v", full>>20, now>>20, r)
	}
	if err := s.SetPool(ctx, "p", PoolChange{Config: map[string]string{"reserve": "true"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.TrimPool(ctx, "p"); err == nil || !strings.Contains(err.Error(), "reserved") {
		t.Errorf("reserved space was trimmed: %v", err)
	}
}

// fragment fills a pool and deletes most of it, so that its block groups are
// sparsely used.
func fragment(t *testing.T, mp string) {
	t.Helper()
	for i := range 300 {
		randomFile(t, filepath.Join(mp, strconv.Itoa(i)), 1<<20)
	}
	if err := btrfs.Sync(mp); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		if i%10 != 0 {
			if err := os.Remove(filepath.Join(mp, strconv.Itoa(i))); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestCompactPool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "1GiB"})
	fragment(t, s.dir.MountPoint("p"))
	r, err := s.CompactPool(ctx, "p", CompactOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if r.SizeAfter != r.SizeBefore || r.AllocatedAfter >= r.AllocatedBefore || r.AllocatedAfter > 100<<20 || r.UnallocatedAfter <= r.UnallocatedBefore {
		t.Errorf("compacted: %+v", r)
	}
	if r, err = s.CompactPool(ctx, "p", CompactOptions{Shrink: true}); err != nil {
		t.Fatal(err)
	}
	if size, _ := poolSizes(t, s, "p"); size != r.SizeAfter || size > 400<<20 {
		t.Errorf("compacted and shrunk to %d MiB: %+v", size>>20, r)
	}
	if _, err = s.CompactPool(ctx, "p", CompactOptions{Shrink: true}); err != nil { // it is small already
		t.Error(err)
	}
	if _, err := s.CompactPool(ctx, "p", CompactOptions{Shrink: true, Size: "100MiB"}); err == nil {
		t.Error("shrunk to 100 MiB")
	}
	for i := 0; i < 300; i += 10 {
		if fi, err := os.Stat(filepath.Join(s.dir.MountPoint("p"), strconv.Itoa(i))); err != nil || fi.Size() != 1<<20 {
			t.Errorf("file %d: %v, %v", i, fi, err)
		}
	}
}

// A balance is seen, paused and cancelled by others, survives the pool's being
// detached as paused, and keeps a resize out until it is ended.
func TestBalancePool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "2GiB"})
	mp := s.dir.MountPoint("p")
	for i := range 3000 {
		randomFile(t, filepath.Join(mp, strconv.Itoa(i)), 20<<10)
	}
	start := func(run func() (BalanceStatus, error)) chan error {
		done := make(chan error, 1)
		go func() {
			_, err := run()
			done <- err
		}()
		for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if b, err := s.BalanceOf(ctx, "p"); err == nil && b.Status == "running" {
				break
			}
		}
		return done
	}
	all := BalanceOptions{DataUsage: 100, MetadataUsage: 100}
	done := start(func() (BalanceStatus, error) { return s.BalancePool(ctx, "p", all, nil) })
	if err := s.PauseBalance(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, btrfs.ErrPaused) {
		t.Errorf("paused by another: %v", err)
	}
	if err := s.ResizePool(ctx, "p", "1GiB", nil); !errors.Is(err, btrfs.ErrBusy) {
		t.Errorf("resize with a paused balance: %v", err)
	}
	if size, config := poolSizes(t, s, "p"); size != 2<<30 || config != "2GiB" {
		t.Errorf("after that it has %d bytes, size=%s", size, config)
	}
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	var told []string
	s.notice = func(l string) { told = append(told, l) }
	if err := s.AttachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if b, err := s.BalanceOf(ctx, "p"); err != nil || b.Status != "paused" || !strings.Contains(strings.Join(told, ""), "--resume") {
		t.Errorf("attached again: %+v, %v, told %q", b, err, told)
	}
	done = start(func() (BalanceStatus, error) { return s.ResumeBalance(ctx, "p", nil) })
	if err := s.CancelBalance(ctx, "p"); err != nil && !errors.Is(err, btrfs.ErrNoBalance) {
		t.Error(err)
	}
	if err := <-done; err != nil && !errors.Is(err, btrfs.ErrCancelled) { // it may just have been done
		t.Errorf("cancelled by another: %v", err)
	}
	short, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
	defer cancel()
	if _, err := s.BalancePool(short, "p", all, nil); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("cancelled: %v", err)
	}
	if b, err := s.BalanceOf(ctx, "p"); err != nil || b.Status != "none" {
		t.Errorf("in the end: %+v, %v", b, err)
	}
	var seen int64
	if b, err := s.BalancePool(ctx, "p", BalanceOptions{DataUsage: 100, MetadataUsage: -1}, func(p Progress) { seen = p.Done }); err != nil || b.Completed == 0 {
		t.Errorf("all data: %+v, %v, %d", b, err, seen)
	}
	if err := s.PauseBalance(ctx, "p"); !errors.Is(err, btrfs.ErrNoBalance) {
		t.Errorf("nothing to pause: %v", err)
	}
	if _, err := s.BalancePool(ctx, "p", BalanceOptions{DataUsage: 101}, nil); err == nil {
		t.Error("101 percent")
	}
	if err := s.ResizePool(ctx, "p", fmt.Sprint(1<<30), nil); err != nil {
		t.Error(err)
	}
}
