package pool

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"poolctl/btrfs"
)

// A scrub that its status says runs can be cancelled, whether the kernel has begun it or not: here it competes with a balance.
func TestCancelScrub(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "1GiB"})
	createVolume(t, s, "p", "v", nil)
	data := make([]byte, 200<<20)
	_, err := rand.Read(data)
	ok(t, err, os.WriteFile(s.volumeFile("p", "v", "data"), data, 0o600), btrfs.Sync(s.dir.MountPoint("p")))
	if err := s.CancelScrub(ctx, "p"); !errors.Is(err, btrfs.ErrNoScrub) {
		t.Errorf("none runs: %v", err)
	}
	balanced, scrubbed := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := s.BalancePool(ctx, "p", BalanceOptions{DataUsage: 100, MetadataUsage: 100}, nil)
		balanced <- err
	}()
	cancelled := false
	for range 8 {
		go func() { _, err := s.ScrubPool(ctx, "p", ScrubOptions{}); scrubbed <- err }()
		for {
			st, err := s.ScrubOf(ctx, "p")
			ok(t, err)
			if st.Status == "running" || st.Status == "finished" {
				break
			}
			time.Sleep(time.Millisecond)
		}
		cerr := s.CancelScrub(ctx, "p")
		err := <-scrubbed
		if cerr != nil && (err != nil || !errors.Is(cerr, btrfs.ErrNoScrub)) { // none: it was faster
			t.Errorf("cancelled: %v, the scrub: %v", cerr, err)
		}
		if err != nil && !errors.Is(err, btrfs.ErrCancelled) {
			t.Errorf("the scrub: %v", err)
		}
		cancelled = cancelled || err != nil
		st, err := s.ScrubOf(ctx, "p")
		ok(t, err)
		if st.Status != "cancelled" && st.Status != "finished" {
			t.Errorf("afterwards it is %s", st.Status)
		}
		if cancelled {
			break
		}
	}
	if !cancelled {
		t.Error("no scrub was cancelled")
	}
	ok(t, <-balanced)
}

// A scrub that a command is at runs, also before the kernel has begun it, and ends when it is cancelled.
func TestCancelWaitingScrub(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	_, err := s.ScrubPool(ctx, "p", ScrubOptions{})
	ok(t, err)
	st, err := s.ScrubOf(ctx, "p")
	ok(t, err)
	st.Status, st.EndedAt = "running", time.Time{}
	unlock, err := s.dir.LockScrub(ctx, "p", false, false)
	ok(t, err, s.saveScrub(st))
	if raw, err := os.ReadFile(s.scrubFile("p")); err != nil || strings.Contains(string(raw), "ended_at") {
		t.Errorf("saved: %s, %v", raw, err)
	}
	if st, err := s.ScrubOf(ctx, "p"); err != nil || st.Status != "running" {
		t.Errorf("%s, %v", st.Status, err)
	}
	if _, err := s.ScrubPool(ctx, "p", ScrubOptions{}); !errors.Is(err, btrfs.ErrBusy) {
		t.Errorf("a second one: %v", err)
	}
	ended := make(chan error, 1)
	go func() {
		err := s.cancellableScrub(ctx, "p", func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		unlock()
		ended <- err
	}()
	ok(t, s.CancelScrub(ctx, "p"))
	if err := <-ended; !errors.Is(err, btrfs.ErrCancelled) {
		t.Errorf("it ended with %v", err)
	}
	if st, err := s.ScrubOf(ctx, "p"); err != nil || st.Status != "interrupted" {
		t.Errorf("%s, %v", st.Status, err)
	}
}
