package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/journal"
)

// TestDeleteInFullMetadata: in a pool that has no room left for a name, everything can be deleted for good, and nothing is left of it.
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
		what   string
		remove func() error
	}{
		{"a snapshot", func() error { return p.DeleteSnapshot(ctx, "c1", "s1") }},
		{"a snapshot with nested subvolumes", func() error { return p.DeleteSnapshot(ctx, "c2", "s2") }},
		{"an instance with snapshots", func() error { return p.DeleteInstance(ctx, "c1") }},
		{"an instance with snapshots and nested subvolumes", func() error { return p.DeleteInstance(ctx, "c2") }},
		{"an instance alone", func() error { return p.DeleteInstance(ctx, "c3") }},
		{"a snapshot of a volume", func() error { return p.DeleteVolumeSnapshot(ctx, "v 2", "s1") }},
		{"a volume", func() error { return p.DeleteVolume(ctx, "v 2") }},
		{"a volume with nested subvolumes", func() error { return p.DeleteVolume(ctx, "v 1") }},
		{"an image", func() error { return p.DeleteImage(ctx, other) }},
	} {
		fill.up(t)
		if e, err := journal.BeginUnsynced(ctx, p.staging(), "test", nil); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("%s: the pool is not full: %v, %v", step.what, e, err)
		}
		if err := step.remove(); err != nil {
			t.Errorf("%s: %v", step.what, err)
		}
	}
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
	must(t, p.DeleteInstance(context.Background(), "full"), p.DeleteImage(ctx, fingerprint))
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
	must(t, p.DeleteSnapshot(ctx, "c1", "s1"))
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
