package pool

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// fullHost is a host file system of which all but a few bytes are taken by room(left).
func fullHost(t *testing.T, size string, cleanup func() error) (host string, room func(left int64)) {
	t.Helper()
	host = t.TempDir()
	if err := unix.Mount("tmpfs", host, "tmpfs", 0, "size="+size); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(cleanup(), unix.Unmount(host, unix.MNT_DETACH)); err != nil {
			t.Error(err)
		}
	})
	return host, func(left int64) {
		t.Helper()
		ballast := filepath.Join(host, "ballast")
		if err := os.Remove(ballast); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		free, err := freeAt(host)
		ok(t, err)
		f, err := os.Create(ballast)
		ok(t, err)
		ok(t, unix.Fallocate(int(f.Fd()), 0, 0, free-left), f.Close())
	}
}

// everything lists what is in a pool, its journal included.
func everything(t *testing.T, s *System, pool string) string {
	t.Helper()
	var list []string
	ok(t, filepath.WalkDir(s.dir.MountPoint(pool), func(path string, _ fs.DirEntry, err error) error {
		list = append(list, path)
		return err
	}))
	return strings.Join(list, "\n")
}

// Every operation that writes to a pool's file asks the host for the room that it
// takes: without it, nothing is begun, nothing changed, and the pool goes on.
func TestGuardOfTheHost(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	host, room := fullHost(t, "400m", func() error { return s.DeletePool(context.Background(), "p", true) })
	file := filepath.Join(host, "p.img")
	createPool(t, s, "p", map[string]string{"size": "600MiB", "source": file})
	createPool(t, s, "from", nil)
	withPrecious(t, s)
	for _, pool := range []string{"p", "from"} {
		createVolume(t, s, pool, "v", nil)
		randomFile(t, filepath.Join(s.dir.MountPoint(pool), "custom/default_v/data"), 8<<20)
		_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: pool, Volume: "v", Name: "s0"})
		ok(t, err)
	}
	backup := filepath.Join(t.TempDir(), "v.backup")
	ok(t, s.ExportVolumeFile(ctx, ExportVolumeOptions{Pool: "from", Volume: "v"}, backup, false))
	elsewhere := leftPool(t)
	adopted := filepath.Join(host, "adopted.img")
	run(t, "cp", "--sparse=always", elsewhere, adopted)
	ok(t, btrfs.Sync(s.dir.MountPoint("p")))
	needs := regexp.MustCompile(regexp.QuoteMeta(host) + ` has [34](\.\d+)?MiB free.* \d+(\.\d+)?MiB`)
	before := everything(t, s, "p")
	room(4 << 20)
	for what, op := range map[string]func() error{
		"copy":    func() error { _, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: "c2"}); return err },
		"restore": func() error { return s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s0"}) },
		"volume copy": func() error {
			return s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p", Volume: "v", ToPool: "p", Name: "w"})
		},
		"volume copy to another pool": func() error {
			return s.CopyVolume(ctx, CopyVolumeOptions{Pool: "from", Volume: "v", ToPool: "p", Name: "w"})
		},
		"volume move": func() error {
			return s.MoveVolume(ctx, CopyVolumeOptions{Pool: "from", Volume: "v", ToPool: "p", Name: "w"})
		},
		"volume restore": func() error {
			return s.RestoreVolume(ctx, RestoreVolumeOptions{Pool: "p", Volume: "v", Snapshot: "s0"})
		},
		"volume import": func() error {
			f, err := os.Open(backup)
			ok(t, err)
			defer func() { _ = f.Close() }()
			_, err = s.ImportVolume(ctx, ImportVolumeOptions{Pool: "p", Name: "w"}, f)
			return err
		},
		"reserve": func() error { return s.SetPool(ctx, "p", PoolChange{Config: map[string]string{"reserve": "true"}}) },
		"adopt":   func() error { _, err := s.AdoptPool(ctx, adopted, AdoptOptions{Name: "q"}); return err },
		"create reserved": func() error {
			return s.CreatePool(ctx, CreatePoolOptions{Name: "q", Config: map[string]string{"source": filepath.Join(host, "q.img"), "size": "200MiB", "reserve": "true"}})
		},
	} {
		err := op()
		if err == nil || !strings.HasPrefix(err.Error(), "cannot ") || !needs.MatchString(err.Error()) || !errors.Is(err, unix.ENOSPC) || hintOf(err) == "" {
			t.Errorf("%s: %v (%s)", what, err, hintOf(err))
		}
	}
	if now := everything(t, s, "p"); now != before {
		t.Errorf("in the pool were\n%s\nand now\n%s", before, now)
	}
	room(100 << 20)
	_, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: "c2"})
	ok(t, err, s.CopyVolume(ctx, CopyVolumeOptions{Pool: "from", Volume: "v", ToPool: "p", Name: "w"}))
}

// A pool whose space is reserved grows by what the host has, or not at all; one
// that is sparse may be larger, which is told, by --plan too.
func TestGuardOfGrowth(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	host, room := fullHost(t, "500m", func() error { return s.DeletePool(context.Background(), "p", true) })
	file := filepath.Join(host, "p.img")
	createPool(t, s, "p", map[string]string{"size": "256MiB", "source": file, "reserve": "true"})
	room(50 << 20)
	plan, err := s.PlanResize(ctx, "p", "+100MiB")
	problem := "cannot reserve its space: " + host + " has 50MiB free, and growing it takes 100MiB more"
	if err != nil || plan.Problem != problem || plan.HostGrowth != 100<<20 {
		t.Errorf("plan: %+v, %v", plan, err)
	}
	err = s.ResizePool(ctx, "p", "+100MiB", nil)
	if err == nil || err.Error() != "cannot resize pool p: "+problem {
		t.Errorf("resize: %v", err)
	}
	if st, err := os.Stat(file); err != nil || st.Size() != 256<<20 {
		t.Errorf("the file: %v, %v", st.Size(), err)
	}
	ok(t, s.SetPool(ctx, "p", PoolChange{Config: map[string]string{"reserve": ""}}))
	if plan, err := s.PlanResize(ctx, "p", "+100MiB"); err != nil || plan.Problem != "" || !strings.Contains(plan.Warning, "may grow to 356MiB") {
		t.Errorf("plan of a sparse one: %+v, %v", plan, err)
	}
	ok(t, s.ResizePool(ctx, "p", "+100MiB", nil))
	if plan, err := s.PlanResize(ctx, "p", "+0"); err != nil || !strings.HasPrefix(plan.What, "nothing") {
		t.Errorf("the size that it has: %+v, %v", plan, err)
	}
	if plan, err := s.PlanResize(ctx, "p", "-50MiB"); err != nil || plan.Problem != "" {
		t.Errorf("plan of a shrink: %+v, %v", plan, err)
	}
	if st, err := os.Stat(file); err != nil || st.Size() != 356<<20 {
		t.Errorf("the file after the plan: %v, %v", st.Size(), err)
	}
}

// A copy to another pool is held against its room with all snapshots, what they
// share counted once.
func TestGuardOfAVolumesSnapshots(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "from", map[string]string{"size": "400MiB"})
	createPool(t, s, "small", map[string]string{"size": "120MiB"})
	createVolume(t, s, "from", "v", nil)
	data := filepath.Join(s.dir.MountPoint("from"), "custom/default_v/data")
	for _, snap := range []string{"s0", "s1", "shared"} {
		if snap != "shared" {
			randomFile(t, data, 35<<20)
		}
		_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "from", Volume: "v", Name: snap})
		ok(t, err)
	}
	randomFile(t, data, 35<<20)
	o := CopyVolumeOptions{Pool: "from", Volume: "v", ToPool: "small", Name: "w"}
	before := everything(t, s, "small")
	plan, err := s.PlanCopyVolume(ctx, o)
	if err != nil || plan.Least < 105<<20 || plan.Least > 106<<20 || !strings.Contains(plan.Problem, "pool small has ") {
		t.Errorf("plan: %+v, %v", plan, err)
	}
	err = s.CopyVolume(ctx, o)
	if err == nil || !strings.HasPrefix(err.Error(), "cannot copy volume from/v: pool small has ") || !strings.HasSuffix(err.Error(), "and volume v with its snapshots takes at least 105MiB") {
		t.Errorf("copy: %v", err)
	}
	if now := everything(t, s, "small"); now != before {
		t.Errorf("in the pool were\n%s\nand now\n%s", before, now)
	}
	o.VolumeOnly = true
	ok(t, s.CopyVolume(ctx, o))
}

// An instance that is to be smaller than its image is refused before that is
// downloaded.
func TestGuardOfSizes(t *testing.T) {
	plan := SpacePlan{What: "image 0123", Pool: "p", Least: 50 << 20, Most: 50 << 20, PoolFree: 500 << 20, MetadataFree: 100 << 20, QuotaFree: -1, Size: 40 << 20}
	plan.judge()
	if plan.Problem != "the size is 40MiB, and image 0123 takes at least 50MiB" {
		t.Error(plan.Problem)
	}
	s := newSystem(t)
	createPool(t, s, "p", nil)
	rec, err := s.dir.LoadPool("p")
	ok(t, err)
	o := CreateOptions{Name: "c1", DeviceOverrides: map[string]map[string]string{"root": {"size": "40MiB"}}}
	if n := s.sizeOfNew(t.Context(), o, rec); n != 40<<20 {
		t.Errorf("the size of a new instance: %d", n)
	}
}

// A pool in somebody else's file system has what the quota around it leaves.
func TestGuardOfAQuotaAround(t *testing.T) {
	owner := ownersFS(t)
	s := newSystem(t)
	ctx := t.Context()
	ok(t, btrfs.EnableQuota(owner, btrfs.QuotaSimple), btrfs.CreateSubvolume(filepath.Join(owner, "limited")))
	sub, err := btrfs.Stat(filepath.Join(owner, "limited"))
	ok(t, err)
	group := btrfs.MakeQgroupID(1, 77)
	ok(t, btrfs.CreateQgroup(owner, group), btrfs.AssignQgroup(owner, btrfs.MakeQgroupID(0, sub.ID), group), btrfs.LimitQgroup(owner, group, 20<<20))
	createPool(t, s, "p", map[string]string{"source": filepath.Join(owner, "limited")})
	createPool(t, s, "from", nil)
	createVolume(t, s, "from", "v", nil)
	randomFile(t, filepath.Join(s.dir.MountPoint("from"), "custom/default_v/data"), 30<<20)
	err = s.CopyVolume(ctx, CopyVolumeOptions{Pool: "from", Volume: "v", ToPool: "p", Name: "w"})
	if err == nil || !strings.Contains(err.Error(), "a quota around pool p leaves ") {
		t.Errorf("a copy of more than the quota: %v", err)
	}
	ok(t, btrfs.LimitQgroup(owner, group, 60<<20), s.CopyVolume(ctx, CopyVolumeOptions{Pool: "from", Volume: "v", ToPool: "p", Name: "w"}))
}
