package pool

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
	"poolctl/pool/tree"
)

// usageOf finds an object of a usage.
func usageOf(t *testing.T, u PoolUsage, kind, name string) ObjectUsage {
	t.Helper()
	for _, o := range u.Objects {
		if o.Type == kind && o.Name == name {
			return o
		}
	}
	t.Fatalf("no %s %s in %+v", kind, name, u.Objects)
	return ObjectUsage{}
}

// fill writes random data, which nothing compresses.
func fill(t *testing.T, path string, size int) {
	t.Helper()
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func poolUsage(t *testing.T, s *System, o UsageOptions) PoolUsage {
	t.Helper()
	u, err := s.PoolUsage(t.Context(), "p", o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func hasBytes(n *uint64, least uint64) bool {
	const metadata = 256 << 10
	return n != nil && *n >= least && *n <= least+metadata
}

// usagePool has an instance c1 with a snapshot, a subvolume in both, and 4 MiB
// written after the snapshot; and a volume.
func usagePool(t *testing.T, mode btrfs.QuotaMode) (s *System, mnt string) {
	t.Helper()
	s = newSystem(t)
	createPool(t, s, "p", nil)
	mnt = s.dir.MountPoint("p")
	if err := btrfs.DisableQuota(mnt); err != nil {
		t.Fatal(err)
	}
	if mode != btrfs.QuotaNone {
		if err := btrfs.EnableQuota(mnt, mode); errors.Is(err, btrfs.ErrSimpleQuota) {
			testfs.NeedKernel(t, 6, 7, err)
		} else if err != nil {
			t.Fatal(err)
		}
	}
	addInstance(t, s, "p", "c1")
	fill(t, mnt+"/containers/c1/before", 2<<20)
	if err := btrfs.CreateSubvolume(mnt + "/containers/c1/in side"); err != nil {
		t.Fatal(err)
	}
	fill(t, mnt+"/containers/c1/in side/file", 1<<20)
	if _, err := s.CreateSnapshot(t.Context(), SnapshotOptions{Instance: "c1", Name: "s0"}); err != nil {
		t.Fatal(err)
	}
	fill(t, mnt+"/containers/c1/after", 4<<20)
	if err := btrfs.CreateSubvolume(mnt + "/custom/default_v"); err != nil {
		t.Fatal(err)
	}
	fill(t, mnt+"/custom/default_v/data", 3<<20)
	if err := btrfs.RescanQuota(t.Context(), mnt); err != nil {
		t.Fatal(err)
	}
	return s, mnt
}

func TestPoolUsageSimpleQuota(t *testing.T) {
	s, mnt := usagePool(t, btrfs.QuotaSimple)
	u := poolUsage(t, s, UsageOptions{})
	if u.Quota != "simple" || u.File == nil || u.File.Size != 256<<20 || u.File.Allocated <= 0 || u.Usage.Data.Used < 10<<20 || u.Pending != 0 {
		t.Errorf("%+v", u)
	}
	c1, s0, v := usageOf(t, u, "container", "c1"), usageOf(t, u, "container (snapshot)", "c1/s0"), usageOf(t, u, "custom", "v")
	if !hasBytes(c1.Owned, 7<<20) || !hasBytes(s0.Owned, 0) || !hasBytes(v.Owned, 3<<20) || c1.Exclusive != nil || c1.Exact != nil {
		t.Errorf("owned: %+v, %+v, %+v", c1, s0, v)
	}
	// What a deleted one wrote and others share is still told.
	if err := s.RestoreSnapshot(t.Context(), RestoreOptions{Instance: "c1", Snapshot: "s0"}); err != nil {
		t.Fatal(err)
	}
	freed(t, mnt)
	u = poolUsage(t, s, UsageOptions{})
	c1, gone := usageOf(t, u, "container", "c1"), usageOf(t, u, "deleted", "")
	if !hasBytes(c1.Owned, 0) || !hasBytes(gone.Owned, 3<<20) || len(gone.Subvolumes) == 0 {
		t.Errorf("restored: owned %d, of deleted ones %+v", *c1.Owned, gone)
	}
	// Much that is not written yet is not waited for, but told.
	fill(t, mnt+"/containers/c1/much", smallCommit+(16<<20))
	if u := poolUsage(t, s, UsageOptions{}); u.Pending <= smallCommit && !hasBytes(usageOf(t, u, "container", "c1").Owned, smallCommit+16<<20) {
		t.Errorf("neither told nor counted: %+v", u)
	}
}

// freed waits until what was deleted is freed.
func freed(t *testing.T, mnt string) {
	t.Helper()
	for range 600 {
		err := btrfs.Sync(mnt)
		busy, derr := btrfs.Deleting(mnt)
		if err = errors.Join(err, derr); err != nil {
			t.Fatal(err)
		}
		if !busy {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the cleaner does not finish")
}

func TestPoolUsageQgroups(t *testing.T) {
	s, mnt := usagePool(t, btrfs.QuotaFull)
	u := poolUsage(t, s, UsageOptions{})
	c1, v := usageOf(t, u, "container", "c1"), usageOf(t, u, "custom", "v")
	if u.Quota != "qgroups" || !hasBytes(v.Referenced, 3<<20) || !hasBytes(v.Exclusive, 3<<20) || v.Owned != nil {
		t.Errorf("%+v", v)
	}
	if c1.Referenced != nil || len(c1.Subvolumes) != 2 { // its subvolumes may share
		t.Errorf("%+v", c1)
	}
	group := btrfs.MakeQgroupID(1, c1.Subvolumes[0])
	err := btrfs.CreateQgroup(mnt, group)
	for _, id := range c1.Subvolumes {
		err = errors.Join(err, btrfs.AssignQgroup(mnt, btrfs.MakeQgroupID(0, id), group))
	}
	if err = errors.Join(err, btrfs.RescanQuota(t.Context(), mnt)); err != nil {
		t.Fatal(err)
	}
	c1 = usageOf(t, poolUsage(t, s, UsageOptions{}), "container", "c1")
	exact := usageOf(t, poolUsage(t, s, UsageOptions{Exact: true}), "container", "c1")
	if c1.Referenced == nil || *c1.Referenced != *exact.Referenced || *c1.Exclusive != *exact.Exclusive {
		t.Errorf("in a group of its own: %+v; exact are %+v", c1, exact.Exact)
	}
}

func TestPoolUsageExact(t *testing.T) {
	s, mnt := usagePool(t, btrfs.QuotaNone)
	u := poolUsage(t, s, UsageOptions{})
	if c1 := usageOf(t, u, "container", "c1"); u.Quota != "none" || c1.Owned != nil || c1.Referenced != nil || c1.Exact != nil {
		t.Errorf("without --exact: %+v", c1)
	}
	last := Progress{}
	u = poolUsage(t, s, UsageOptions{Exact: true, Progress: func(p Progress) { last = p }})
	c1, s0, v := usageOf(t, u, "container", "c1"), usageOf(t, u, "container (snapshot)", "c1/s0"), usageOf(t, u, "custom", "v")
	if !hasBytes(c1.Referenced, 7<<20) || !hasBytes(c1.Exclusive, 4<<20) || !hasBytes(&c1.Exact.Frees.Total, 7<<20) || c1.Exact.Frees.Data != 7<<20 {
		t.Errorf("c1: %+v", c1.Exact)
	}
	if !hasBytes(s0.Referenced, 3<<20) || !hasBytes(s0.Exclusive, 0) || s0.Exact.Files.SetShared != 3<<20 {
		t.Errorf("s0: %+v", s0.Exact)
	}
	if v.Exact.Exclusive.Data != 3<<20 || v.Exact.Frees.Data != 3<<20 || u.Together != nil {
		t.Errorf("v: %+v, together %+v", v.Exact, u.Together)
	}
	if p := usageOf(t, u, "pool", ""); p.Exact.Frees != nil || p.Exact.Referenced.Total == 0 {
		t.Errorf("the pool's own: %+v", p.Exact)
	}
	if last.Done == 0 || last.Done != last.Total {
		t.Errorf("the last progress: %+v", last)
	}
	together := func(want uint64, objects ...string) {
		t.Helper()
		u := poolUsage(t, s, UsageOptions{Exact: true, Objects: objects})
		if u.Together == nil || u.Together.Data != want {
			t.Errorf("%q together: %+v, want %d", objects, u.Together, want)
		}
	}
	together(7<<20, "c1")
	together(7<<20, "c1", "c1/s0", "c1")
	together(0, "c1/s0")
	together(10<<20, "c1", "volume/v")
	if err := btrfs.DeleteSubvolume(mnt + "/custom/default_v"); err != nil {
		t.Fatal(err)
	}
}

func TestPoolUsageNames(t *testing.T) {
	s, mnt := usagePool(t, btrfs.QuotaNone)
	const fp = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	p, err := s.openPool(t.Context(), "p")
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(setAlias(p, fp, "c1", "alpine/3.20"), p.close(), os.MkdirAll(mnt+"/custom-snapshots/default_v", 0o700),
		btrfs.Snapshot(mnt+"/custom/default_v", mnt+"/custom-snapshots/default_v/s", true))
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"c1":                "container c1, container (snapshot) c1/s0",
		"c1/s0":             "container (snapshot) c1/s0",
		"image/c1":          "image " + fp,
		"alpine/3.20":       "image " + fp,
		"image/alpine/3.20": "image " + fp,
		"0123":              "image " + fp,
		"volume/v":          "custom v, custom (snapshot) v/s",
		"volume/v/s":        "custom (snapshot) v/s",
	} {
		u := poolUsage(t, s, UsageOptions{Objects: []string{ref}})
		var got []string
		for _, o := range u.Objects {
			got = append(got, o.Type+" "+o.Name)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%s is %q, want %q", ref, got, want)
		}
	}
	for _, ref := range []string{"", "c2", "c1/none", "v", "volume/none", "volume/", "image/none", "0124", "../c1", "c1/"} {
		if u, err := s.PoolUsage(t.Context(), "p", UsageOptions{Objects: []string{ref}, Exact: true}); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %+v, %v", ref, u.Objects, err)
		}
	}
	if _, err := s.PoolUsage(t.Context(), "none", UsageOptions{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such pool: %v", err)
	}
}

// It takes nobody's lock: whoever holds an instance's is not waited for.
func TestPoolUsageWaitsForNobody(t *testing.T) {
	s, _ := usagePool(t, btrfs.QuotaNone)
	unlock, err := s.dir.LockInstance(t.Context(), "c1")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	began := time.Now()
	poolUsage(t, s, UsageOptions{Exact: true})
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("it took %s", d)
	}
}

func setAlias(p *openedPool, fingerprint string, aliases ...string) error {
	_, err := p.UpdateImage(fingerprint, func(r *tree.ImageRecord) error { r.Aliases = aliases; return nil })
	return err
}

// A pool in somebody's file system shares with what is outside of it, which is
// nobody's object, but keeps what it shares.
func TestPoolUsageDirectory(t *testing.T) {
	fs := ownersFS(t)
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"source": filepath.Join(fs, "pool")})
	mnt := s.dir.MountPoint("p")
	addInstance(t, s, "p", "c1")
	fill(t, mnt+"/containers/c1/own", 2<<20)
	fill(t, filepath.Join(fs, "shared"), 3<<20)
	fill(t, filepath.Join(fs, "foreign"), 5<<20)
	clone(t, filepath.Join(fs, "shared"), mnt+"/containers/c1/shared")
	u := poolUsage(t, s, UsageOptions{Exact: true})
	if u.File != nil || u.Device != nil || u.Directory == nil || u.Directory.Path != filepath.Join(fs, "pool") || len(u.Objects) != 3 {
		t.Errorf("%+v", u)
	}
	c1 := usageOf(t, u, "container", "c1")
	if c1.Exact.Referenced.Data != 5<<20 || c1.Exact.Exclusive.Data != 2<<20 || c1.Exact.Files.SetShared != 3<<20 {
		t.Errorf("%+v", c1.Exact)
	}
}

func clone(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := os.Create(to)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())), src.Close(), dst.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestPoolUsageDevice(t *testing.T) {
	dev, _ := newDevice(t, 300<<20)
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"source": dev})
	addInstance(t, s, "p", "c1")
	fill(t, s.dir.MountPoint("p")+"/containers/c1/own", 2<<20)
	u := poolUsage(t, s, UsageOptions{Exact: true})
	if u.File != nil || u.Device == nil || u.Device.Size != 300<<20 || usageOf(t, u, "container", "c1").Exact.Exclusive.Data != 2<<20 {
		t.Errorf("%+v", u)
	}
}
