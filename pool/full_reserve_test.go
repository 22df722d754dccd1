package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// In a pool that is full by what is in an instance, that can be restored, renamed and
// configured: the records have room of their own.
func TestRecordsInFullPool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "200MiB"})
	_, err := s.Create(ctx, CreateOptions{Name: "c1", Template: EmptyTemplate, Pool: "p"})
	ok(t, err)
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"})
	mp := s.dir.MountPoint("p")
	ok(t, err, btrfs.Sync(mp))
	fill := filepath.Join(mp, "containers/c1/rootfs/fill")
	for i, block := range []int{1 << 20, 64 << 10, 4096} {
		if err := fillUp(fmt.Sprint(fill, i), block); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("filling it: %v", err)
		}
	}
	for i := range 20 {
		if err := s.SetInstanceConfig(ctx, "c1", map[string]string{"user.a": fmt.Sprint(i)}); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
	ok(t, s.RenameInstance(ctx, "c1", "c2"), s.RenameInstance(ctx, "c2", "c1"))
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s1"})
	ok(t, err)
	_, err = s.Copy(ctx, CopyOptions{Source: "c1", Name: "c3"})
	ok(t, err, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s0"}))
	if _, err := os.Stat(fill + "0"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is not restored: %v", err)
	}
	ok(t, s.Delete(ctx, "c3", false), s.DeleteSnapshot(ctx, "c1", "s1"), btrfs.WaitDeleted(ctx, mp), s.DetachPool(ctx, "p"), s.AttachPool(ctx, "p"))
	if st, err := os.Stat(filepath.Join(mp, ".poolctl/reserve")); err != nil || st.Size() != 1<<20 {
		t.Errorf("the reserve: %v, %v", st, err)
	}
}
