package pool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// inFullPool is everything that makes or changes something in a pool, besides what
// tryAll does; backup is of a volume, and sent an instance.
func inFullPool(t *testing.T, s *System, backup string, sent []byte) map[string]func() error {
	t.Helper()
	ctx := t.Context()
	n, root := 0, map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "p"}}
	next := func() string { n++; return fmt.Sprint("new", n) }
	return map[string]func() error{
		"create": func() error {
			_, err := s.Create(ctx, CreateOptions{Image: "im", Pool: "p", Name: next(), Devices: root})
			return err
		},
		"copy with snapshots": func() error {
			_, err := s.Copy(ctx, CopyOptions{Source: "c1", Name: next()})
			return err
		},
		"copy from another pool": func() error {
			_, err := s.Copy(ctx, CopyOptions{Source: "c3", Name: next(), Pool: "p"})
			return err
		},
		"move from another pool": func() error { return s.MoveInstance(ctx, MoveOptions{Source: "c3", Pool: "p"}) },
		"receive": func() error {
			_, err := s.Receive(ctx, ReceiveOptions{Name: next(), Pool: "p"}, bytes.NewReader(sent))
			return err
		},
		"image":         func() error { return commitImage(s, next()) },
		"volume create": func() error { return s.CreateVolume(ctx, CreateVolumeOptions{Pool: "p", Name: next()}) },
		"volume copy": func() error {
			return s.CopyVolume(ctx, CopyVolumeOptions{Pool: "p", Volume: "v", ToPool: "p", Name: next()})
		},
		"volume copy from another pool": func() error {
			return s.CopyVolume(ctx, CopyVolumeOptions{Pool: "from", Volume: "v", ToPool: "p", Name: next()})
		},
		"volume snapshot": func() error {
			_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p", Volume: "v"})
			return err
		},
		"volume restore": func() error {
			return s.RestoreVolume(ctx, RestoreVolumeOptions{Pool: "p", Volume: "v", Snapshot: "s0"})
		},
		"volume rename": func() error {
			if err := s.RenameVolume(ctx, "p", "v", "w"); err != nil {
				return err
			}
			return s.RenameVolume(ctx, "p", "w", "v")
		},
		"volume import": func() error {
			f, err := os.Open(backup)
			if err != nil {
				return err
			}
			_, err = s.ImportVolume(ctx, ImportVolumeOptions{Pool: "p", Name: next()}, f)
			return errors.Join(err, f.Close())
		},
		"volume export": func() error {
			return s.ExportVolumeFile(ctx, ExportVolumeOptions{Pool: "p", Volume: "v"}, filepath.Join(t.TempDir(), "out"), false)
		},
		"export": func() error {
			return s.ExportFile(ctx, ExportOptions{Instance: "c2", BackupOptions: BackupOptions{NoSnapshots: true}}, filepath.Join(t.TempDir(), "out"), false)
		},
		"import": func() error {
			f, err := os.Open(backup + "-c1")
			if err != nil {
				return err
			}
			_, err = s.Import(ctx, ImportOptions{Pool: "p", Name: next()}, f)
			return errors.Join(err, f.Close())
		},
		"volume set": func() error {
			return s.UpdateVolume(ctx, "p", "v", func(put *VolumePut) error { put.Config["user.k"] = next(); return nil })
		},
		"volume attach": func() error {
			if err := s.AttachVolume(ctx, AttachVolumeOptions{Pool: "p", Volume: "v", Target: "c2", Device: "d", Path: "/srv"}); err != nil {
				return err
			}
			return s.DetachVolume(ctx, AttachVolumeOptions{Pool: "p", Volume: "v", Target: "c2", Device: "d"})
		},
		"device set": func() error {
			return s.AddInstanceDevice(ctx, "c2", next(), map[string]string{"type": "none"})
		},
		"pool set": func() error { return s.SetPool(ctx, "p", PoolChange{Config: map[string]string{"user.k": next()}}) },
		"balance": func() error {
			_, err := s.BalancePool(ctx, "p", BalanceOptions{DataUsage: 100, MetadataUsage: 20}, nil)
			return err
		},
		"shrink": func() error { return s.ResizePool(ctx, "p", "min", nil) },
		"trim":   func() error { _, err := s.TrimPool(ctx, "p"); return err },
		"scrub":  func() error { _, err := s.ScrubPool(ctx, "p", ScrubOptions{}); return err },
	}
}

// Whatever is tried in a pool with no block, or few, left ends done or undone,
// with a reason that can be understood. Everything is there afterwards, and works.
func TestEverythingInFullPool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "300MiB"})
	createPool(t, s, "from", map[string]string{"size": "300MiB"})
	withPrecious(t, s)
	if err := commitImage(s, "im"); err != nil {
		t.Fatal(err)
	}
	_, err := s.Create(ctx, CreateOptions{Name: "c2", Image: "im", Pool: "p", Devices: map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "p"}}})
	ok(t, err)
	want := map[string][]byte{}
	for i, pool := range []string{"p", "from"} {
		createVolume(t, s, pool, "v", nil)
		file := filepath.Join(s.dir.MountPoint(pool), "custom/default_v/data")
		want[file] = randomFile(t, file, (3+3*i)<<20)
		_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: pool, Volume: "v", Name: "s0"})
		ok(t, err)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	ok(t, s.ExportVolumeFile(ctx, ExportVolumeOptions{Pool: "from", Volume: "v"}, backup, false))
	ok(t, s.ExportFile(ctx, ExportOptions{Instance: "c1"}, backup+"-c1", false))
	_, err = s.Create(ctx, CreateOptions{Name: "c3", Template: EmptyTemplate, Pool: "from"})
	ok(t, err)
	file := filepath.Join(s.dir.MountPoint("from"), "containers/c3/rootfs/data")
	want[file] = randomFile(t, file, 6<<20)
	sent := sendOf(t, s, SendOptions{Instance: "c3"})
	mp := s.dir.MountPoint("p")
	fill := filepath.Join(mp, "containers/c1/rootfs/fill")
	for i, block := range []int{1 << 20, 64 << 10, 4096} {
		if err := fillUp(fmt.Sprint(fill, i), block); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("filling it: %v", err)
		}
	}
	failed, ops := map[string]bool{}, inFullPool(t, s, backup, sent)
	for _, room := range []int64{0, 1 << 20, 4 << 20} { // of the file that filled it
		if room > 0 {
			st, err := os.Stat(fill + "0")
			ok(t, err, os.Truncate(fill+"0", st.Size()-room), btrfs.Sync(mp))
		}
		for what, op := range ops {
			err := op()
			if err == nil {
				continue
			}
			failed[what] = true
			if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), "cannot ") && !strings.HasPrefix(err.Error(), "pool p is full") {
				t.Errorf("%s with %s: %v (%s)", what, FormatSize(room), err, hintOf(err))
			}
			if strings.HasPrefix(what, "volume ") && what != "volume attach" && hintOf(err) == "" {
				t.Errorf("%s with %s has no hint: %v", what, FormatSize(room), err)
			}
			if left, err := os.ReadDir(filepath.Join(mp, ".poolctl/staging")); err != nil || len(left) > 0 {
				t.Errorf("%s with %s left in the pool: %v, %v", what, FormatSize(room), left, err)
			}
			if left, err := os.ReadDir(s.journalDir()); err != nil || len(left) > 0 {
				t.Errorf("%s with %s left in the journal: %v, %v", what, FormatSize(room), left, err)
			}
		}
	}
	for _, what := range []string{"import", "volume import", "volume copy from another pool", "copy from another pool", "move from another pool", "receive"} {
		if !failed[what] {
			t.Errorf("%s did not fail: the pool was not full", what)
		}
	}
	t.Logf("failed: %v", failed)
	cutOut(t, s, fill)
	for file, data := range want {
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%s has changed: %v", file, err)
		}
	}
	ok(t, s.RestoreVolume(ctx, RestoreVolumeOptions{Pool: "p", Volume: "v", Snapshot: "s0"}))
	if check, err := s.CheckPool(ctx, "p", nil); err != nil || len(check.Problems) > 0 {
		t.Errorf("check: %+v, %v", check, err)
	}
	isPrecious(t, s)
}

// cutOut removes the files that filled the pool p, and what was made in it since,
// after a look that it works.
func cutOut(t *testing.T, s *System, fill string) {
	t.Helper()
	ctx := context.Background()
	for i := range 3 {
		ok(t, os.Remove(fmt.Sprint(fill, i)))
	}
	ok(t, btrfs.Sync(s.dir.MountPoint("p")))
	volumes, err := s.Volumes(ctx, "p", true)
	ok(t, err)
	for _, v := range volumes {
		if v.Type != volumeCustom || v.Name == "v" || strings.Contains(v.Name, "/") {
			continue
		}
		if _, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "p", Volume: v.Name}); err != nil {
			t.Errorf("volume %s does not work: %v", v.Name, err)
		}
		ok(t, s.DeleteVolume(ctx, "p", v.Name))
	}
	images, err := s.Images(ctx, "p")
	ok(t, err)
	for _, im := range images {
		if len(im.Aliases) == 1 && im.Aliases[0].Name != "im" {
			ok(t, s.DeleteImage(ctx, im.Fingerprint))
		}
	}
	ok(t, err)
}

// A pool that is full is adopted, or refused and left as it was.
func TestAdoptFullPool(t *testing.T) {
	first := newSystem(t)
	createPool(t, first, "p", map[string]string{"size": "200MiB"})
	withPrecious(t, first)
	fill := filepath.Join(first.dir.MountPoint("p"), "containers/c1/rootfs/fill")
	for i, block := range []int{1 << 20, 4096} {
		if err := fillUp(fmt.Sprint(fill, i), block); !errors.Is(err, unix.ENOSPC) {
			t.Fatalf("filling it: %v", err)
		}
	}
	file := filepath.Join(t.TempDir(), "away.img")
	ok(t, first.DetachPool(t.Context(), "p"), os.Rename(first.dir.DiskFile("p"), file), first.DeletePool(t.Context(), "p", true))
	s := newSystem(t)
	if name, err := s.AdoptPool(t.Context(), file, AdoptOptions{Name: "p"}); err != nil || name != "p" {
		t.Fatalf("adopted %q: %v (%s)", name, err, hintOf(err))
	}
	if all, err := s.Instances(t.Context()); err != nil || len(all) != 1 || all[0].Problem != "" {
		t.Errorf("%+v, %v", all, err)
	}
	for i := range 2 {
		ok(t, os.Remove(filepath.Join(s.dir.MountPoint("p"), fmt.Sprint("containers/c1/rootfs/fill", i))))
	}
	ok(t, btrfs.Sync(s.dir.MountPoint("p")))
	isPrecious(t, s)
}
