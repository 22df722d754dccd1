package pool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// A pool that was made as small as it can be works: it balances, is used until it
// is full and emptied again, compacts, and grows back; all files are as they were.
func TestAfterResizeMin(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "1GiB"})
	withPrecious(t, s)
	mp := s.dir.MountPoint("p")
	keep, want := filepath.Join(mp, "keep"), map[string][]byte{}
	if err := os.Mkdir(keep, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		path := filepath.Join(keep, fmt.Sprint("f", i))
		data := randomFile(t, path, 200_000+i)
		if i%3 == 0 { // holes
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want[path] = data
	}
	same := func(when string) {
		t.Helper()
		for path, data := range want {
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %s has changed: %v", when, path, err)
			}
		}
		if scrub, err := s.ScrubPool(ctx, "p", ScrubOptions{}); err != nil || len(scrub.Damaged) != 0 || scrub.Status != "finished" {
			t.Errorf("%s: scrub: %+v, %v", when, scrub, err)
		}
		isPrecious(t, s)
	}
	least := func(when string) int64 {
		t.Helper()
		if err := s.ResizePool(ctx, "p", "min", nil); err != nil {
			t.Errorf("%s: %v (%s)", when, err, hintOf(err))
		}
		size, _ := poolSizes(t, s, "p")
		return size
	}
	first := least("min")
	if first > 500<<20 {
		t.Errorf("min is %d MiB", first>>20)
	}
	// Right after: what balances, or says why it does not.
	for _, o := range []BalanceOptions{{DataUsage: 50, MetadataUsage: 20}, {DataUsage: 100, MetadataUsage: 100}} {
		if _, err := s.BalancePool(ctx, "p", o, nil); err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Errorf("balance right after min: %v (%s)", err, hintOf(err))
		}
		same("balanced")
	}
	if again := least("min again"); again > first+64<<20 {
		t.Errorf("min is %d MiB after a balance, and was %d", again>>20, first>>20)
	}
	// Normal use, until it is full.
	root := filepath.Join(mp, "containers/c1/rootfs")
	if err := fillUp(filepath.Join(root, "fill"), 1<<20); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("filling it: %v", err)
	}
	tryAll(t, s)
	if err := errors.Join(ignoreNotExist(os.Remove(filepath.Join(root, "fill"))), btrfs.Sync(mp)); err != nil {
		t.Fatal(err)
	}
	all, err := s.Snapshots(ctx, "c1")
	for _, sn := range must(t, all, err) {
		if sn.Name != "s0" {
			if err := s.DeleteSnapshot(ctx, "c1", sn.Name); err != nil {
				t.Error(err)
			}
		}
	}
	same("filled and emptied")
	r, err := s.CompactPool(ctx, "p", CompactOptions{Shrink: true})
	if err != nil {
		t.Fatalf("compact: %v (%s)", err, hintOf(err))
	}
	if size, _ := poolSizes(t, s, "p"); size != r.SizeAfter || r.AllocatedAfter > r.AllocatedBefore {
		t.Errorf("compacted: %+v, it has %d", r, size)
	}
	same("compacted")
	if err := errors.Join(s.DetachPool(ctx, "p"), s.AttachPool(ctx, "p"), s.ResizePool(ctx, "p", "2GiB", nil)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BalancePool(ctx, "p", BalanceOptions{DataUsage: 100, MetadataUsage: 100}, nil); err != nil {
		t.Errorf("balance after growing: %v", err)
	}
	same("grown")
}
