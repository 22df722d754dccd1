package pool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// Moving block groups makes a pool's file grow: what the host has too little room
// for is refused before it makes the kernel give up the pool, and what is free in
// the pool is given back first if that helps.
func TestBalanceNeedsHostSpace(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	host := t.TempDir()
	if err := unix.Mount("tmpfs", host, "tmpfs", 0, "size=190m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.DeletePool(context.Background(), "p", true), unix.Unmount(host, unix.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	})
	createPool(t, s, "p", map[string]string{"size": "600MiB", "source": filepath.Join(host, "p.img")})
	mp := s.dir.MountPoint("p")
	for i := range 130 {
		randomFile(t, filepath.Join(mp, strconv.Itoa(i)), 1<<20)
	}
	if err := btrfs.Sync(mp); err != nil {
		t.Fatal(err)
	}
	all := BalanceOptions{DataUsage: 100, MetadataUsage: 100}
	_, err := s.BalancePool(ctx, "p", all, nil)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot balance pool p: "+host+" has ") || !strings.Contains(hintOf(err), "poolctl pool trim p") {
		t.Errorf("a balance of more than the host has room for: %v (%s)", err, hintOf(err))
	}
	if err := s.ResizePool(ctx, "p", "min", nil); err != nil && !strings.Contains(err.Error(), "on the host") {
		t.Errorf("shrunk: %v", err)
	}
	randomFile(t, filepath.Join(mp, "after"), 1<<20) // it is writable
	if _, err := s.BalancePool(ctx, "p", BalanceOptions{DataUsage: 10, MetadataUsage: -1}, nil); err != nil {
		t.Errorf("a balance of little: %v", err)
	}
	for i := range 70 {
		if err := os.Remove(filepath.Join(mp, strconv.Itoa(i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := btrfs.Sync(mp); err != nil {
		t.Fatal(err)
	}
	if free, err := freeAt(host); err != nil || free > 60<<20 {
		t.Fatalf("the host has %d MiB free, %v: nothing needs to be trimmed", free>>20, err)
	}
	if _, err := s.BalancePool(ctx, "p", all, nil); err != nil {
		t.Errorf("where trimming makes room: %v", err)
	}
	randomFile(t, filepath.Join(mp, "last"), 1<<20)
	if err := btrfs.Sync(mp); err != nil {
		t.Error(err)
	}
}
