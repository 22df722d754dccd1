package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// A pool that the host has no room for any more is given up by the kernel. It
// says so and why, in its info, in lists, and where a command cannot write.
func TestFailedPoolSaysWhy(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	host := t.TempDir()
	if err := unix.Mount("tmpfs", host, "tmpfs", 0, "size=160m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.DeletePool(context.Background(), "p", true), unix.Unmount(host, unix.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	})
	createPool(t, s, "p", map[string]string{"size": "1GiB", "source": filepath.Join(host, "p.img")})
	mp := s.dir.MountPoint("p")
	if info, err := s.PoolInfo(ctx, "p"); err != nil || info.Health == nil || !info.Health.Healthy() {
		t.Fatalf("a new pool: %+v, %v", info.Health, err)
	}
	block := make([]byte, 4<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	failed := false
	for i := 0; i < 200 && !failed; i++ {
		_ = os.WriteFile(fmt.Sprintf("%s/%d", mp, i), block, 0o600) // it fails at some time
		_ = btrfs.Sync(mp)
		st, err := btrfs.GetState(mp)
		if err != nil {
			t.Fatal(err)
		}
		failed = st.Failed
	}
	if !failed {
		t.Fatal("the kernel did not give it up")
	}
	info, err := s.PoolInfo(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	h := info.Health
	if h == nil || !h.ReadOnly || !h.Failed || h.Healthy() || !strings.Contains(h.Reason, host) || !strings.Contains(h.Remedy, "make room on the host") {
		t.Errorf("%+v", h)
	}
	t.Logf("reason: %s", h.Reason)
	if pools, err := s.Pools(ctx); err != nil || pools[0].Status != "Read-only" && pools[0].Status != "Unavailable" { // the latter when not even reading works
		t.Errorf("listed as %+v, %v", pools, err)
	}
	err = s.Explain(os.WriteFile(mp+"/more", nil, 0o600))
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), "pool p is read-only") {
		t.Errorf("a write: %v", err)
	}
	if err := s.Explain(os.ErrNotExist); !errors.Is(err, os.ErrNotExist) || errors.As(err, &hint) {
		t.Errorf("another error is explained: %v", err)
	}
}

// One that somebody mounted read-only has not failed.
func TestReadOnlyPoolSaysWhy(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	mp := s.dir.MountPoint("p")
	if err := unix.Mount("", mp, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	info, err := s.PoolInfo(t.Context(), "p")
	if err != nil || info.Health == nil || !info.Health.ReadOnly || info.Health.Failed || !strings.Contains(info.Health.Remedy, "remount") {
		t.Errorf("%+v, %v", info.Health, err)
	}
	if err := s.ResizePool(t.Context(), "p", "+1GiB", nil); err == nil {
		t.Error("resized")
	}
	if err := unix.Mount("", mp, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
}
