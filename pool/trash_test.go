package pool

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// TestUndeleteInDetachedPool: what is in the trash of a pool that was detached is found when it is nowhere else, and no other
// pool stays attached for that.
func TestUndeleteInDetachedPool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	for _, p := range []string{"a", "b", "c"} {
		createPool(t, s, p, nil)
	}
	addInstance(t, s, "a", "c1")
	addInstance(t, s, "b", "c2")
	ok(t, s.TrashInstance(ctx, "c1", false), s.TrashInstance(ctx, "c2", false))
	for _, p := range []string{"a", "b", "c"} {
		ok(t, s.DetachPool(ctx, p))
	}
	if _, err := s.Undelete(ctx, UndeleteOptions{Name: "none"}); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
	_, err := s.Undelete(ctx, UndeleteOptions{Name: "c2"})
	ok(t, err)
	pools, err := s.Pools(ctx)
	ok(t, err)
	for _, p := range pools {
		if attached := p.Status == "Created"; attached != (p.Name == "b") {
			t.Errorf("pool %s is %s", p.Name, p.Status)
		}
	}
	if in, err := s.Instance(ctx, "c2"); err != nil || in.Pool != "b" {
		t.Errorf("%+v, %v", in, err)
	}
}

// TestPoolDeleteTellsOfTrash: who deletes a pool is told what is in its trash.
func TestPoolDeleteTellsOfTrash(t *testing.T) {
	var told []string
	s, err := Open(t.Context(), Options{Root: newSystem(t).dir.Root, Notice: func(text string) { told = append(told, text) }})
	ok(t, err)
	t.Cleanup(func() { ok(t, s.Close()) })
	ctx := t.Context()
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	createVolume(t, s, "p", "v", nil)
	ok(t, s.TrashInstance(ctx, "c1", false))
	if err := s.DeletePool(ctx, "p", false); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "volume v") || !strings.Contains(err.Error(), "and in its trash: c1") {
		t.Errorf("a pool with a volume: %v", err)
	}
	images, err := s.Images(ctx, "")
	ok(t, err, s.TrashVolume(ctx, "p", "v"), s.TrashImageFrom(ctx, images[0].Fingerprint, "p"))
	told = nil
	ok(t, s.DeletePool(ctx, "p", false))
	if all := strings.Join(told, "\n"); !strings.Contains(all, "the trash of pool p goes with it: c1, v, image 0123456789ab") {
		t.Errorf("told: %q", told)
	}
}

// TestPlanCountsTrash: a plan says that what is in the trash makes room, as the command then has it, and no more than that. For what
// does not fit then either, nothing of it goes.
func TestPlanCountsTrash(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "small", nil)
	createPool(t, s, "other", map[string]string{"size": "1GiB"})
	fill := func(pool, volume string, mib int64) {
		t.Helper()
		createVolume(t, s, pool, volume, nil)
		f, err := os.Create(s.volumeFile(pool, volume, "data"))
		ok(t, err, unix.Fallocate(int(f.Fd()), 0, 0, mib<<20), f.Close(), btrfs.Sync(s.dir.MountPoint(pool)))
	}
	fill("small", "gone", 120)
	ok(t, s.TrashVolume(ctx, "small", "gone"))
	fill("other", "fits", 150)
	fill("other", "never", 300)
	plan := func(volume string) SpacePlan {
		t.Helper()
		p, err := s.PlanCopyVolume(ctx, CopyVolumeOptions{Pool: "other", Volume: volume, ToPool: "small", Name: volume})
		ok(t, err)
		return p
	}
	if p := plan("fits"); p.Err() != nil || p.Trash < 120<<20 || p.PoolFree >= p.Least || !strings.Contains(p.Warning, "in its trash") {
		t.Errorf("%+v", p)
	}
	if p := plan("never"); !errors.Is(p.Err(), unix.ENOSPC) || !strings.Contains(p.Problem, "in its trash, and") {
		t.Errorf("%+v", p)
	}
	if found, err := s.Trash(ctx, TrashQuery{}); err != nil || len(found) != 1 {
		t.Errorf("a plan has changed the trash: %+v, %v", found, err)
	}
	do := func(volume string) error {
		return s.CopyVolume(ctx, CopyVolumeOptions{Pool: "other", Volume: volume, ToPool: "small", Name: volume})
	}
	if err := do("never"); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "in its trash, and") {
		t.Errorf("what does not fit: %v", err)
	}
	rec, err := s.loadPool("small")
	ok(t, err)
	if err := s.needSpace(ctx, rec, spaceNeed{what: "it", trees: 400 << 20}); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "of metadata, and it takes about 400MiB") {
		t.Errorf("metadata that does not fit: %v", err)
	}
	if found, err := s.Trash(ctx, TrashQuery{}); err != nil || len(found) != 1 {
		t.Errorf("what was refused has taken from the trash: %+v, %v", found, err)
	}
	ok(t, do("fits"))
	if found, err := s.Trash(ctx, TrashQuery{}); err != nil || len(found) != 0 {
		t.Errorf("what fits without the trash has left it: %+v, %v", found, err)
	}
}
