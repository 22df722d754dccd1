package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// TestDeleteInFullMetadata: in a pool that has no room left for a name, nothing is deleted by the journal, and everything can be
// deleted in its place; nothing is left of it.
func TestDeleteInFullMetadata(t *testing.T) {
	p := newPool(t)
	ctx := t.Context()
	must(t, importImage(p.Tree, fingerprint), importImage(p.Tree, other))
	for _, name := range []string{"c1", "c2", "c3", "full"} {
		must(t, p.CreateInstance(ctx, newInstance(name), fingerprint))
	}
	must(t, nest(p.InstancePath("c2")))
	for _, snap := range []string{"s1", "s2", "s3"} {
		must(t, p.CreateSnapshot(ctx, "c1", snap, SnapshotOptions{}), p.CreateSnapshot(ctx, "c2", snap, SnapshotOptions{}))
	}
	must(t, fullVolume(p.Tree), p.CreateVolume(ctx, testVolume("v 2"), nil), snapVolume(p.Tree, "v 2", "s1"), snapVolume(p.Tree, "v 2", "s2"))
	fill := newFiller(t, filepath.Join(p.InstancePath("full"), "rootfs"))
	for _, step := range []struct {
		what   Doomed
		remove func() error
	}{
		{Doomed{Kind: KindInstance, Name: "c1", Snapshot: "s1"}, func() error { return p.DeleteSnapshot(ctx, "c1", "s1") }},
		{Doomed{Kind: KindInstance, Name: "c2", Snapshot: "s2"}, func() error { return p.DeleteSnapshot(ctx, "c2", "s2") }},
		{Doomed{Kind: KindInstance, Name: "c1"}, func() error { return p.DeleteInstance(ctx, "c1") }},
		{Doomed{Kind: KindInstance, Name: "c2"}, func() error { return p.DeleteInstance(ctx, "c2") }},
		{Doomed{Kind: KindVolume, Name: "v 2", Snapshot: "s1"}, func() error { return p.DeleteVolumeSnapshot(ctx, "v 2", "s1") }},
		{Doomed{Kind: KindVolume, Name: "v 2"}, func() error { return p.DeleteVolume(ctx, "v 2") }},
		{Doomed{Kind: KindVolume, Name: "v 1"}, func() error { return p.DeleteVolume(ctx, "v 1") }},
		{Doomed{Kind: KindImage, Name: other}, func() error { return p.DeleteImage(ctx, other) }},
	} {
		fill.up(t)
		if err := step.remove(); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("%+v: the pool is not full: %v", step.what, err)
		}
		d, err := p.Identified(step.what)
		must(t, err)
		if err := p.DeleteInPlace(ctx, d); err != nil {
			t.Errorf("%+v: %v", step.what, err)
		}
	}
	must(t, p.DeleteInstance(ctx, "c3"))
	for _, name := range []string{"c1", "c2", "c3"} {
		if _, err := p.Instance(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if volumes, err := p.Volumes(ctx); err != nil || len(volumes) != 0 {
		t.Errorf("volumes are left: %+v, %v", volumes, err)
	}
	for _, dir := range []string{dirOwn + "/volumes", dirCustom, dirCustomSnapshots} {
		if names, err := readNames(filepath.Join(p.mnt, dir)); err != nil || len(names) != 0 {
			t.Errorf("left in %s: %q, %v", dir, names, err)
		}
	}
	must(t, p.DeleteInstance(ctx, "full"), btrfs.WaitDeleted(ctx, p.mnt), p.DeleteImage(ctx, fingerprint))
	checkEmpty(t, p)
}

// TestDeleteSnapshotInFullMetadata: the list of the others is in order once there is room for it.
func TestDeleteSnapshotInFullMetadata(t *testing.T) {
	p := newPool(t)
	ctx := t.Context()
	must(t, importImage(p.Tree, fingerprint), p.CreateInstance(ctx, newInstance("c1"), fingerprint), p.CreateInstance(ctx, newInstance("full"), fingerprint))
	for _, snap := range []string{"s1", "s2"} {
		must(t, p.CreateSnapshot(ctx, "c1", snap, SnapshotOptions{}))
	}
	newFiller(t, filepath.Join(p.InstancePath("full"), "rootfs")).up(t)
	d, err := p.Identified(Doomed{Kind: KindInstance, Name: "c1", Snapshot: "s1"})
	must(t, err)
	must(t, p.DeleteInPlace(ctx, d))
	snaps, err := p.Snapshots("c1")
	if must(t, err); len(snaps) != 1 || snaps[0].Name != "s2" {
		t.Errorf("%+v", snaps)
	}
	must(t, p.DeleteInstance(ctx, "full"), btrfs.WaitDeleted(ctx, p.mnt), p.CreateSnapshot(ctx, "c1", "s3", SnapshotOptions{}))
	rec, err := p.readRecord(p.InstancePath("c1"), whole)
	if must(t, err); len(rec.entries) != 2 || rec.entries[0].Name != "s2" || rec.entries[1].Name != "s3" {
		t.Errorf("%+v", rec.entries)
	}
	must(t, p.DeleteInstance(ctx, "c1"), p.DeleteImage(ctx, fingerprint))
	checkEmpty(t, p)
}

// TestDeleteInPlaceAgain: a killed one is gone on with, wherever it was, and what has the name by now is left alone.
func TestDeleteInPlaceAgain(t *testing.T) {
	p := newPool(t)
	ctx := t.Context()
	must(t, importImage(p.Tree, fingerprint), importImage(p.Tree, other), p.CreateInstance(ctx, newInstance("c1"), fingerprint), nest(p.InstancePath("c1")))
	must(t, p.CreateSnapshot(ctx, "c1", "s1", SnapshotOptions{}), p.CreateSnapshot(ctx, "c1", "s2", SnapshotOptions{}), fullVolume(p.Tree))
	identified := func(d Doomed) Doomed {
		t.Helper()
		d, err := p.Identified(d)
		must(t, err)
		return d
	}
	instance, volume, image := identified(Doomed{Kind: KindInstance, Name: "c1"}), identified(Doomed{Kind: KindVolume, Name: "v 1"}), identified(Doomed{Kind: KindImage, Name: other})
	nested, err := btrfs.List(p.InstancePath("c1"))
	must(t, err)
	if len(nested) == 0 {
		t.Fatal("nothing is nested")
	}
	must(t, btrfs.DeleteTree(ctx, p.snapshotPath("c1", "s1")), btrfs.DeleteTree(ctx, filepath.Join(p.InstancePath("c1"), nested[len(nested)-1].Path)))
	for _, name := range []string{"s1", "s2"} {
		must(t, p.DeleteVolumeSnapshot(ctx, "v 1", name))
	}
	must(t, btrfs.DeleteTree(ctx, p.VolumePath("v 1")), btrfs.DeleteTree(ctx, p.ImagePath(other)))
	for range 2 {
		must(t, p.DeleteInPlace(ctx, instance), p.DeleteInPlace(ctx, image))
	}
	if names, err := readNames(filepath.Join(p.mnt, dirOwn, "images")); err != nil || len(names) != 1 {
		t.Errorf("records of images: %q, %v", names, err)
	}
	must(t, p.DeleteInPlace(ctx, volume))
	if left, err := readNames(filepath.Join(p.mnt, dirOwn, "volumes")); err != nil || len(left) != 0 {
		t.Errorf("records of volumes: %q, %v", left, err)
	}
	must(t, p.CreateInstance(ctx, newInstance("c1"), fingerprint), p.DeleteInPlace(ctx, instance))
	if _, err := p.Instance("c1"); err != nil {
		t.Errorf("another instance was deleted: %v", err)
	}
	for _, bad := range []Doomed{{}, {Kind: "other", Name: "c1"}, {Kind: KindInstance, Name: ".."}, {Kind: KindInstance, Name: "c1", Snapshot: "../c1"}, {Kind: KindImage, Name: "c1"}, {Kind: KindVolume, Name: "../x"}} {
		if err := p.DeleteInPlace(ctx, bad); err == nil {
			t.Errorf("%+v was deleted", bad)
		}
	}
	must(t, p.DeleteInstance(ctx, "c1"), p.DeleteImage(ctx, fingerprint))
	checkEmpty(t, p)
}

// filler fills a file system: what is in files first, so that the metadata gets no more room, then that by links, whose targets are in
// it.
type filler struct {
	dir   string
	links int
}

func newFiller(t *testing.T, dir string) *filler {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "data"))
	must(t, err)
	for block := make([]byte, 1<<20); err == nil; {
		_, err = f.Write(block)
	}
	if must(t, f.Close()); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	must(t, btrfs.Sync(dir))
	return &filler{dir: dir}
}

// up adds links until there is room for none, also after a commit.
func (f *filler) up(t *testing.T) {
	t.Helper()
	for failed := 0; failed < 3; f.links++ {
		err := os.Symlink(strings.Repeat("x", 3000), filepath.Join(f.dir, fmt.Sprint("link", f.links)))
		if errors.Is(err, unix.ENOSPC) {
			failed++
			must(t, btrfs.Sync(f.dir))
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
