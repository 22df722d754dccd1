package pool

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
	"poolctl/pool/state"
)

// quotaMode is how a pool counts now.
func quotaMode(t *testing.T, s *System, name string) string {
	t.Helper()
	info, err := s.PoolInfo(t.Context(), name)
	if err != nil || info.Quotas == nil {
		t.Fatalf("%+v, %v", info, err)
	}
	return info.Quotas.Mode
}

// simpleHere is "simple" where the kernel has simple quotas.
func simpleHere(t *testing.T, s *System) string {
	t.Helper()
	createPool(t, s, "probe", nil)
	if err := btrfs.EnableQuota(s.dir.MountPoint("probe"), btrfs.QuotaSimple); errors.Is(err, btrfs.ErrSimpleQuota) {
		testfs.NeedKernel(t, 6, 7, err)
	} else if err != nil {
		t.Fatal(err)
	}
	return "simple"
}

// writeUntilFull writes into an instance, at most 64 MiB, and returns how many MiB it could.
func writeUntilFull(t *testing.T, s *System, pool, name string) int {
	t.Helper()
	path := filepath.Join(s.dir.MountPoint(pool), "containers", name, "big")
	f, err := os.Create(path)
	if errors.Is(err, unix.EDQUOT) {
		return 0
	}
	n, block := 0, make([]byte, 1<<20)
	for err == nil && n < 64 {
		if _, err = f.Write(block); err == nil {
			n++
		}
	}
	if err != nil && !errors.Is(err, unix.EDQUOT) {
		t.Fatal(err)
	}
	if err := errors.Join(f.Close(), os.Remove(path), btrfs.Sync(s.dir.MountPoint(pool))); err != nil {
		t.Fatal(err)
	}
	return n
}

// wantSize checks that so many MiB, or one or two less, can be written.
func wantSize(t *testing.T, s *System, pool, name, what string, want int) {
	t.Helper()
	if n := writeUntilFull(t, s, pool, name); n > want || n < want-2 {
		t.Errorf("%s: %d MiB could be written, want %d", what, n, want)
	}
}

func rootDisk(pool, size string) map[string]string {
	return map[string]string{"type": "disk", "path": "/", "pool": pool, "size": size}
}

// The quotas of a new pool are those it was given, simple ones by default; changed, they take all limits along.
func TestPoolQuotas(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	simple := simpleHere(t, s)
	for value, want := range map[string]string{"": simple, "auto": simple, "simple": simple, "qgroups": "qgroups", "none": "none"} {
		createPool(t, s, "x", map[string]string{"size": "128MiB", quotasKey: value})
		if got := quotaMode(t, s, "x"); got != want {
			t.Errorf("%s=%s: %s", quotasKey, value, got)
		}
		if err := s.DeletePool(ctx, "x", false); err != nil {
			t.Fatal(err)
		}
	}
	err := s.CreatePool(ctx, CreatePoolOptions{Name: "x", Config: map[string]string{"size": "128MiB", quotasKey: "full"}})
	if err == nil || !strings.Contains(err.Error(), quotasKey+"=full") || !strings.Contains(hint(err), "auto, simple, qgroups and none") {
		t.Errorf("an unknown mode: %v", err)
	}

	createPool(t, s, "p", map[string]string{"size": "256MiB"})
	addInstance(t, s, "p", "c1")
	if err := s.AddInstanceDevice(ctx, "c1", "root", rootDisk("p", "20MiB")); err != nil {
		t.Fatal(err)
	}
	wantSize(t, s, "p", "c1", "simple", 20)
	for _, mode := range []string{"qgroups", "simple"} {
		setPool(t, s, "p", map[string]string{quotasKey: mode})
		if got := quotaMode(t, s, "p"); got != mode {
			t.Errorf("set to %s: %s", mode, got)
		}
		wantSize(t, s, "p", "c1", "changed to "+mode, 20)
	}
	setPool(t, s, "p", map[string]string{quotasKey: "none"})
	if n := writeUntilFull(t, s, "p", "c1"); n != 64 {
		t.Errorf("without quotas: %d MiB", n)
	}
	err = s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"size": "30MiB"})
	if err == nil || !strings.Contains(err.Error(), "is none") || !strings.Contains(hint(err), "poolctl pool set p") {
		t.Errorf("a size without quotas: %v", err)
	}
	// A detached pool gets what it is to have when it is attached.
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	setPool(t, s, "p", map[string]string{quotasKey: "qgroups"})
	if err := s.AttachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if got := quotaMode(t, s, "p"); got != "qgroups" {
		t.Errorf("attached: %s", got)
	}
	wantSize(t, s, "p", "c1", "attached", 20)
}

// A pool that was made elsewhere and has no quotas gets those that LXD knows when a size is asked for, counting what is there;
// one with quotas keeps them.
func TestQuotasOfForeignPools(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	for _, had := range []string{"none", "qgroups"} {
		createPool(t, s, "p", map[string]string{"size": "256MiB", quotasKey: had})
		setPoolRecord(t, s, "p", func(rec *state.PoolRecord) { delete(rec.Config, quotasKey) })
		addInstance(t, s, "p", "c1")
		for range 2 {
			if err := errors.Join(s.DetachPool(ctx, "p"), s.AttachPool(ctx, "p")); err != nil {
				t.Fatal(err)
			}
		}
		if got := quotaMode(t, s, "p"); got != had {
			t.Errorf("it had %s, and has %s when it is attached", had, got)
		}
		if err := s.AddInstanceDevice(ctx, "c1", "root", rootDisk("p", "10MiB")); err != nil {
			t.Fatal(err)
		}
		if got := quotaMode(t, s, "p"); got != "qgroups" {
			t.Errorf("it had %s, and has %s with a size", had, got)
		}
		wantSize(t, s, "p", "c1", had, 10)
		if err := errors.Join(s.Delete(ctx, "c1", false), s.DeletePool(ctx, "p", true)); err != nil {
			t.Fatal(err)
		}
	}
}

func setPoolRecord(t *testing.T, s *System, name string, change func(*state.PoolRecord)) {
	t.Helper()
	rec, err := s.dir.LoadPool(name)
	if err != nil {
		t.Fatal(err)
	}
	change(&rec)
	if err := s.dir.SavePool(rec); err != nil {
		t.Fatal(err)
	}
}

// The quotas of somebody else's file system are enabled when they are asked for by name only, and never changed.
func TestQuotasOfDirectoryPools(t *testing.T) {
	fs := ownersFS(t)
	s := newSystem(t)
	ctx := t.Context()
	source := filepath.Join(fs, "pool")
	createPool(t, s, "p", map[string]string{"source": source})
	addInstance(t, s, "p", "c1")
	if got := quotaMode(t, s, "p"); got != "none" {
		t.Errorf("enabled unasked: %s", got)
	}
	err := s.AddInstanceDevice(ctx, "c1", "root", rootDisk("p", "10MiB"))
	if err == nil || !strings.Contains(err.Error(), "is not poolctl's") || !strings.Contains(hint(err), "poolctl pool set p "+quotasKey) {
		t.Errorf("a size: %v", err)
	}
	if err := s.AddInstanceDevice(ctx, "c1", "root", rootDisk("p", "")); err != nil {
		t.Fatal(err)
	}
	setPool(t, s, "p", map[string]string{quotasKey: "qgroups"})
	if err := s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"size": "10MiB"}); err != nil {
		t.Fatal(err)
	}
	wantSize(t, s, "p", "c1", "asked for", 10)
	err = s.SetPool(ctx, "p", PoolChange{Config: map[string]string{quotasKey: "simple"}})
	if err == nil || !strings.Contains(err.Error(), "counts in another way") {
		t.Errorf("changed: %v", err)
	}
	if got := quotaMode(t, s, "p"); got != "qgroups" {
		t.Errorf("it was changed to %s", got)
	}
	wantSize(t, s, "p", "c1", "after that", 10)
}

// With simple quotas what only a snapshot still has goes on to count, until the same size is set again.
func TestSizeIsCountedAnew(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	simple := simpleHere(t, s)
	createPool(t, s, "p", map[string]string{"size": "512MiB", quotasKey: simple})
	addInstance(t, s, "p", "c1")
	file := filepath.Join(s.dir.MountPoint("p"), "containers/c1/file")
	if err := errors.Join(s.AddInstanceDevice(ctx, "c1", "root", rootDisk("p", "30MiB")), os.WriteFile(file, make([]byte, 20<<20), 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"}); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(file), btrfs.Sync(s.dir.MountPoint("p"))); err != nil {
		t.Fatal(err)
	}
	for _, size := range []string{"30MiB", "31457280"} { // the same, and the same in other words
		if err := s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"size": size}); err != nil {
			t.Fatal(err)
		}
		wantSize(t, s, "p", "c1", "set again to "+size, 30)
	}
}

// A size that is set and a restore or copy meet in every order; nested subvolumes are in it.
func TestSizeIsKept(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "512MiB"})
	addInstance(t, s, "p", "c1")
	volume := filepath.Join(s.dir.MountPoint("p"), "containers/c1")
	if err := errors.Join(s.AddInstanceDevice(ctx, "c1", "root", rootDisk("p", "")), btrfs.CreateSubvolume(volume+"/nes ted")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "before"}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"size": "20MiB"}); err != nil {
		t.Fatal(err)
	}
	if err := s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "before"}); err != nil {
		t.Fatal(err)
	}
	wantSize(t, s, "p", "c1", "restored", 20)
	// What is nested leaves less.
	if err := os.WriteFile(volume+"/nes ted/file", make([]byte, 8<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := btrfs.Sync(volume); err != nil {
		t.Fatal(err)
	}
	wantSize(t, s, "p", "c1", "with a nested file", 12)
	if _, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: "c2"}); err != nil {
		t.Fatal(err)
	}
	wantSize(t, s, "p", "c2", "copied, the source's bytes count", 12)
	if _, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: "c3", DeviceOverrides: map[string]map[string]string{"root": {"size": "30MiB"}}}); err != nil {
		t.Fatal(err)
	}
	wantSize(t, s, "p", "c3", "copied with another size", 22)
	if in, err := s.Instance(ctx, "c3"); err != nil || in.Devices["root"]["size"] != "30MiB" {
		t.Errorf("%+v, %v", in.Devices, err)
	}
	if err := s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"size": "5MiB"}); err == nil || !strings.Contains(err.Error(), "cannot limit c1 to 5MiB: it takes 8") {
		t.Errorf("less than is in it: %v", err)
	}
	if in, err := s.Instance(ctx, "c1"); err != nil || in.Devices["root"]["size"] != "20MiB" {
		t.Errorf("a refusal changed the record: %+v, %v", in.Devices, err)
	}
	if err := s.UnsetInstanceDevice(ctx, "c1", "root", "size"); err != nil {
		t.Fatal(err)
	}
	if n := writeUntilFull(t, s, "p", "c1"); n != 64 {
		t.Errorf("without a size: %d MiB", n)
	}
}

// What only a snapshot or a copy has does not count; and once they are deleted it is not given on top of the size.
func TestSizeBesideSnapshots(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	for _, mode := range []string{simpleHere(t, s), "qgroups"} {
		createPool(t, s, "p", map[string]string{"size": "512MiB", quotasKey: mode})
		addInstance(t, s, "p", "c1")
		big := filepath.Join(s.dir.MountPoint("p"), "containers/c1/kept")
		if err := errors.Join(s.AddInstanceDevice(ctx, "c1", "root", rootDisk("p", "20MiB")), os.WriteFile(big, make([]byte, 12<<20), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s1"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: "c2", InstanceOnly: true}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.Remove(big), btrfs.Sync(s.dir.MountPoint("p"))); err != nil {
			t.Fatal(err)
		}
		if _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s2"}); err != nil {
			t.Fatal(err)
		}
		wantSize(t, s, "p", "c1", mode+": beside a snapshot of 12 MiB", 20)
		wantSize(t, s, "p", "c2", mode+": the copy has them", 8)
		if err := s.DeleteSnapshot(ctx, "c1", "s1"); err != nil {
			t.Fatal(err)
		}
		wantSize(t, s, "p", "c1", mode+": beside a copy of 12 MiB", 20)
		if err := s.Delete(ctx, "c2", false); err != nil {
			t.Fatal(err)
		}
		wantSize(t, s, "p", "c1", mode+": without them", 20)
		if err := errors.Join(s.Delete(ctx, "c1", false), s.DeletePool(ctx, "p", true)); err != nil {
			t.Fatal(err)
		}
	}
}

// A pool's volume.size is what new instances get, unless they are given a size.
func TestDefaultSize(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "256MiB", "volume.size": "20MiB"})
	addInstance(t, s, "p", "first") // brings an image along
	image := "0123456789abcdef"
	for name, overrides := range map[string]map[string]map[string]string{"c1": nil, "c2": {"root": {"size": "10MiB"}}} {
		if _, err := s.Create(ctx, CreateOptions{Name: name, Image: image, Pool: "p", DeviceOverrides: overrides}); err != nil {
			t.Fatal(err)
		}
	}
	wantSize(t, s, "p", "c1", "by default", 20)
	wantSize(t, s, "p", "c2", "of its own", 10)
	if in, err := s.Instance(ctx, "c1"); err != nil || in.Devices["root"]["size"] != "20MiB" {
		t.Errorf("%+v, %v", in.Devices, err)
	}
	setPool(t, s, "p", map[string]string{"volume.size": "40MiB"})
	if err := s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"size": ""}); err != nil {
		t.Fatal(err)
	}
	if n := writeUntilFull(t, s, "p", "c1"); n != 64 {
		t.Errorf("unset: %d MiB", n)
	}
	_, err := s.Create(ctx, CreateOptions{Name: "c3", Image: image, Pool: "p", DeviceOverrides: map[string]map[string]string{"root": {"size": "8KiB"}}})
	if err == nil || !strings.Contains(err.Error(), "cannot create instance c3: its size is 8KiB, and image 0123456789ab takes") {
		t.Errorf("smaller than the image: %v", err)
	}
}
