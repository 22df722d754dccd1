package tree

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolctl/btrfs"
)

// trashedInstance is an instance in the trash, with nested subvolumes and a snapshot.
func trashedInstance(p *Tree) error {
	err := makeInstance(p)
	return errors.Join(err, nest(p.InstancePath("c1")), snapshot(p, "s1"), p.TrashInstance(context.Background(), "c1"))
}

// undeleteAll brings back everything that is in the trash.
func undeleteAll(p *Tree, name string) error {
	all, err := p.Trash()
	for _, it := range all {
		err = errors.Join(err, p.Undelete(context.Background(), it.ID, UndeleteOptions{Name: name}))
	}
	return err
}

func init() {
	ctx := context.Background()
	type op = struct {
		before func(*Tree) error
		run    func(*Tree) error
		points int
	}
	maps.Copy(crashOps, map[string]struct {
		before func(*Tree) error
		run    func(*Tree) error
		points int
	}{
		"trash": op{func(p *Tree) error {
			err := makeInstance(p)
			return errors.Join(err, nest(p.InstancePath("c1")), snapshot(p, "s1"))
		}, func(p *Tree) error { return p.TrashInstance(ctx, "c1") }, 8},
		"trash image": op{
			func(p *Tree) error { return importImage(p, fingerprint) },
			func(p *Tree) error { return p.TrashImage(ctx, fingerprint) }, 9,
		},
		"trash snapshot": op{
			func(p *Tree) error { return errors.Join(makeInstance(p), snapshot(p, "s1")) },
			func(p *Tree) error { return p.TrashSnapshot(ctx, "c1", "s1") }, 10,
		},
		"trash volume":          op{fullVolume, func(p *Tree) error { return p.TrashVolume(ctx, "v 1") }, 9},
		"trash volume snapshot": op{fullVolume, func(p *Tree) error { return p.TrashVolumeSnapshot(ctx, "v 1", "s1") }, 10},
		"undelete":              op{trashedInstance, func(p *Tree) error { return undeleteAll(p, "c2") }, 9},
		"undelete image": op{
			func(p *Tree) error {
				return errors.Join(importImage(p, fingerprint), p.TrashImage(ctx, fingerprint))
			},
			func(p *Tree) error { return undeleteAll(p, "") }, 8,
		},
		"undelete snapshot": op{
			func(p *Tree) error {
				return errors.Join(makeInstance(p), snapshot(p, "s1"), p.TrashSnapshot(ctx, "c1", "s1"))
			},
			func(p *Tree) error { return undeleteAll(p, "c1/s2") }, 9,
		},
		"undelete volume": op{
			func(p *Tree) error { return errors.Join(fullVolume(p), p.TrashVolume(ctx, "v 1")) },
			func(p *Tree) error { return undeleteAll(p, "v2") }, 9,
		},
		"undelete volume snapshot": op{
			func(p *Tree) error {
				return errors.Join(fullVolume(p), p.TrashVolumeSnapshot(ctx, "v 1", "s1"))
			},
			func(p *Tree) error { return undeleteAll(p, "") }, 10,
		},
		"trash empty": op{trashedInstance, func(p *Tree) error {
			all, err := p.Trash()
			for _, it := range all {
				err = errors.Join(err, p.EmptyTrash(ctx, it.ID))
			}
			return err
		}, 6},
	})
}

// onlyTrashed is what is in the trash, if it is one thing.
func onlyTrashed(t *testing.T, p *testPool) Trashed {
	t.Helper()
	all, err := p.Trash()
	must(t, err)
	if len(all) != 1 {
		t.Fatalf("in the trash: %+v", all)
	}
	return all[0]
}

// TestTrash checks that each kind of thing is away when it is in the trash, is listed there, and comes back as it was.
func TestTrash(t *testing.T) {
	p := newPool(t)
	must(t, makeInstance(p.Tree), nest(p.InstancePath("c1")), snapshot(p.Tree, "s1"), fullVolume(p.Tree))
	at := time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC)
	must(t, p.CreateSnapshot(t.Context(), "c1", "s2", SnapshotOptions{ExpiresAt: at}), setMark(p.Tree, "c1", "later"))
	for _, kind := range []struct {
		trash func() error
		gone  string
		want  Trashed
	}{
		{func() error { return p.TrashInstance(t.Context(), "c1") }, "containers/c1", Trashed{Type: TypeInstance, Name: "c1", Snapshots: 2}},
		{func() error { return p.TrashSnapshot(t.Context(), "c1", "s2") }, "containers-snapshots/c1/s2", Trashed{Type: TypeInstanceSnapshot, Name: "c1/s2"}},
		{func() error { return p.TrashVolume(t.Context(), "v 1") }, "custom/default_v 1", Trashed{Type: TypeVolume, Name: "v 1", Snapshots: 2}},
		{func() error { return p.TrashVolumeSnapshot(t.Context(), "v 1", "s1") }, "custom-snapshots/default_v 1/s1", Trashed{Type: TypeVolumeSnapshot, Name: "v 1/s1"}},
		{func() error { return p.TrashImage(t.Context(), fingerprint) }, "images/" + fingerprint, Trashed{Type: TypeImage, Name: fingerprint, Aliases: []string{"test/1"}}},
	} {
		before := dump(t, p.Tree)
		began := time.Now()
		must(t, kind.trash())
		if there, err := exists(filepath.Join(p.mnt, kind.gone)); there || err != nil {
			t.Errorf("%s is still there: %v", kind.gone, err)
		}
		it := onlyTrashed(t, p)
		if it.DeletedAt.Before(began) || it.DeletedAt.After(time.Now()) {
			t.Errorf("%s deleted at %s", kind.gone, it.DeletedAt)
		}
		id := it.ID
		it.ID, it.DeletedAt = "", time.Time{}
		if diff := cmp.Diff(kind.want, it); diff != "" {
			t.Error(diff)
		}
		if err := kind.trash(); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s deleted again: %v", kind.gone, err)
		}
		must(t, p.Undelete(t.Context(), id, UndeleteOptions{}))
		if diff := cmp.Diff(before, dump(t, p.Tree)); diff != "" {
			t.Errorf("%s undeleted:\n%s", kind.gone, diff)
		}
		if all, err := p.Trash(); len(all) != 0 || err != nil {
			t.Errorf("still in the trash: %+v, %v", all, err)
		}
	}
	in, err := p.Instance("c1")
	if err != nil || len(in.Snapshots) != 2 || !in.Snapshots[1].ExpiresAt.Equal(at) {
		t.Errorf("snapshots after that: %+v, %v", in.Snapshots, err)
	}
	if v, err := p.Volume("v 1"); err != nil || len(v.Snapshots) != 2 || v.Snapshots[0].Description != "snapshot s1" {
		t.Errorf("volume after that: %+v, %v", v, err)
	}
}

// TestTrashRefuses checks names that are taken, owners that are gone, and what is in the trash but nothing that was deleted.
func TestTrashRefuses(t *testing.T) {
	p := newPool(t)
	must(t, trashedInstance(p.Tree), p.CreateInstance(t.Context(), newInstance("c1"), fingerprint))
	id := onlyTrashed(t, p).ID
	before := dump(t, p.Tree)
	for _, o := range []struct {
		name string
		want error
	}{{"", fs.ErrExist}, {"c1", fs.ErrExist}, {"a/b", ErrInvalidName}, {"..", ErrInvalidName}} {
		if err := p.Undelete(t.Context(), id, UndeleteOptions{Name: o.name}); !errors.Is(err, o.want) {
			t.Errorf("undeleted as %q: %v", o.name, err)
		}
	}
	refused := errors.New("refused")
	err := p.Undelete(t.Context(), id, UndeleteOptions{Name: "c2", Instance: func(*Instance) error { return refused }})
	if !errors.Is(err, refused) {
		t.Error(err)
	}
	if diff := cmp.Diff(before, dump(t, p.Tree)); diff != "" {
		t.Error(diff)
	}
	must(t, p.Undelete(t.Context(), id, UndeleteOptions{Name: "c2"}))
	in, err := p.Instance("c2")
	raw, rerr := os.ReadFile(p.InstancePath("c2") + "/backup.yaml")
	if err != nil || rerr != nil || len(in.Snapshots) != 1 || !strings.Contains(string(raw), `"name":"c2"`) {
		t.Errorf("%+v, %v, %v\n%s", in, err, rerr, raw)
	}
	must(t, snapshot(p.Tree, "s1"), p.TrashSnapshot(t.Context(), "c1", "s1"), p.DeleteInstance(t.Context(), "c1"))
	it := onlyTrashed(t, p)
	if err := p.Undelete(t.Context(), it.ID, UndeleteOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a snapshot of what is gone: %v", err)
	}
	must(t, p.Undelete(t.Context(), it.ID, UndeleteOptions{Name: "c2/s9"}))
	if in, err = p.Instance("c2"); err != nil || len(in.Snapshots) != 2 {
		t.Errorf("%+v, %v", in.Snapshots, err)
	}
	if err := p.EmptyTrash(t.Context(), it.ID); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("emptied what is not there: %v", err)
	}
}

// TestTrashOfAnybody checks what a pool may have in its trash that poolctl did not put there.
func TestTrashOfAnybody(t *testing.T) {
	p := newPool(t)
	trash, outside := filepath.Join(p.mnt, dirOwn, dirTrash), t.TempDir()
	must(t, os.MkdirAll(outside+"/c1/rootfs", 0o755))
	for _, dir := range []string{"can-1-0-00/containers/a", "can-2-0-00/containers", "can-3-0-00/containers-snapshots/a", "can-4-0-00/images/short", "mine"} {
		must(t, os.MkdirAll(filepath.Join(trash, dir), 0o755))
	}
	must(t, os.Mkdir(trash+"/can-5-0-00", 0o755), os.Symlink(outside, trash+"/can-5-0-00/containers"), os.WriteFile(trash+"/file", nil, 0o600))
	must(t, os.MkdirAll(trash+"/can-6-0-00/containers", 0o755), os.Symlink(outside+"/c1", trash+"/can-6-0-00/containers/c1"))
	must(t, os.MkdirAll(outside+"/can/containers/c1", 0o755), os.Symlink(outside+"/can", trash+"/can-7-0-00"))
	must(t, os.MkdirAll(trash+"/can-8-1-00/containers/b", 0o755), os.Symlink(outside, trash+"/can-8-1-00/containers-snapshots"))
	must(t, os.MkdirAll(trash+"/can-9-1-00/containers/b", 0o755), os.Mkdir(trash+"/can-9-1-00/containers-snapshots", 0o755))
	must(t, os.Symlink(outside, trash+"/can-9-1-00/containers-snapshots/b"))
	all, err := p.Trash()
	must(t, err)
	var got []string
	for _, it := range all {
		got = append(got, fmt.Sprint(it.ID, " ", it.Name, " ", it.Broken == nil))
		if it.Broken != nil {
			if err := p.Undelete(t.Context(), it.ID, UndeleteOptions{}); err == nil {
				t.Errorf("%s was undeleted", it.ID)
			}
		}
	}
	slices.Sort(got)
	want := []string{"can-1-0-00 a true", "can-2-0-00  false", "can-3-0-00  false", "can-4-0-00  false", "can-5-0-00  false", "can-6-0-00  false", "can-7-0-00  false", "can-8-1-00  false", "can-9-1-00  false", "file  false", "mine  false"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, it := range all {
		must(t, p.EmptyTrash(t.Context(), it.ID))
	}
	for _, dir := range []string{"/c1/rootfs", "/can/containers/c1"} {
		if _, err := os.Stat(outside + dir); err != nil {
			t.Error(err)
		}
	}
	checkEmpty(t, p)
}

// TestTrashInFullPool fills a pool to the last block: deletions work as long as the kernel has room for a rename, the trash can
// be emptied in any case, and what was in it is free then.
func TestTrashInFullPool(t *testing.T) {
	p := newPool(t)
	must(t, makeInstance(p.Tree), os.WriteFile(p.InstancePath("c1")+"/rootfs/data", make([]byte, 32<<20), 0o600), snapshot(p.Tree, "s1"))
	must(t, btrfs.Sync(p.mnt), fillUp(p.mnt))
	if err := p.TrashInstance(t.Context(), "c1"); err != nil {
		t.Fatal(err)
	}
	must(t, p.Recover(t.Context()))
	must(t, p.EmptyTrash(t.Context(), onlyTrashed(t, p).ID), btrfs.WaitDeleted(t.Context(), p.mnt), btrfs.Sync(p.mnt))
	usage, err := btrfs.GetUsage(p.mnt)
	if err != nil || usage.Free < 16<<20 {
		t.Errorf("free: %d, %v", usage.Free, err)
	}
	checkQgroups(t, p.Tree)
}

// fillUp writes a file into dir until there is no room.
func fillUp(dir string) error {
	f, err := os.CreateTemp(dir, "full")
	if err != nil {
		return err
	}
	block := make([]byte, 1<<20)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for len(block) > 1<<10 {
		if _, err := f.Write(block); err != nil {
			block = block[:len(block)/2]
		}
		if err := f.Sync(); err != nil {
			block = block[:len(block)/2]
		}
	}
	return f.Close()
}

// TestTrashAtOnce checks that an instance with 100 snapshots is away in no time.
func TestTrashAtOnce(t *testing.T) {
	p := newPool(t)
	must(t, makeInstance(p.Tree))
	for i := range 100 {
		must(t, snapshot(p.Tree, fmt.Sprint("s", i)))
	}
	began := time.Now()
	must(t, p.TrashInstance(t.Context(), "c1"))
	if took := time.Since(began); took > 100*time.Millisecond {
		t.Errorf("it took %s", took)
	}
	if it := onlyTrashed(t, p); it.Snapshots != 100 {
		t.Errorf("%+v", it)
	}
}
