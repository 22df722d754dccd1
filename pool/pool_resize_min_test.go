package pool

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"poolctl/btrfs"
)

// A pool with a file in few long extents, of which the kernel cuts none, shrinks
// to the smallest size that is told, and compacting it ends smaller on the host.
func TestResizeMinOneLargeFile(t *testing.T) {
	for _, tt := range []struct{ size, file int }{{1, 300}, {2, 140}} {
		t.Run(fmt.Sprintf("%d MiB in %d GiB", tt.file, tt.size), func(t *testing.T) {
			s := newSystem(t)
			createPool(t, s, "p", map[string]string{"size": fmt.Sprintf("%dGiB", tt.size)})
			mp := s.dir.MountPoint("p")
			file := filepath.Join(mp, "large")
			randomFile(t, file, tt.file<<20)
			if err := btrfs.Sync(mp); err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.ResizePool(t.Context(), "p", "min", nil); err != nil {
				t.Errorf("%v (%s)", err, hintOf(err))
			}
			size, _ := poolSizes(t, s, "p")
			if size > int64(tt.size)<<30 {
				t.Errorf("it has %d MiB", size>>20)
			}
			r, err := s.CompactPool(t.Context(), "p", CompactOptions{Shrink: true})
			if err != nil || r.AllocatedAfter > r.AllocatedBefore || r.SizeAfter > size {
				t.Errorf("compacted: %+v, %v", r, err)
			}
			if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, want) {
				t.Errorf("the file has changed, %v", err)
			}
		})
	}
}

// TestResizeMinAfterBalance: of a pool with next to nothing in it, whose block groups lie where a balance and a shrink have left
// them, a small size is found.
func TestResizeMinAfterBalance(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"size": "1GiB"})
	mp := s.dir.MountPoint("p")
	file := filepath.Join(mp, "x")
	randomFile(t, file, 60<<20)
	if err := errors.Join(btrfs.Sync(mp), os.Remove(file), btrfs.Sync(mp)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.BalancePool(t.Context(), "p", BalanceOptions{DataUsage: 100, MetadataUsage: 100}, nil); err != nil {
		t.Fatal(err)
	}
	for _, size := range []string{"800MiB", "min"} {
		if err := s.ResizePool(t.Context(), "p", size, nil); err != nil {
			t.Fatalf("to %s: %v (%s)", size, err, hintOf(err))
		}
	}
	if size, _ := poolSizes(t, s, "p"); size > 512<<20 {
		t.Errorf("it has %d MiB", size>>20)
	}
}
