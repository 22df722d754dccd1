package pool

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"poolctl/btrfs"
)

// nestedInstance makes the pool p with the instance c1, which has subvolumes of
// all awkward names in it and in its snapshot s0, and returns its root.
func nestedInstance(t *testing.T, s *System, config map[string]string) string {
	t.Helper()
	createPool(t, s, "p", config)
	addInstance(t, s, "p", "c1")
	root := filepath.Join(s.dir.MountPoint("p"), "containers/c1/rootfs")
	ok(t, os.Mkdir(root, 0o755))
	nest(t, root)
	_, err := s.CreateSnapshot(t.Context(), SnapshotOptions{Instance: "c1", Name: "s0"})
	ok(t, err)
	return root
}

// What is in nested subvolumes, whatever their names, is in the usage of the instance: what was written there at once, and with
// --exact the same as a qgroup for all of them counts.
func TestNestedUsage(t *testing.T) {
	s := newSystem(t)
	simple := simpleHere(t, s)
	for _, mode := range []string{simple, "qgroups"} {
		root := nestedInstance(t, s, map[string]string{"size": "512MiB", quotasKey: mode})
		mnt := s.dir.MountPoint("p")
		const each = 256 << 10
		written := uint64(each * (len(awkward) + 1))
		for _, name := range awkward {
			fill(t, filepath.Join(root, name, "big"), each)
		}
		atDepth(t, root, false, func() { fill(t, "deep one/big", each) })
		ok(t, btrfs.Sync(mnt))

		c1 := usageOf(t, poolUsage(t, s, UsageOptions{}), "container", "c1")
		if len(c1.Subvolumes) != nested+1 {
			t.Errorf("%s: %d subvolumes, want %d", mode, len(c1.Subvolumes), nested+1)
		}
		if own := c1.Owned; mode == simple && (own == nil || *own < written || *own > written+2<<20) {
			t.Errorf("%s: owns %v, wrote %d", mode, own, written)
		}
		u := poolUsage(t, s, UsageOptions{Exact: true})
		c1, s0 := usageOf(t, u, "container", "c1"), usageOf(t, u, "container (snapshot)", "c1/s0")
		if c1.Exact.Exclusive.Data != written || s0.Exact.Exclusive.Data != 0 || len(s0.Subvolumes) != nested+1 {
			t.Errorf("%s: c1 %+v, s0 %+v; wrote %d", mode, c1.Exact, s0.Exact, written)
		}
		// A limit meets all of them.
		ok(t, s.AddInstanceDevice(t.Context(), "c1", "root", rootDisk("p", "30MiB")))
		if mode == "qgroups" { // then one has all of them
			c1, u = usageOf(t, poolUsage(t, s, UsageOptions{}), "container", "c1"), poolUsage(t, s, UsageOptions{Exact: true})
			exact := usageOf(t, u, "container", "c1").Exact
			if c1.Referenced == nil || *c1.Referenced != exact.Referenced.Total || *c1.Exclusive != exact.Exclusive.Total {
				t.Errorf("its qgroup: %+v; exact are %+v", c1, exact)
			}
		}
		wantSize(t, s, "p", "c1", mode+": with nested files", 30-int(written>>20)-1)
		ok(t, s.DeletePool(t.Context(), "p", true))
	}
}

// A pool file with such an instance is looked into without a changed byte, and adopted with all of it, which works then.
func TestNestedAdopt(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	nestedInstance(t, s, map[string]string{"size": "512MiB"})
	file, away := s.dir.DiskFile("p"), filepath.Join(t.TempDir(), "with space.img")
	ok(t, s.DetachPool(ctx, "p"), os.Rename(file, away), s.DeletePool(ctx, "p", true))

	before := contentOf(t, away)
	other := newSystem(t)
	in, err := other.Inspect(ctx, away)
	if err != nil || len(in.Instances) != 1 || len(in.Instances[0].Snapshots) != 1 || len(in.Leftovers) != 0 {
		t.Errorf("%+v, %v", in, err)
	}
	for _, ref := range []string{"c1", "c1/s0"} {
		dir := t.TempDir()
		_, err := other.InspectMount(ctx, away, ref, dir)
		ok(t, err)
		isNested(t, "inspect "+ref, dir)
		ok(t, other.Unmount(ctx, dir))
	}
	withoutTraces(t, away)
	if contentOf(t, away) != before {
		t.Error("the file has changed")
	}

	adopt(t, other, away, "")
	mnt := other.dir.MountPoint("p")
	root := filepath.Join(mnt, "containers/c1/rootfs")
	isNested(t, "adopted", root)
	isNested(t, "its snapshot", filepath.Join(mnt, "containers-snapshots/c1/s0/rootfs"))
	ok(t, errors.Join(btrfs.DeleteSubvolume(filepath.Join(root, "*")), os.WriteFile(filepath.Join(root, "--/data"), []byte("changed"), 0o644)))
	ok(t, other.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s0"}))
	isNested(t, "restored", root)
	_, err = other.Copy(ctx, CopyOptions{Source: "c1", Name: "c2"})
	ok(t, err, other.Delete(ctx, "c1", false))
	isNested(t, "copied", filepath.Join(mnt, "containers/c2/rootfs"))
	if c2 := usageOf(t, poolUsage(t, other, UsageOptions{Exact: true}), "container", "c2"); len(c2.Subvolumes) != nested+1 {
		t.Errorf("usage: %+v", c2)
	}
	finds(t, other, false)
	ok(t, other.Delete(ctx, "c2", false))
	if all, err := btrfs.List(mnt); err != nil || len(all) != 1 { // the image
		t.Errorf("left: %+v, %v", all, err)
	}
}
