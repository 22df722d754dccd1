package tree

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"poolctl/btrfs"
)

func testVolume(name string) Volume {
	return Volume{
		Name: name, Description: "of " + name, Config: map[string]string{"user.v": "1"},
		CreatedAt: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
	}
}

func makeVolume(p *Tree) error {
	return p.CreateVolume(context.Background(), testVolume("v 1"), func(path string) error {
		return os.WriteFile(path+"/mark", []byte("first"), 0o600)
	})
}

func markVolume(p *Tree, name, text string) error {
	return os.WriteFile(p.VolumePath(name)+"/mark", []byte(text), 0o600)
}

// nestVolume puts a subvolume with a file, and a read-only one inside it, into a volume; there are spaces in the names.
func nestVolume(p *Tree, name string) error {
	dir := p.VolumePath(name)
	return errors.Join(
		os.Mkdir(dir+"/d d", 0o755), btrfs.CreateSubvolume(dir+"/d d/a b"), os.WriteFile(dir+"/d d/a b/file", []byte("nested"), 0o644),
		btrfs.CreateSubvolume(dir+"/d d/a b/ c "), btrfs.SetReadOnly(dir+"/d d/a b/ c ", true),
	)
}

func snapVolume(p *Tree, name, snap string) error {
	return p.CreateVolumeSnapshot(context.Background(), name, VolumeSnapshot{
		Name: snap, Description: "snapshot " + snap, CreatedAt: time.Now().UTC(), ExpiresAt: time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC),
	})
}

// fullVolume is a volume with nested subvolumes and two snapshots.
func fullVolume(p *Tree) error {
	return errors.Join(makeVolume(p), nestVolume(p, "v 1"), snapVolume(p, "v 1", "s1"), markVolume(p, "v 1", "second"),
		snapVolume(p, "v 1", "s2"), markVolume(p, "v 1", "third"))
}

func copyVolume(p *Tree, name string, from Source) error {
	v := testVolume(name)
	if from.Snapshots {
		source, err := p.Volume(from.Name)
		if err != nil {
			return err
		}
		v.Snapshots = source.Snapshots
	}
	return p.CopyVolume(context.Background(), v, from, nil)
}

// twoVolumes are a full volume, and a copy of it that went other ways.
func twoVolumes(p *Tree) error {
	return errors.Join(fullVolume(p), copyVolume(p, "v2", Source{Name: "v 1", Snapshots: true}), markVolume(p, "v2", "other"),
		snapVolume(p, "v2", "own"), p.DeleteVolumeSnapshot(context.Background(), "v2", "s1"))
}

// refreshVolume has v2 become what from names.
func refreshVolume(p *Tree, from Source) error {
	v, err := p.Volume("v2")
	if err != nil {
		return err
	}
	if v.Snapshots = nil; from.Snapshots {
		source, err := p.Volume(from.Name)
		if err != nil {
			return err
		}
		v.Snapshots = source.Snapshots
	}
	return p.RefreshVolume(context.Background(), v, from, nil)
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
		"volume create":        op{func(*Tree) error { return nil }, makeVolume, 9},
		"volume copy":          op{fullVolume, func(p *Tree) error { return copyVolume(p, "v2", Source{Name: "v 1", Snapshots: true}) }, 10},
		"volume delete":        op{makeVolume, func(p *Tree) error { return p.DeleteVolume(ctx, "v 1") }, 6},
		"volume delete nested": op{fullVolume, func(p *Tree) error { return p.DeleteVolume(ctx, "v 1") }, 7},
		"volume rename":        op{fullVolume, func(p *Tree) error { return p.RenameVolume(ctx, "v 1", "v2") }, 7},
		"volume replace":       op{twoVolumes, func(p *Tree) error { return refreshVolume(p, Source{Name: "v 1", Snapshots: true}) }, 10},
		"volume replace keep":  op{twoVolumes, func(p *Tree) error { return refreshVolume(p, Source{Name: "v 1"}) }, 8},
		"volume restore":       op{fullVolume, func(p *Tree) error { return p.RestoreVolume(ctx, "v 1", "s1", nil) }, 6},
		"volume restore keeping": op{fullVolume, func(p *Tree) error {
			return p.KeepVolume(ctx, "v 1", "kept", func() error { return snapVolume(p, "v 1", "kept") },
				func() error { return p.RestoreVolume(ctx, "v 1", "s1", nil) })
		}, 16},
		"volume snapshot replace": op{fullVolume, func(p *Tree) error {
			return p.ReplaceVolumeSnapshot(ctx, "v 1", VolumeSnapshot{Name: "s1", Description: "new"})
		}, 26},
		"volume snapshot": op{makeVolume, func(p *Tree) error { return snapVolume(p, "v 1", "s1") }, 6},
		"volume snapshot nested": op{
			func(p *Tree) error { return errors.Join(makeVolume(p), nestVolume(p, "v 1")) },
			func(p *Tree) error { return snapVolume(p, "v 1", "s1") }, 9,
		},
		"volume snapshot rename": op{fullVolume, func(p *Tree) error { return p.RenameVolumeSnapshot("v 1", "s1", "s3") }, 4},
		"volume snapshot delete": op{fullVolume, func(p *Tree) error { return p.DeleteVolumeSnapshot(ctx, "v 1", "s1") }, 6},
		"volume update": op{makeVolume, func(p *Tree) error {
			_, err := p.UpdateVolume("v 1", func(v *Volume) error { v.Config["user.v"] = "2"; return nil })
			return err
		}, 1},
	})
}

func TestVolumes(t *testing.T) {
	p := newPool(t)
	must(t, fullVolume(p.Tree))
	if err := makeVolume(p.Tree); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second volume of that name: %v", err)
	}
	info, err := os.Stat(p.VolumePath("v 1"))
	must(t, err)
	if info.Mode().Perm() != 0o711 {
		t.Errorf("mode %v", info.Mode())
	}
	v, err := p.Volume("v 1")
	must(t, err)
	if want := testVolume("v 1"); v.Description != want.Description || v.Config["user.v"] != "1" || !v.CreatedAt.Equal(want.CreatedAt) || v.Project != "default" {
		t.Errorf("%+v", v)
	}
	if len(v.Snapshots) != 2 || v.Snapshots[0].Name != "s1" || v.Snapshots[1].Description != "snapshot s2" || v.Snapshots[0].ExpiresAt.Year() != 2099 {
		t.Errorf("%+v", v.Snapshots)
	}
	must(t, p.RestoreVolume(t.Context(), "v 1", "s1", nil))
	checkVolumeFile(t, p.VolumePath("v 1")+"/mark", "first")
	checkVolumeFile(t, p.VolumePath("v 1")+"/d d/a b/file", "nested")
	must(t, p.RenameVolumeSnapshot("v 1", "s1", "old"), p.RenameVolume(t.Context(), "v 1", "ü.x"), p.DeleteVolumeSnapshot(t.Context(), "ü.x", "s2"))
	v, err = p.Volume("ü.x")
	must(t, err)
	if len(v.Snapshots) != 1 || v.Snapshots[0].Name != "old" || v.Snapshots[0].Description != "snapshot s1" || v.Config["user.v"] != "1" {
		t.Errorf("renamed: %+v", v)
	}
	if _, err := p.Volume("v 1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
	must(t, p.DeleteVolume(t.Context(), "ü.x"))
	checkNoVolumes(t, p)
}

func checkVolumeFile(t *testing.T, path, want string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil || string(raw) != want {
		t.Errorf("%s: %q, %v; want %q", path, raw, err, want)
	}
}

func checkNoVolumes(t *testing.T, p *testPool) {
	t.Helper()
	for _, dir := range []string{dirCustom, dirCustomSnapshots, dirOwn + "/" + dirVolumeRecords, dirOwn + "/staging"} {
		if left, err := os.ReadDir(p.mnt + "/" + dir); len(left) != 0 || err != nil {
			t.Errorf("left in %s: %v, %v", dir, left, err)
		}
	}
}

func TestVolumeCopies(t *testing.T) {
	p := newPool(t)
	must(t, fullVolume(p.Tree))
	must(t, copyVolume(p.Tree, "all", Source{Name: "v 1", Snapshots: true}), copyVolume(p.Tree, "now", Source{Name: "v 1"}),
		copyVolume(p.Tree, "then", Source{Name: "v 1", Snapshot: "s1"}))
	for name, want := range map[string]string{"all": "third", "now": "third", "then": "first"} {
		checkVolumeFile(t, p.VolumePath(name)+"/mark", want)
		checkVolumeFile(t, p.VolumePath(name)+"/d d/a b/file", "nested")
		if ro, err := btrfs.IsReadOnly(p.VolumePath(name)); ro || err != nil {
			t.Errorf("%s: read-only=%v, %v", name, ro, err)
		}
	}
	v, err := p.Volume("all")
	must(t, err)
	if len(v.Snapshots) != 2 || v.Snapshots[0].ExpiresAt.Year() != 2099 {
		t.Errorf("%+v", v.Snapshots)
	}
	must(t, p.RestoreVolume(t.Context(), "all", "s2", nil))
	checkVolumeFile(t, p.VolumePath("all")+"/mark", "second")
	for from, want := range map[Source]error{{Name: "none"}: fs.ErrNotExist, {Name: "v 1", Snapshot: "none"}: fs.ErrNotExist, {Name: "../x"}: fs.ErrNotExist} {
		if err := copyVolume(p.Tree, "bad", from); !errors.Is(err, want) {
			t.Errorf("%+v: %v", from, err)
		}
	}
	for _, name := range []string{"all", "now", "then", "v 1"} {
		must(t, p.DeleteVolume(t.Context(), name))
	}
	checkNoVolumes(t, p)
}

// TestForeignVolumes: volumes that LXD made have no record, and may be of other projects.
func TestForeignVolumes(t *testing.T) {
	p := newPool(t)
	for _, dir := range []string{"custom/default_vol", "custom/proj_other", "custom-snapshots/default_vol/snap0"} {
		must(t, os.MkdirAll(p.mnt+"/"+dir[:strings.LastIndex(dir, "/")], 0o700), btrfs.CreateSubvolume(p.mnt+"/"+dir))
	}
	must(t, os.Mkdir(p.mnt+"/custom/default_dir", 0o700), os.RemoveAll(p.volumeRecords()))
	all, err := p.Volumes(t.Context())
	must(t, err)
	if len(all) != 2 || all[0].Name != "vol" || all[1].Project != "proj" || all[1].Name != "other" || all[0].CreatedAt.IsZero() {
		t.Fatalf("%+v", all)
	}
	if s := all[0].Snapshots; len(s) != 1 || s[0].Name != "snap0" || s[0].CreatedAt.IsZero() {
		t.Errorf("%+v", s)
	}
	_, err = p.UpdateVolume("vol", func(v *Volume) error { v.Config["user.x"] = "y"; return nil })
	must(t, err)
	must(t, p.RenameVolume(t.Context(), "vol", "vol2"))
	if v, err := p.Volume("vol2"); err != nil || v.Config["user.x"] != "y" || len(v.Snapshots) != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	if err := p.RenameVolume(t.Context(), "vol2", "dir"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("renamed over a directory: %v", err)
	}
	must(t, p.DeleteVolume(t.Context(), "vol2"))
}

// TestBrokenVolume: a damaged record keeps nobody from the data.
func TestBrokenVolume(t *testing.T) {
	p := newPool(t)
	must(t, fullVolume(p.Tree), os.WriteFile(p.volumeRecordPath(volumeDir("v 1")), []byte("{"), 0o600))
	v, err := p.Volume("v 1")
	if err != nil || v.Broken == nil || len(v.Snapshots) != 2 {
		t.Fatalf("%+v, %v", v, err)
	}
	if _, err := p.UpdateVolume("v 1", func(*Volume) error { return nil }); err == nil {
		t.Error("updated what cannot be read")
	}
	if err := snapVolume(p.Tree, "v 1", "s3"); err == nil {
		t.Error("a snapshot whose expiry is nowhere")
	}
	must(t, p.RestoreVolume(t.Context(), "v 1", "s1", nil), p.DeleteVolumeSnapshot(t.Context(), "v 1", "s1"), p.DeleteVolume(t.Context(), "v 1"))
	checkNoVolumes(t, p)
}

func TestVolumeNames(t *testing.T) {
	for _, name := range []string{"v", "a b", "a.b_c-d", "ü", "0", strings.Repeat("x", 64), strings.Repeat("x", maxVolumeName), "default_x"} {
		if err := ValidateVolumeName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "a/b", `a\b`, ".", "..", "-x", " x", "x ", "a\nb", "a\tb", "a\x00b", "\xff", strings.Repeat("x", maxVolumeName+1)} {
		if err := ValidateVolumeName(name); !errors.Is(err, ErrInvalidName) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestVolumeUndone: what fails leaves nothing.
func TestVolumeUndone(t *testing.T) {
	p := newPool(t)
	ctx, cancel := context.WithCancel(t.Context())
	must(t, fullVolume(p.Tree))
	before := dump(t, p.Tree)
	cancel()
	for what, err := range map[string]error{
		"create":  p.CreateVolume(ctx, testVolume("v2"), nil),
		"setup":   p.CreateVolume(t.Context(), testVolume("v2"), func(string) error { return os.ErrPermission }),
		"copy":    p.CopyVolume(ctx, testVolume("v2"), Source{Name: "v 1"}, nil),
		"restore": p.RestoreVolume(ctx, "v 1", "s1", nil),
		"rename":  p.RenameVolume(ctx, "v 1", "v2"),
		"made":    p.RestoreVolume(t.Context(), "v 1", "s1", func(string) error { return os.ErrPermission }),
		"kept": p.KeepVolume(t.Context(), "v 1", "kept", func() error { return snapVolume(p.Tree, "v 1", "kept") },
			func() error { return p.RestoreVolume(ctx, "v 1", "s1", nil) }),
	} {
		if err == nil {
			t.Errorf("%s: no error", what)
		}
	}
	if after := dump(t, p.Tree); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

func FuzzVolumeRecord(f *testing.F) {
	raw, err := encodeVolumeRecord(volumeRecord{Description: "d", Config: map[string]string{"a": "b"}, Snapshots: []VolumeSnapshot{{Name: "s"}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte(`{"snapshots":[null,{"config":null}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		rec, err := decodeVolumeRecord(raw)
		if err != nil {
			return
		}
		again, err := encodeVolumeRecord(rec)
		if err != nil {
			return // a year that JSON has no form for
		}
		if got, err := decodeVolumeRecord(again); err != nil || got.Description != rec.Description || len(got.Snapshots) != len(rec.Snapshots) || !slices.Equal(slices.Sorted(maps.Keys(got.Config)), slices.Sorted(maps.Keys(rec.Config))) {
			t.Errorf("%+v, %v; want %+v", got, err, rec)
		}
	})
}
