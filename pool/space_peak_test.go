package pool

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// layouts are ways in which a pool of 1 GiB is filled, with some 10 to 100 MiB in it at last.
var layouts = map[string]func(t *testing.T, mp string){
	"small files and snapshots": func(t *testing.T, mp string) {
		ok(t, btrfs.CreateSubvolume(mp+"/v"))
		for i := range 1500 {
			randomFile(t, fmt.Sprintf("%s/v/%d", mp, i), 5000)
		}
		for i := range 5 {
			ok(t, btrfs.Snapshot(mp+"/v", fmt.Sprintf("%s/s%d", mp, i), true))
			for j := range 50 {
				randomFile(t, fmt.Sprintf("%s/v/%d", mp, (i*37+j*13)%1500), 5000)
			}
		}
	},
	"sparse block groups": func(t *testing.T, mp string) { fragment(t, mp) },
	"large files": func(t *testing.T, mp string) {
		for i := range 3 {
			randomFile(t, filepath.Join(mp, strconv.Itoa(i)), 25<<20)
		}
	},
	"many inline files": func(t *testing.T, mp string) {
		for i := range 12000 {
			ok(t, os.WriteFile(filepath.Join(mp, strconv.Itoa(i)), make([]byte, 1500), 0o600))
		}
	},
}

// peak watches how large the pool's file gets while run runs.
func peak(t *testing.T, s *System, run func()) (grown int64) {
	t.Helper()
	rec, err := s.loadPool("p")
	ok(t, err)
	start, most := allocatedOnHost(rec), int64(0)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			most = max(most, allocatedOnHost(rec))
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	run()
	close(stop)
	<-done
	return most - start
}

// What is moved makes the pool's file grow by no more than the plan says, whatever is
// in the pool.
func TestPeakOfMoving(t *testing.T) {
	for name, fill := range layouts {
		t.Run(name, func(t *testing.T) {
			s := newSystem(t)
			ctx := t.Context()
			createPool(t, s, "p", map[string]string{"size": "1GiB"})
			mp := s.dir.MountPoint("p")
			fill(t, mp)
			ok(t, btrfs.WaitDeleted(ctx, mp))
			rec, err := s.loadPool("p")
			ok(t, err)
			_, err = s.trim(ctx, rec)
			ok(t, err)
			plan, err := s.planMoved(ctx, rec, "the balance", func(mp string) (uint64, error) {
				return btrfs.MovedByBalance(mp, btrfs.Balance{DataUsage: 100, MetadataUsage: 100})
			})
			ok(t, err)
			grown := peak(t, s, func() {
				_, err := s.BalancePool(ctx, "p", BalanceOptions{DataUsage: 100, MetadataUsage: 100}, nil)
				ok(t, err)
			})
			t.Logf("balance: planned %d KiB, grown %d KiB", plan.HostGrowth>>10, grown>>10)
			if grown > plan.HostGrowth {
				t.Errorf("a balance: the file grew by %d KiB, planned were %d", grown>>10, plan.HostGrowth>>10)
			}
			for _, size := range []string{"800MiB", "min"} {
				_, err = s.TrimPool(ctx, "p")
				ok(t, err)
				plan, err := s.PlanResize(ctx, "p", size)
				ok(t, err)
				grown := peak(t, s, func() { ok(t, s.ResizePool(ctx, "p", size, nil)) })
				t.Logf("%s: planned %d KiB, grown %d KiB", size, plan.HostGrowth>>10, grown>>10)
				if grown > plan.HostGrowth || plan.Problem != "" {
					t.Errorf("to %s: the file grew by %d KiB, planned were %d: %s", size, grown>>10, plan.HostGrowth>>10, plan.Problem)
				}
			}
		})
	}
}

// sums are the SHA-256 of all files in a pool.
func sums(t *testing.T, mp string) map[string][32]byte {
	t.Helper()
	out := map[string][32]byte{}
	ok(t, filepath.WalkDir(mp, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || strings.HasPrefix(path, mp+"/.poolctl/") { // the pool's record has its size
			return err
		}
		data, err := os.ReadFile(path)
		out[path] = sha256.Sum256(data)
		return err
	}))
	return out
}

// However little the host has, a shrink succeeds, or refuses and undoes what it did: the
// pool goes on.
func TestMovingOnFullHost(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	host, room := fullHost(t, "700m", func() error { return s.DeletePool(context.Background(), "p", true) })
	createPool(t, s, "p", map[string]string{"size": "1GiB", "source": filepath.Join(host, "p.img")})
	mp := s.dir.MountPoint("p")
	layouts["small files and snapshots"](t, mp)
	ok(t, s.ResizePool(ctx, "p", "2GiB", nil))
	want := sums(t, mp)
	// prepare makes the pool as the test begins, with free bytes on the host.
	prepare := func(free func(growth int64) int64) SpacePlan {
		t.Helper()
		room(600 << 20)
		if size, _ := poolSizes(t, s, "p"); size != 2<<30 {
			ok(t, s.ResizePool(ctx, "p", "2GiB", nil))
		}
		_, err := s.BalancePool(ctx, "p", BalanceOptions{DataUsage: 100, MetadataUsage: 100}, nil)
		ok(t, err)
		_, err = s.TrimPool(ctx, "p")
		ok(t, err)
		plan, err := s.PlanResize(ctx, "p", "300MiB")
		ok(t, err)
		room(free(plan.HostGrowth))
		plan, err = s.PlanResize(ctx, "p", "300MiB")
		ok(t, err)
		return plan
	}
	// check runs an operation and says what became of the pool.
	check := func(what string, run func() error) error {
		t.Helper()
		least := int64(math.MaxInt64)
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for {
				if free, err := freeAt(host); err == nil {
					least = min(least, free)
				}
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
			}
		}()
		err := run()
		close(stop)
		<-done
		t.Logf("%s: the host had %d KiB left at least: %v", what, least>>10, err)
		if least <= 0 {
			t.Errorf("%s: the host was full", what)
		}
		if err != nil && (!errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EROFS) || hintOf(err) == "" || !strings.Contains(err.Error(), host)) {
			t.Errorf("%s: %v (%s)", what, err, hintOf(err))
		}
		if now := sums(t, mp); !maps.Equal(now, want) {
			t.Errorf("%s: %d files of %d, or others", what, len(now), len(want))
		}
		ok(t, os.WriteFile(filepath.Join(mp, "after"), []byte(what), 0o600), btrfs.Sync(mp), os.Remove(filepath.Join(mp, "after")))
		if size, config := poolSizes(t, s, "p"); err != nil && (size != 2<<30 || config != "2GiB") {
			t.Errorf("%s: it has %d bytes, size=%s", what, size, config)
		}
		return err
	}
	for _, more := range []int64{-1 << 20, 1 << 20} {
		plan := prepare(func(growth int64) int64 { return growth + more })
		err := check(fmt.Sprintf("%d MiB more than planned", more>>20), func() error { return s.ResizePool(ctx, "p", "300MiB", nil) })
		if (plan.Problem == "") != (more > 0) || (err == nil) != (more > 0) {
			t.Errorf("with %d MiB more than planned: %v; the plan said %q", more>>20, err, plan.Problem)
		}
	}
	// Where trimming makes the room, both say so.
	prepare(func(growth int64) int64 { return growth + 100<<20 })
	randomFile(t, filepath.Join(mp, "rubbish"), 60<<20)
	ok(t, btrfs.Sync(mp), os.Remove(filepath.Join(mp, "rubbish")), btrfs.Sync(mp))
	room(4 << 20)
	if plan, err := s.PlanResize(ctx, "p", "300MiB"); err != nil || plan.Problem != "" || plan.HostTrim < 50<<20 || plan.Warning == "" {
		t.Errorf("a plan with what is trimmed first: %+v, %v", plan, err)
	}
	ok(t, check("trimmed first", func() error { return s.ResizePool(ctx, "p", "300MiB", nil) }))
}
