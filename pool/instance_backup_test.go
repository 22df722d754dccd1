package pool

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
)

// instanceFile is a path in the volume of an instance.
func (s *System) instanceFile(pool, instance, file string) string {
	return filepath.Join(s.dir.MountPoint(pool), "containers", instance, file)
}

const backedUpID = "0123456789abcdef0123456789abcdef\n"

// backedUp is an instance c1 in pool p1, with a subvolume in it and snapshots s1 and s2, and what is in each by snapshot.
func backedUp(t *testing.T, s *System) map[string]map[string]string {
	t.Helper()
	ctx, states := t.Context(), map[string]map[string]string{}
	root := map[string]map[string]string{"root": {"type": "disk", "path": "/", "pool": "p1", "size": "500MiB"}}
	_, err := s.Create(ctx, CreateOptions{Template: EmptyTemplate, Pool: "p1", Name: "c1", Description: "it", Devices: root, Config: map[string]string{"user.k": "a: 'b'\nyes", "limits.memory": "1GiB"}})
	ok(t, err)
	at := s.instanceFile("p1", "c1", "rootfs")
	ok(t, os.Mkdir(at+"/etc", 0o755), os.WriteFile(at+"/etc/machine-id", []byte(backedUpID), 0o444))
	for _, snap := range []string{"s1", "s2", ""} {
		fillRoot(t, at, "of "+snap)
		if snap == "s2" {
			ok(t, os.MkdirAll(at+"/srv", 0o755), btrfs.CreateSubvolume(at+"/srv/sub-a"))
			fillRoot(t, at+"/srv/sub-a", "nested")
		}
		states[snap] = testfs.Describe(t, at)
		if snap != "" {
			_, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: snap, Expiry: "2099-01-01"})
			ok(t, err)
		}
	}
	return states
}

// isBackedUp compares an instance with what backedUp made.
func isBackedUp(t *testing.T, s *System, pool, name string, states map[string]map[string]string, o BackupOptions) {
	t.Helper()
	same := func(what, dir string, want map[string]string) {
		t.Helper()
		got := testfs.Describe(t, dir)
		if what != "c1" { // another instance
			delete(got, "etc/machine-id")
			want = maps.Clone(want)
			delete(want, "etc/machine-id")
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	same(name, s.instanceFile(pool, name, "rootfs"), states[""])
	snaps, err := s.Snapshots(t.Context(), name)
	ok(t, err)
	if o.NoSnapshots != (len(snaps) == 0) || !o.NoSnapshots && (len(snaps) != 2 || snaps[0].Name != "s1" || snaps[1].ExpiresAt.Year() != 2099) {
		t.Errorf("%s has the snapshots %+v", name, snaps)
	}
	for _, sn := range snaps {
		dir := filepath.Join(s.dir.MountPoint(pool), "containers-snapshots", name, sn.Name)
		same(name+"/"+sn.Name, dir+"/rootfs", states[sn.Name])
		if ro, err := btrfs.IsReadOnly(dir); !ro || err != nil {
			t.Errorf("%s is writable: %v", sn.Name, err)
		}
	}
	sub, err := btrfs.IsSubvolume(s.instanceFile(pool, name, "rootfs/srv/sub-a"))
	if ok(t, err); sub != o.Optimized {
		t.Errorf("sub-a of %s is a subvolume: %v", name, sub)
	}
	rec, err := s.InstanceConfig(t.Context(), name, false)
	if ok(t, err); rec.Config["user.k"] != "a: 'b'\nyes" || rec.Config["limits.memory"] != "1GiB" || rec.Description != "it" || rec.Devices["root"]["pool"] != pool || rec.Devices["root"]["size"] != "500MiB" {
		t.Errorf("%s is %+v", name, rec)
	}
	stagingEmpty(t, s, pool)
}

// stagingEmpty looks that nothing unfinished is left.
func stagingEmpty(t *testing.T, s *System, pools ...string) {
	t.Helper()
	for _, pool := range pools {
		left, err := os.ReadDir(filepath.Join(s.dir.MountPoint(pool), ".poolctl/staging"))
		if len(left) != 0 || err != nil {
			t.Errorf("left in staging of %s: %v, %v", pool, left, err)
		}
	}
}

// TestInstanceBackup: what is exported and imported is the same, in every way to do it.
func TestInstanceBackup(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	createPool(t, s, "p2", nil)
	states := backedUp(t, s)
	uuid := func(name string) string {
		rec, err := s.InstanceConfig(ctx, name, false)
		ok(t, err)
		return rec.Config["volatile.uuid"]
	}
	own := uuid("c1")
	for what, o := range map[string]BackupOptions{
		"plain": {}, "only": {NoSnapshots: true, Compression: "none"}, "optimized": {Optimized: true}, "optimized only": {Optimized: true, NoSnapshots: true, Compression: "lz4"},
	} {
		t.Run(what, func(t *testing.T) {
			var b bytes.Buffer
			ok(t, s.Export(ctx, ExportOptions{o, "c1"}, &b))
			isBackedUp(t, s, "p1", "c1", states, BackupOptions{Optimized: true}) // as it was
			name, err := s.Import(ctx, ImportOptions{Pool: "p2", Name: "c2"}, bytes.NewReader(b.Bytes()))
			ok(t, err)
			isBackedUp(t, s, "p2", name, states, o)
			if uuid(name) == own {
				t.Error("two instances have one UUID")
			}
			if id, err := os.ReadFile(s.instanceFile("p2", name, "rootfs/etc/machine-id")); string(id) == backedUpID || len(id) != len(backedUpID) || err != nil {
				t.Errorf("the machine id is %q, %v", id, err)
			}
			if _, err := s.Import(ctx, ImportOptions{Pool: "p2"}, bytes.NewReader(b.Bytes())); !errors.Is(err, ErrExists) {
				t.Errorf("a name that is taken: %v", err)
			}
			if !o.NoSnapshots {
				ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: name, Snapshot: "s1"}))
				if diff := cmp.Diff(states["s1"], testfs.Describe(t, s.instanceFile("p2", name, "rootfs"))); diff != "" {
					t.Errorf("restored: %s", diff)
				}
				if uuid(name) == own {
					t.Error("restored, it has the UUID of another one")
				}
			}
			ok(t, s.Delete(ctx, name, false))
			for _, torn := range []int{0, 100, 1000, b.Len() / 2, b.Len() - 1030} {
				if _, err := s.Import(ctx, ImportOptions{Pool: "p2", Name: "torn"}, bytes.NewReader(b.Bytes()[:torn])); err == nil {
					t.Errorf("imported %d of %d bytes", torn, b.Len())
				}
			}
			if _, err := s.Import(ctx, ImportOptions{Pool: "p2", Name: "more"}, strings.NewReader(b.String()+"junk")); err == nil {
				t.Error("imported with junk behind it")
			}
			stagingEmpty(t, s, "p1", "p2")
		})
	}
	var b bytes.Buffer
	ok(t, s.Export(ctx, ExportOptions{BackupOptions{}, "c1"}, &b), s.Delete(ctx, "c1", false))
	if name, err := s.Import(ctx, ImportOptions{}, bytes.NewReader(b.Bytes())); name != "c1" || err != nil {
		t.Fatalf("%s, %v", name, err)
	}
	isBackedUp(t, s, "p1", "c1", states, BackupOptions{})
	if uuid("c1") != own {
		t.Error("it lost its UUID")
	}
}

// failingWriter takes so many bytes.
type failingWriter struct{ left int }

var errGone = errors.New("the pipe is closed")

func (f *failingWriter) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, errGone
	}
	return len(b), nil
}

// TestInstanceExportStops: whoever reads a backup may go away, and the user stop it; nothing is left of it. Snapshots can be
// deleted while it is written.
func TestInstanceExportStops(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	states := backedUp(t, s)
	for _, o := range []BackupOptions{{Compression: "none"}, {Compression: "none", Optimized: true}} {
		for _, n := range []int{0, 600, 20000} {
			if err := s.Export(ctx, ExportOptions{o, "c1"}, &failingWriter{n}); !errors.Is(err, errGone) {
				t.Errorf("%+v, %d bytes: %v", o, n, err)
			}
		}
		stopped, cancel := context.WithCancel(ctx)
		stopping := o
		stopping.Progress = func(Progress) { cancel() }
		if err := s.Export(stopped, ExportOptions{stopping, "c1"}, &bytes.Buffer{}); !errors.Is(err, context.Canceled) {
			t.Errorf("%+v, stopped: %v", o, err)
		}
	}
	stagingEmpty(t, s, "p1")
	deleted := false
	o := BackupOptions{Progress: func(Progress) {
		if !deleted {
			deleted = true
			ok(t, s.DeleteSnapshot(ctx, "c1", "s2"), os.WriteFile(s.instanceFile("p1", "c1", "rootfs/mark"), []byte("newer"), 0o600))
		}
	}}
	var b bytes.Buffer
	ok(t, s.Export(ctx, ExportOptions{o, "c1"}, &b))
	_, err := s.Import(ctx, ImportOptions{Name: "c2"}, &b)
	ok(t, err)
	isBackedUp(t, s, "p1", "c2", states, o)
}

// TestExportDeepSubvolume: a subvolume whose path is longer than the name of a file may be.
func TestExportDeepSubvolume(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	backedUp(t, s)
	deep := "rootfs"
	for range 3 {
		deep += "/" + strings.Repeat("n", 200)
		ok(t, btrfs.CreateSubvolume(s.instanceFile("p1", "c1", deep)))
	}
	ok(t, os.WriteFile(s.instanceFile("p1", "c1", deep+"/mark"), []byte("deep"), 0o600))
	var b bytes.Buffer
	ok(t, s.Export(t.Context(), ExportOptions{BackupOptions{Optimized: true}, "c1"}, &b))
	_, err := s.Import(t.Context(), ImportOptions{Name: "c2"}, &b)
	ok(t, err)
	if got, err := os.ReadFile(s.instanceFile("p1", "c2", deep+"/mark")); string(got) != "deep" || err != nil {
		t.Errorf("in it is %q, %v", got, err)
	}
}

// TestExportReports: how much of about how much is written.
func TestExportReports(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	backedUp(t, s)
	ok(t, os.WriteFile(s.instanceFile("p1", "c1", "rootfs/large"), bytes.Repeat([]byte("large"), 1<<20), 0o600))
	for _, o := range []BackupOptions{{}, {Optimized: true}} {
		var seen []Progress
		o.Progress = func(p Progress) { seen = append(seen, p) }
		ok(t, s.Export(t.Context(), ExportOptions{o, "c1"}, &bytes.Buffer{}))
		if !isWhole(seen) {
			t.Errorf("optimized %v: there was reported: %+v", o.Optimized, seen)
		}
	}
}
