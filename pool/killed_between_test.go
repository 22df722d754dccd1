package pool

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/journal"
)

// openAgain is the next command.
func openAgain(t *testing.T, s *System) *System {
	t.Helper()
	again, err := Open(t.Context(), Options{Root: s.dir.Root, Notice: func(l string) { t.Log(l) }})
	ok(t, err)
	if left, err := os.ReadDir(s.journalDir()); err != nil || len(left) > 0 {
		t.Errorf("left in the journal: %v, %v", left, err)
	}
	return again
}

// A command that was killed after a mount option took effect, and before that was
// saved, leaves the option until the next command.
func TestSetIsTakenBack(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"size": "256MiB", "compress": "lzo"})
	rec, err := s.loadPool("p")
	ok(t, err)
	before := mountOptionsOf(t, s, "p")
	wanted := rec
	wanted.Config = maps.Clone(rec.Config)
	wanted.Config["compress"], wanted.Config["btrfs.mount_options"] = "zstd:3", "noatime,commit=7"
	ok(t, applyMountOptions(t.Context(), s, rec, wanted))
	if now := mountOptionsOf(t, s, "p"); !strings.Contains(now, "noatime") || !strings.Contains(now, "zstd:3") {
		t.Fatalf("mounted with %s", now)
	}
	lostEntry(t, s, opSet, setting{"p", rec.UUID, rec.Config, wanted.Config})
	openAgain(t, s)
	if now := mountOptionsOf(t, s, "p"); now != before && strings.ReplaceAll(now, ",commit=30", "") != before {
		t.Errorf("mounted with %s, at first with %s", now, before)
	}
	ok(t, s.SetPool(t.Context(), "p", PoolChange{Config: map[string]string{"compress": "zstd:3"}}))
	lostEntry(t, s, opSet, setting{"p", rec.UUID, rec.Config, map[string]string{"size": "256MiB", "source": rec.Source, "compress": "zstd:3"}})
	openAgain(t, s) // killed after it was saved
	if now := mountOptionsOf(t, s, "p"); !strings.Contains(now, "zstd:3") {
		t.Errorf("what was saved is not so any more: %s", now)
	}
}

// A snapshot that was being replaced is the old one or the new one, and no other is there.
func TestReuseIsFinished(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	createVolume(t, s, "p", "v", nil)
	mark := func(text string) {
		t.Helper()
		ok(t, os.WriteFile(s.volumeFile("p", "v", "mark"), []byte(text), 0o600))
	}
	take := func(name string) {
		t.Helper()
		_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p", Volume: "v", Name: name})
		ok(t, err)
	}
	check := func(when, want string) {
		t.Helper()
		all, err := s.VolumeSnapshots(ctx, "p", "v")
		if err != nil || len(all) != 1 || all[0].Name != "s0" {
			t.Fatalf("%s: %+v, %v", when, all, err)
		}
		path := filepath.Join(s.dir.MountPoint("p"), "custom-snapshots/default_v/s0/mark")
		if got, err := os.ReadFile(path); string(got) != want {
			t.Errorf("%s: it has %q, %v; want %q", when, got, err, want)
		}
	}
	killed := func() {
		t.Helper()
		e, err := journal.Begin(ctx, filepath.Join(s.dir.MountPoint("p"), ".poolctl/staging"), "volume-snapshot-replace", map[string]string{"volume": "v", "snapshot": "s0", "new": ".s0.new"})
		ok(t, err, e.Close())
	}
	mark("old")
	take("s0")
	mark("new")
	take(".s0.new")
	killed()
	check("killed with both there", "old")
	take(".s0.new")
	ok(t, s.DeleteVolumeSnapshot(ctx, "p", "v", "s0"))
	killed()
	check("killed with the new one there", "new")
	killed()
	check("killed at the end", "new")
	mark("newest")
	_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p", Volume: "v", Name: "s0", Reuse: true})
	ok(t, err)
	check("done", "newest")
}

// A hidden file that a killed export left beside its own is removed by the next
// command, and no other.
func TestExportLeavesNothing(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	createVolume(t, s, "p", "v", nil)
	dir := t.TempDir()
	path := filepath.Join(dir, "v.backup")
	beside := besideName(path)
	ok(t, os.WriteFile(beside, []byte("half"), 0o600), os.WriteFile(filepath.Join(dir, ".v.backup.mine"), nil, 0o600))
	lostEntry(t, s, opBeside, besideFile{beside})
	openAgain(t, s)
	if _, err := os.Lstat(beside); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
	x := s.exportingVolume(ExportVolumeOptions{Pool: "p", Volume: "v"})
	ok(t, s.exportNamed(t.Context(), x, path, false), s.exportNamed(t.Context(), x, path, true), s.exportFile(t.Context(), x, path, true))
	if got := names(t, dir); got != ".v.backup.mine v.backup" {
		t.Errorf("there is %q", got)
	}
	openAgain(t, s)
}

// A move of a volume to another pool that is killed with the copy there and not counting:
// the intent that it has written then has the next command delete just that copy.
func TestVolumeMoveIsUndone(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	createVolume(t, s, "a", "v", nil)
	busyboxInstance(t, s, "a", "c1")
	ok(t, s.AttachVolume(t.Context(), AttachVolumeOptions{Pool: "a", Volume: "v", Target: "c1", Path: "/mnt"}))
	unlock, err := s.dir.LockInstance(t.Context(), "c1") // which the move waits for behind the copy
	ok(t, err)
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	moved := make(chan error, 1)
	go func() { moved <- s.MoveVolume(ctx, CopyVolumeOptions{Pool: "a", Volume: "v", ToPool: "b", Name: "w"}) }()
	copied := func() bool {
		there, err := s.hasVolume(t.Context(), "b", "w")
		ok(t, err)
		return there
	}
	for end := time.Now().Add(30 * time.Second); !copied() && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	entries, err := os.ReadDir(s.journalDir())
	if err != nil || len(entries) != 1 || !copied() {
		t.Fatalf("in the journal are %v, %v; copied: %t", entries, err, copied())
	}
	// What a kill leaves: the entry as it is now, with nobody at it.
	from := filepath.Join(s.journalDir(), entries[0].Name())
	ok(t, os.CopyFS(filepath.Join(s.journalDir(), strings.Repeat("0", len(entries[0].Name()))), os.DirFS(from)))
	_, err = Open(t.Context(), Options{Root: s.dir.Root, Notice: func(l string) { t.Log(l) }})
	ok(t, err)
	if copied() {
		t.Error("the copy is left")
	}
	cancel()
	if err := <-moved; !errors.Is(err, context.Canceled) {
		t.Errorf("the move ends with %v", err)
	}
	if there, err := s.hasVolume(t.Context(), "a", "v"); err != nil || !there {
		t.Errorf("the volume is there: %t, %v", there, err)
	}
	openAgain(t, s)
}

// A move of a volume to another pool that was killed before the copy counts leaves the
// old state, and after that the new one. A volume that is not the copy is left alone.
func TestVolumeMoveIsFinished(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	createVolume(t, s, "a", "v", nil)
	names := func() (out []string) {
		t.Helper()
		for _, pool := range []string{"a", "b"} {
			volumes, err := s.Volumes(ctx, pool, true)
			ok(t, err)
			for _, v := range volumes {
				out = append(out, pool+"/"+v.Name)
			}
		}
		return out
	}
	killed := func(copied func(uuid string) string, want string) {
		t.Helper()
		ok(t, s.CopyVolume(ctx, CopyVolumeOptions{Pool: "a", Volume: "v", ToPool: "b", Name: "w"}))
		sub, err := btrfs.Stat(filepath.Dir(s.volumeFile("b", "w", "x")))
		ok(t, err)
		lostEntry(t, s, opVolumeMove, moving{Pool: "a", Name: "v", ToPool: "b", To: "w", Copy: copied(sub.UUID)})
		openAgain(t, s)
		if got := strings.Join(names(), " "); got != want {
			t.Errorf("there are %q, want %q", got, want)
		}
	}
	killed(func(uuid string) string { return uuid }, "a/v")
	killed(func(string) string { return "another" }, "a/v b/w")
	ok(t, s.DeleteVolume(ctx, "b", "w"))
	killed(func(string) string { return "" }, "b/w")
}
