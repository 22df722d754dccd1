package pool

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/tree"
)

// ok fails the test for the first of the errors.
func ok(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func createVolume(t *testing.T, s *System, pool, name string, config map[string]string) {
	t.Helper()
	ok(t, s.CreateVolume(t.Context(), CreateVolumeOptions{Pool: pool, Name: name, Description: "about " + name, Config: config}))
}

// inside is a path in a custom volume.
func (s *System) volumeFile(pool, volume, file string) string {
	return filepath.Join(s.dir.MountPoint(pool), "custom", "default_"+volume, file)
}

// fillVolume puts all sorts of things into a volume: owners, modes, attributes, links, holes, devices, nested subvolumes.
func fillVolume(t *testing.T, s *System, pool, volume string) {
	t.Helper()
	at := func(name string) string { return s.volumeFile(pool, volume, name) }
	ok(t,
		os.Mkdir(at("dir with space"), 0o750), os.WriteFile(at("dir with space/file"), []byte("content"), 0o640), os.Chown(at("dir with space/file"), 1000, 1001),
		os.Link(at("dir with space/file"), at("hard")), os.Symlink("/etc/passwd", at("sym")), os.Lchown(at("sym"), 5, 6), os.Symlink("dir with space", at("dirlink")),
		unix.Mkfifo(at("fifo"), 0o600), unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))),
		os.WriteFile(at("suid"), []byte("x"), 0o755), unix.Chmod(at("suid"), 0o4755), os.WriteFile(at("caps"), []byte("x"), 0o755),
		unix.Setxattr(at("caps"), "security.capability", []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0),
		unix.Setxattr(at("hard"), "user.note", []byte("a\x00b"), 0),
		unix.Setxattr(at("dir with space"), "system.posix_acl_default", []byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x04\x00\x05\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff"), 0),
		os.WriteFile(at("sparse"), []byte("begin"), 0o600), os.Truncate(at("sparse"), 8<<20), os.WriteFile(at(strings.Repeat("n", 255)), nil, 0o600),
		os.Chtimes(at("suid"), time.Unix(1e9, 5), time.Unix(1e9, 5)),
		btrfs.CreateSubvolume(at("dir with space/sub vol")), os.WriteFile(at("dir with space/sub vol/f-f"), []byte("nested"), 0o600),
		btrfs.CreateSubvolume(at("dir with space/sub vol/deep-er")), os.WriteFile(at("dir with space/sub vol/deep-er/g"), []byte("deep"), 0o600),
		btrfs.SetReadOnly(at("dir with space/sub vol/deep-er"), true),
	)
}

// describe lists everything below a directory with its metadata.
func describe(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("bash", "-c", `cd "$0" && find . -not -type d -printf '%P|%y|%m|%U:%G|%s|%T@|%l|%n\n' -o -type d -printf '%P|%y|%m|%U:%G\n' | LC_ALL=C sort && find . -type f -exec sha256sum {} + | LC_ALL=C sort -k2 && getfattr -Rhd -m- -e hex . 2>/dev/null | LC_ALL=C sort`, dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestVolumeLife(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	createVolume(t, s, "p1", "v", map[string]string{"user.a": "b", "snapshots.expiry": "3d", "initial.uid": "7", "initial.mode": "02750"})
	v, err := s.Volume(ctx, "p1", "custom/v")
	ok(t, err)
	if v.Type != "custom" || v.Description != "about v" || v.Config["user.a"] != "b" || v.Config[volatileUUID] == "" || v.ContentType != "filesystem" || len(v.UsedBy) != 0 {
		t.Errorf("%+v", v)
	}
	var st unix.Stat_t
	if ok(t, unix.Stat(s.volumeFile("p1", "v", ""), &st)); st.Uid != 7 || st.Mode&0o7777 != 0o2750 {
		t.Errorf("owner %d, mode %o", st.Uid, st.Mode)
	}
	fillVolume(t, s, "p1", "v")
	name, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p1", Volume: "v"})
	if ok(t, err); name != "snap0" {
		t.Errorf("the first snapshot is called %s", name)
	}
	sn, err := s.VolumeSnapshot(ctx, "p1", "v", "snap0")
	if ok(t, err); sn.ExpiresAt == nil || time.Until(*sn.ExpiresAt) < 71*time.Hour || sn.Config["user.a"] != "b" {
		t.Errorf("%+v", sn)
	}
	before := describe(t, s.volumeFile("p1", "v", ""))
	ok(t, os.RemoveAll(s.volumeFile("p1", "v", "hard")), os.WriteFile(s.volumeFile("p1", "v", "new"), nil, 0o600))
	ok(t, s.RestoreVolume(ctx, RestoreVolumeOptions{Pool: "p1", Volume: "v", Snapshot: "snap0"}))
	if after := describe(t, s.volumeFile("p1", "v", "")); after != before {
		t.Errorf("restored:\n%s\nwas:\n%s", after, before)
	}
	for _, sn := range []string{"snap0", "snap1"} { // the second is what the first replaces
		ok(t, os.WriteFile(s.volumeFile("p1", "v", "mark"), []byte(sn), 0o600))
		ok(t, s.RestoreVolume(ctx, RestoreVolumeOptions{Pool: "p1", Volume: "v", Snapshot: sn, Keep: true}))
	}
	if mark, err := os.ReadFile(s.volumeFile("p1", "v", "mark")); string(mark) != "snap0" || err != nil {
		t.Errorf("what was kept has %q, %v", mark, err)
	}
	if sn, err := s.VolumeSnapshot(ctx, "p1", "v", "snap2"); err != nil || sn.ExpiresAt != nil {
		t.Errorf("what was kept expires: %+v, %v", sn, err)
	}
	ok(t, s.RestoreVolume(ctx, RestoreVolumeOptions{Pool: "p1", Volume: "v", Snapshot: "snap0"}),
		s.DeleteVolumeSnapshot(ctx, "p1", "v", "snap1"), s.DeleteVolumeSnapshot(ctx, "p1", "v", "snap2"))
	ok(t, s.UpdateVolume(ctx, "p1", "v", func(p *VolumePut) error { p.Config["user.a"], p.Description = "", "new"; return nil }))
	if v, err = s.Volume(ctx, "p1", "v"); err != nil || v.Description != "new" || v.Config["user.a"] != "" {
		t.Errorf("%+v, %v", v, err)
	}
	ok(t, s.RenameVolume(ctx, "p1", "v", "w x"), s.RenameVolumeSnapshot(ctx, "p1", "w x", "snap0", "kept"))
	info, err := s.VolumeInfo(ctx, "p1", "w x")
	if ok(t, err); len(info.Snapshots) != 1 || info.Snapshots[0].Name != "kept" || info.Used == 0 {
		t.Errorf("%+v", info)
	}
	if err := s.DeletePool(ctx, "p1", false); !errors.Is(err, ErrInUse) {
		t.Errorf("a pool with a volume was deleted: %v", err)
	}
	ok(t, s.DeleteVolume(ctx, "p1", "w x"))
	if all, err := s.Volumes(ctx, "p1", true); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestVolumeRefuses(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	createVolume(t, s, "p1", "v", nil)
	for what, o := range map[string]CreateVolumeOptions{
		"slash": {Name: "a/b"}, "dots": {Name: ".."}, "empty": {}, "newline": {Name: "a\nb"}, "long": {Name: strings.Repeat("x", 300)},
		"taken": {Name: "v"}, "block": {Name: "b", ContentType: "block"}, "unknown key": {Name: "k", Config: map[string]string{"sise": "1"}},
		"bad size": {Name: "k", Config: map[string]string{"size": "much"}}, "bad expiry": {Name: "k", Config: map[string]string{"snapshots.expiry": "soon"}},
		"bad pattern": {Name: "k", Config: map[string]string{"snapshots.pattern": "{% include \"/etc/passwd\" %}"}}, "bad mode": {Name: "k", Config: map[string]string{"initial.mode": "9"}},
		"both": {Name: "k", Config: map[string]string{"security.shifted": "true", "security.unmapped": "true"}}, "block key": {Name: "k", Config: map[string]string{"block.filesystem": "ext4"}},
	} {
		o.Pool = "p1"
		if err := s.CreateVolume(ctx, o); err == nil {
			t.Errorf("%s: it was created", what)
		}
	}
	if err := s.CreateVolume(ctx, CreateVolumeOptions{Pool: "none", Name: "v"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such pool: %v", err)
	}
	for what, err := range map[string]error{
		"delete":   s.DeleteVolume(ctx, "p1", "none"),
		"rename":   s.RenameVolume(ctx, "p1", "none", "x"),
		"restore":  s.RestoreVolume(ctx, RestoreVolumeOptions{Pool: "p1", Volume: "v", Snapshot: "none"}),
		"snapshot": s.DeleteVolumeSnapshot(ctx, "p1", "v", "none"),
		"show":     func() error { _, err := s.Volume(ctx, "p1", "../v"); return err }(),
		"copy":     s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p1", Volume: "v", Snapshot: "none", ToPool: "p1", Name: "c"}),
		"attach":   s.AttachVolume(ctx, AttachVolumeOptions{Pool: "p1", Volume: "none", Target: "c1", Path: "/x"}),
		"profile":  s.AttachVolumeProfile(ctx, AttachVolumeOptions{Pool: "p1", Volume: "v", Target: "none", Path: "/x"}),
	} {
		if !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := s.UpdateVolume(ctx, "p1", "v", func(p *VolumePut) error { p.Config["initial.uid"] = "5"; return nil }); err == nil {
		t.Error("initial.uid was changed")
	}
	if all, err := s.Volumes(ctx, "p1", true); err != nil || len(all) != 1 {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestVolumeExpiry(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	createVolume(t, s, "p1", "v", map[string]string{"snapshots.pattern": `at-{{ creation_date|date:"2006" }}-%d`})
	take := func(o VolumeSnapshotOptions) string {
		t.Helper()
		o.Pool, o.Volume = "p1", "v"
		name, err := s.CreateVolumeSnapshot(ctx, o)
		ok(t, err)
		return name
	}
	year := time.Now().UTC().Format("2006")
	for i := range 3 {
		if got := take(VolumeSnapshotOptions{}); got != "at-"+year+"-"+string(rune('0'+i)) {
			t.Errorf("snapshot %d is called %s", i, got)
		}
	}
	take(VolumeSnapshotOptions{Name: "gone", Expiry: "1M"})
	take(VolumeSnapshotOptions{Name: "kept", Expiry: "2099-01-01"})
	past := time.Now().Add(-time.Hour)
	expire := func() {
		t.Helper()
		ok(t, s.UpdateVolumeSnapshot(ctx, "p1", "v", "gone", func(p *VolumePut) error { p.ExpiresAt = &past; return nil }))
	}
	expire()
	all, err := s.VolumeSnapshots(ctx, "p1", "v")
	if ok(t, err); slices.ContainsFunc(all, func(sn VolumeSnapshot) bool { return sn.Name == "gone" }) || len(all) != 4 {
		t.Errorf("%+v", all)
	}
	take(VolumeSnapshotOptions{Name: "gone"})
	expire()
	if gone, err := s.ExpireSnapshots(ctx); err != nil || !slices.Equal(gone, []string{"p1/v/gone"}) {
		t.Errorf("%v, %v", gone, err)
	}
	for _, bad := range []string{"yesterday", "2001-01-01", "3x"} {
		if _, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p1", Volume: "v", Expiry: bad}); err == nil {
			t.Errorf("expiry %q", bad)
		}
	}
	ok(t, os.WriteFile(s.volumeFile("p1", "v", "mark"), []byte("new"), 0o600))
	take(VolumeSnapshotOptions{Name: "kept", Reuse: true})
	path, err := s.peekSnapshot(t, "p1", "v", "kept")
	ok(t, err)
	if got, err := os.ReadFile(path + "/mark"); string(got) != "new" {
		t.Errorf("the reused snapshot is the old one: %q, %v", got, err)
	}
	if _, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p1", Volume: "v", Name: "kept"}); !errors.Is(err, ErrExists) {
		t.Errorf("a name that is taken: %v", err)
	}
}

func (s *System) peekSnapshot(t *testing.T, pool, volume, snap string) (string, error) {
	t.Helper()
	p, err := s.openPool(t.Context(), pool)
	ok(t, err)
	defer func() { _ = p.close() }()
	return p.VolumeSnapshotPath(volume, snap)
}

// twoStates is a volume with a snapshot that differs from it.
func twoStates(t *testing.T, s *System, pool string) (then, now string) {
	t.Helper()
	createVolume(t, s, pool, "v", map[string]string{"user.k": "v"})
	fillVolume(t, s, pool, "v")
	then = describe(t, s.volumeFile(pool, "v", ""))
	_, err := s.CreateVolumeSnapshot(t.Context(), VolumeSnapshotOptions{Pool: pool, Volume: "v", Name: "s1", Description: "first", Expiry: "2099-01-01"})
	ok(t, err, os.WriteFile(s.volumeFile(pool, "v", "dir with space/sub vol/f-f"), []byte("changed"), 0o600), os.WriteFile(s.volumeFile(pool, "v", "new"), []byte("new"), 0o600))
	return then, describe(t, s.volumeFile(pool, "v", ""))
}

// checkStates compares a volume made of twoStates, with its snapshot s1 if it is to have it.
func checkStates(t *testing.T, s *System, pool, volume, then, now string, snapshots, nested bool) {
	t.Helper()
	if got := describe(t, s.volumeFile(pool, volume, "")); got != now {
		t.Errorf("%s/%s:\n%s\nwant:\n%s", pool, volume, got, now)
	}
	all, err := s.VolumeSnapshots(t.Context(), pool, volume)
	ok(t, err)
	if !snapshots {
		if len(all) != 0 {
			t.Errorf("snapshots: %+v", all)
		}
	} else if len(all) != 1 || all[0].Name != "s1" || all[0].Description != "first" || all[0].ExpiresAt == nil {
		t.Errorf("snapshots: %+v", all)
	} else if path, err := s.peekSnapshot(t, pool, volume, "s1"); err != nil || describe(t, path) != then {
		t.Errorf("the snapshot is another one: %v", err)
	} else if ro, err := btrfs.IsReadOnly(path); !ro || err != nil {
		t.Errorf("the snapshot is writable: %v", err)
	}
	sub, err := btrfs.IsSubvolume(s.volumeFile(pool, volume, "dir with space/sub vol"))
	if ok(t, err); sub != nested {
		t.Errorf("sub vol is a subvolume: %v, want %v", sub, nested)
	}
	if nested {
		// In a snapshot all are read-only: which were before is not known.
		ro, err := btrfs.IsReadOnly(s.volumeFile(pool, volume, "dir with space/sub vol/deep-er"))
		if ok(t, err); ro != (volume != "then") {
			t.Errorf("deep-er in %s is read-only: %v", volume, ro)
		}
		if ro, err := btrfs.IsReadOnly(s.volumeFile(pool, volume, "dir with space/sub vol")); ro || err != nil {
			t.Errorf("sub vol in %s is read-only: %v", volume, err)
		}
	}
	left, err := os.ReadDir(filepath.Join(s.dir.MountPoint(pool), ".poolctl/staging"))
	if len(left) != 0 || err != nil {
		t.Errorf("left in staging: %v, %v", left, err)
	}
}

// isWhole says whether reports are of a total that is reached by the last one only.
func isWhole(all []Progress) bool {
	early := slices.IndexFunc(all, func(p Progress) bool { return p.Total <= 0 || p.Done >= p.Total })
	return early == len(all)-1 && all[early].Done == all[early].Total
}

func TestVolumeCopyAndMove(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	createPool(t, s, "p2", nil)
	then, now := twoStates(t, s, "p1")
	for _, to := range []string{"p1", "p2"} {
		var reported []Progress
		ok(t, s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p1", Volume: "v", ToPool: to, Name: "c", Progress: func(p Progress) { reported = append(reported, p) }}),
			s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p1", Volume: "v", ToPool: to, Name: "only", VolumeOnly: true}),
			s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p1", Volume: "v", Snapshot: "s1", ToPool: to, Name: "then"}))
		checkStates(t, s, to, "c", then, now, true, true)
		checkStates(t, s, to, "only", then, now, false, true)
		checkStates(t, s, to, "then", then, then, false, true)
		if (len(reported) > 0) != (to == "p2") || len(reported) > 0 && !isWhole(reported) {
			t.Errorf("to %s, there was reported: %+v", to, reported)
		}
		if err := s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p1", Volume: "v", ToPool: to, Name: "c"}); !errors.Is(err, ErrExists) {
			t.Errorf("to %s: a name that is taken: %v", to, err)
		}
	}
	a, err := s.Volume(ctx, "p1", "v")
	ok(t, err)
	b, err := s.Volume(ctx, "p2", "c")
	if ok(t, err); b.Config["user.k"] != "v" || b.Config[volatileUUID] == a.Config[volatileUUID] || b.Config[volatileUUID] == "" {
		t.Errorf("%v of %v", b.Config, a.Config)
	}
	ok(t, s.AttachVolumeProfile(ctx, AttachVolumeOptions{Pool: "p1", Volume: "v", Target: "default", Path: "/srv/v"}))
	if err := s.DeleteVolume(ctx, "p1", "v"); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "profile default") {
		t.Errorf("deleted while a profile uses it: %v", err)
	}
	ok(t, s.MoveVolume(ctx, CopyVolumeOptions{Pool: "p1", Volume: "v", ToPool: "p2", Name: "moved"}))
	checkStates(t, s, "p2", "moved", then, now, true, true)
	if _, err := s.Volume(ctx, "p1", "v"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the source is there: %v", err)
	}
	p, err := s.profile("default")
	if ok(t, err); p.Devices["v"]["pool"] != "p2" || p.Devices["v"]["source"] != "moved" {
		t.Errorf("%v", p.Devices)
	}
	ok(t, s.DetachVolumeProfile(ctx, AttachVolumeOptions{Pool: "p2", Volume: "moved", Target: "default"}))
}

func TestVolumeBackup(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	createPool(t, s, "p2", nil)
	then, now := twoStates(t, s, "p1")
	for what, o := range map[string]BackupOptions{
		"plain": {}, "gzip": {Compression: "gzip"}, "bzip2": {Compression: "bzip2"}, "lz4": {Compression: "lz4"}, "lzma": {Compression: "lzma -1"}, "xz": {Compression: "xz -1"}, "zstd": {Compression: "zstd -19"}, "none": {Compression: "none", NoSnapshots: true}, "optimized": {Optimized: true}, "optimized only": {Optimized: true, NoSnapshots: true},
	} {
		t.Run(what, func(t *testing.T) {
			var b bytes.Buffer
			ok(t, s.ExportVolume(ctx, ExportVolumeOptions{o, "p1", "v"}, &b))
			t.Logf("%d bytes", b.Len())
			name, err := s.ImportVolume(ctx, ImportVolumeOptions{Pool: "p2", Name: "im " + what}, bytes.NewReader(b.Bytes()))
			ok(t, err)
			checkStates(t, s, "p2", name, then, now, !o.NoSnapshots, o.Optimized)
			if _, err := s.ImportVolume(ctx, ImportVolumeOptions{Pool: "p2", Name: name}, bytes.NewReader(b.Bytes())); !errors.Is(err, ErrExists) {
				t.Errorf("imported twice: %v", err)
			}
			for _, torn := range []int{0, 100, b.Len() / 2, b.Len() - 30} {
				if _, err := s.ImportVolume(ctx, ImportVolumeOptions{Pool: "p2", Name: "torn"}, bytes.NewReader(b.Bytes()[:torn])); err == nil && torn < b.Len()-2000 {
					t.Errorf("imported %d of %d bytes", torn, b.Len())
				} else if err == nil {
					ok(t, s.DeleteVolume(ctx, "p2", "torn")) // nothing but padding was missing
				}
			}
			checkStates(t, s, "p2", name, then, now, !o.NoSnapshots, o.Optimized)
		})
	}
	var st unix.Stat_t
	if ok(t, unix.Stat(s.volumeFile("p2", "im plain", "sparse"), &st)); st.Blocks*512 > 1<<20 {
		t.Errorf("the sparse file takes %d bytes", st.Blocks*512)
	}
}

// TestVolumeExportFile: a file is there when it is complete.
func TestVolumeExportFile(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	createVolume(t, s, "p1", "v", nil)
	dir := t.TempDir()
	path := filepath.Join(dir, "b")
	o := ExportVolumeOptions{Pool: "p1", Volume: "v"}
	ok(t, s.ExportVolumeFile(t.Context(), o, path, false))
	if err := s.ExportVolumeFile(t.Context(), o, path, false); !errors.Is(err, ErrExists) {
		t.Errorf("overwritten: %v", err)
	}
	ok(t, s.ExportVolumeFile(t.Context(), o, path, true))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.ExportVolumeFile(ctx, o, filepath.Join(dir, "c"), false); err == nil {
		t.Error("exported although it was cancelled")
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("%v, %v", left, err)
	}
}

// TestVolumeNextName: the pattern decides.
func TestVolumeNextName(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for pattern, want := range map[string]string{"": "snap3", "a%db": "a0b", "fixed": "fixed", "snap1": "snap1-0", "{{creation_date|date:\"2006-01-02\"}}": "2026-01-02"} {
		v := tree.Volume{Config: map[string]string{"snapshots.pattern": pattern}, Snapshots: []tree.VolumeSnapshot{{Name: "snap1"}, {Name: "snap2"}, {Name: "snapx"}}}
		if got, err := nextSnapshotName(t.Context(), v.Config[snapshotPatternKey], now, snapshotNames(v)); got != want || err != nil {
			t.Errorf("%q: %q, %v; want %q", pattern, got, err, want)
		}
	}
}
