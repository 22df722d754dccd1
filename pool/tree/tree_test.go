package tree

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

func TestLayout(t *testing.T) {
	old := unix.Umask(0o077)
	defer unix.Umask(old)
	p := newPool(t)
	must(t, os.Chmod(p.mnt+"/custom", 0o755), os.WriteFile(p.mnt+"/foreign", nil, 0o600), p.Layout())
	for name, mode := range map[string]fs.FileMode{
		"containers": 0o711, "containers-snapshots": 0o711, "images": 0o700, "custom": 0o755, "custom-snapshots": 0o700,
		"virtual-machines": 0o700, "virtual-machines-snapshots": 0o700, "buckets": 0o711, ".poolctl": 0o700,
	} {
		info, err := os.Stat(filepath.Join(p.mnt, name))
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v; want %o", name, info, err, mode)
		}
	}
	if _, err := os.Stat(p.mnt + "/foreign"); err != nil {
		t.Error(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open("/proc"); err == nil {
		t.Error("/proc is no pool")
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestImages(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint))
	got, err := p.Image(fingerprint)
	want := ImageRecord{
		Fingerprint: fingerprint, Aliases: []string{"test/1"}, Properties: map[string]string{}, Architecture: "x86_64",
		Type: "container", Size: 7,
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	original, err := p.OpenOriginal(fingerprint, OriginalRootfs)
	must(t, err)
	raw, err := io.ReadAll(original)
	must(t, err, original.Close())
	names, err := p.Originals(fingerprint)
	if string(raw) != "original" || len(names) != 1 || err != nil {
		t.Errorf("original %q, %q, %v", raw, names, err)
	}
	if _, err := p.OpenOriginal(fingerprint, OriginalMetadata); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an original that was not kept: %v", err)
	}
	ro, err := btrfs.IsReadOnly(p.ImagePath(fingerprint))
	if !ro || err != nil {
		t.Errorf("read-only: %v, %v", ro, err)
	}
	if err := importImage(p.Tree, fingerprint); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the same image again: %v", err)
	}
	updated, err := p.UpdateImage(fingerprint, func(r *ImageRecord) error { r.Aliases = append(r.Aliases, "two"); return nil })
	if err != nil || len(updated.Aliases) != 2 {
		t.Fatal(updated, err)
	}
	if _, err := p.UpdateImage(fingerprint, func(r *ImageRecord) error { r.Aliases = []string{"a b"}; return nil }); err == nil {
		t.Error("a bad alias was taken")
	}
	all, err := p.Images()
	if diff := cmp.Diff([]ImageRecord{updated}, all); diff != "" || err != nil {
		t.Fatal(diff, err)
	}
	must(t, p.DeleteImage(t.Context(), fingerprint))
	if err := p.DeleteImage(t.Context(), fingerprint); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleting again: %v", err)
	}
	checkEmpty(t, p)
}

// TestReplaceImage checks what a new version takes over, whether it was there before or comes by its commit.
func TestReplaceImage(t *testing.T) {
	p := newPool(t)
	at := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	for name, replace := range map[string]func(old ImageRecord) error{
		"there": func(ImageRecord) error {
			must(t, importAs(p.Tree, other, func(r *ImageRecord) { r.Aliases = []string{"here"} }))
			_, err := p.ReplaceImage(t.Context(), fingerprint, other)
			return err
		},
		"new": func(old ImageRecord) error {
			return importAs(p.Tree, other, func(r *ImageRecord) {
				r.Aliases, r.Cached = []string{"here"}, true
				r.Properties = map[string]string{"gone": "x", "os": "theirs", "serial": "2"}
				r.TakeOver(old)
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, importImage(p.Tree, fingerprint), changeImage(p.Tree, fingerprint))
			old, err := p.UpdateImage(fingerprint, func(r *ImageRecord) error {
				r.LastUsedAt, r.AutoUpdate, r.Public, r.Profiles = at, true, true, []string{"p"}
				return nil
			})
			must(t, err, replace(old))
			got, err := p.Image(other)
			want := ImageRecord{
				Fingerprint: other, Aliases: []string{"here", "test/1", "mine"}, AliasDescriptions: map[string]string{"mine": "of mine"},
				Properties: map[string]string{"os": "mine"}, ChangedProperties: []string{"os", "gone"}, Architecture: "x86_64", Type: "container",
				Size: 7, LastUsedAt: at, AutoUpdate: true, Public: true, Profiles: []string{"p"},
			}
			if name == "new" {
				want.Properties["serial"] = "2"
			}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%s%v", diff, err)
			}
			if _, err := p.Image(fingerprint); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the old one: %v", err)
			}
			must(t, p.DeleteImage(t.Context(), other))
			checkEmpty(t, p)
		})
	}
	must(t, importImage(p.Tree, other))
	if _, err := p.ReplaceImage(t.Context(), fingerprint, other); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("replacing what is not there: %v", err)
	}
	must(t, importImage(p.Tree, fingerprint))
	if _, err := p.ReplaceImage(t.Context(), other, strings.Repeat("e", 64)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("replacing by what is not there: %v", err)
	}
	if all, err := p.Images(); len(all) != 2 || err != nil {
		t.Errorf("after that: %v, %v", all, err)
	}
}

// checkEmpty fails when a subvolume, or anything of ours, is left in the pool.
func checkEmpty(t *testing.T, p *testPool) {
	t.Helper()
	left, err := btrfs.List(p.mnt)
	if err != nil || len(left) != 0 {
		t.Errorf("subvolumes left: %+v, %v", left, err)
	}
	for _, dir := range []string{p.staging(), p.mnt + "/.poolctl/images", p.mnt + "/.poolctl/originals", p.mnt + "/containers-snapshots", p.mnt + "/containers"} {
		if names, err := readNames(dir); err != nil || len(names) != 0 {
			t.Errorf("left in %s: %v, %v", dir, names, err)
		}
	}
}

func TestStageAbort(t *testing.T) {
	p := newPool(t)
	s, err := p.StageImage(t.Context())
	must(t, err)
	must(t, fillImage(s.Dir()), nest(s.Dir()), os.WriteFile(s.TempDir()+"/temporary", nil, 0o600))
	must(t, p.Recover(t.Context())) // must leave alone what this process holds
	must(t, s.Abort(), s.Abort())
	checkEmpty(t, p)
}

// TestCommitReplacesLeftover checks that half an import, as a killed LXD leaves it, is no image and not in the way.
func TestCommitReplacesLeftover(t *testing.T) {
	p := newPool(t)
	must(t, btrfs.CreateSubvolume(p.ImagePath(fingerprint)))
	if all, err := p.Images(); len(all) != 0 || err != nil {
		t.Fatalf("half an image is listed: %v, %v", all, err)
	}
	must(t, importImage(p.Tree, fingerprint))
	if got := readMark(t, p.ImagePath(fingerprint)); got != "image" {
		t.Errorf("mark %q", got)
	}
}

// TestAdoptedImage checks an image without a record, as LXD makes them.
func TestAdoptedImage(t *testing.T) {
	p := newPool(t)
	must(t, btrfs.CreateSubvolume(p.ImagePath(other)))
	must(t, fillImage(p.ImagePath(other)), btrfs.SetReadOnly(p.ImagePath(other), true), p.Recover(t.Context()))
	got, err := p.Image(other)
	must(t, err)
	if !got.Adopted || got.Properties["release"] != "3.10" || got.Architecture != "x86_64" || got.CreatedAt.Unix() != 1700000000 {
		t.Errorf("%+v", got)
	}
	must(t, p.CreateInstance(t.Context(), newInstance("c1"), other))
	updated, err := p.UpdateImage(other, func(r *ImageRecord) error { r.Aliases = []string{"x"}; return nil })
	if err != nil || updated.Adopted || updated.Properties["os"] != "test" {
		t.Errorf("%+v, %v", updated, err)
	}
	must(t, os.WriteFile(p.imageRecordPath(other), []byte("{"), 0o600))
	if got, err := p.Image(other); err != nil || got.Damaged == nil || got.Properties["os"] != "test" {
		t.Errorf("with a damaged record: %+v, %v", got, err)
	}
	must(t, p.DeleteImage(t.Context(), other), p.DeleteInstance(t.Context(), "c1"))
	checkEmpty(t, p)
}

func TestCreateInstance(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint))
	in := newInstance("c1")
	must(t, p.CreateInstance(t.Context(), in, fingerprint))
	info, err := os.Stat(p.InstancePath("c1"))
	if err != nil || info.Mode().Perm() != 0o100 {
		t.Errorf("%v, %v", info, err)
	}
	info, err = os.Stat(p.InstancePath("c1") + "/backup.yaml")
	if err != nil || info.Mode().Perm() != 0o400 {
		t.Errorf("%v, %v", info, err)
	}
	got, err := p.Instance("c1")
	must(t, err)
	in.normalise()
	in.Snapshots, in.ProfileInfo = []Snapshot{}, []ProfileInfo{}
	if diff := cmp.Diff(in, got); diff != "" {
		t.Error(diff)
	}
	for _, test := range []struct {
		name, image string
		want        error
	}{
		{"c1", fingerprint, fs.ErrExist},
		{"c2", other, fs.ErrNotExist},
		{"c2", "../containers/c1", ErrInvalidName},
		{"2c", fingerprint, ErrInvalidName},
		{"../c2", fingerprint, ErrInvalidName},
	} {
		if err := p.CreateInstance(t.Context(), newInstance(test.name), test.image); !errors.Is(err, test.want) {
			t.Errorf("%s of %s: %v, want %v", test.name, test.image, err, test.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.CreateInstance(ctx, newInstance("c2"), fingerprint); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	must(t, p.DeleteInstance(t.Context(), "c1"), p.DeleteImage(t.Context(), fingerprint))
	if err := p.DeleteInstance(t.Context(), "c1"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("deleting again: %v", err)
	}
	checkEmpty(t, p)
}

// TestHostileImage: an image may bring whatever it likes at the places that a record is written to.
func TestHostileImage(t *testing.T) {
	p := newPool(t)
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(victim, []byte("victim"), 0o600))
	s, err := p.StageImage(t.Context())
	must(t, err)
	must(t, fillImage(s.Dir()), os.Symlink(victim, s.Dir()+"/backup.yaml"), os.Symlink(victim, s.Dir()+"/.backup.yaml.new"))
	must(t, s.CommitImage(t.Context(), ImageRecord{Fingerprint: fingerprint}))
	must(t, p.CreateInstance(t.Context(), newInstance("c1"), fingerprint))
	if raw, err := os.ReadFile(victim); string(raw) != "victim" || err != nil {
		t.Errorf("victim: %q, %v", raw, err)
	}
	if in, err := p.Instance("c1"); err != nil || in.Broken != nil {
		t.Errorf("%+v, %v", in, err)
	}
}

func TestUpdateInstance(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint), p.CreateInstance(t.Context(), newInstance("c1"), fingerprint))
	file := p.InstancePath("c1") + "/backup.yaml"
	raw, err := os.ReadFile(file)
	must(t, err)
	foreign := strings.Replace(string(raw), `"container": {`, `"extra": [1], "container": {"future": {"x": 2},`, 1)
	must(t, os.WriteFile(file, []byte(foreign), 0o400))
	got, err := p.UpdateInstance("c1", func(in *Instance) error { in.Config["user.v"] = "2"; in.Name = "other"; return nil })
	if err != nil || got.Name != "c1" || got.Config["user.v"] != "2" {
		t.Fatalf("%+v, %v", got, err)
	}
	raw, err = os.ReadFile(file)
	must(t, err)
	for _, kept := range []string{`"extra"`, `"future"`, `"driver":"btrfs"`, `"name":"c1"`, `"status":"Stopped"`} {
		if !strings.Contains(string(raw), kept) {
			t.Errorf("%s is not in the record:\n%s", kept, raw)
		}
	}
	refused := errors.New("refused")
	if _, err := p.UpdateInstance("c1", func(in *Instance) error { in.Config["user.v"] = "3"; return refused }); !errors.Is(err, refused) {
		t.Error(err)
	}
	again, err := p.Instance("c1")
	if diff := cmp.Diff(got, again); diff != "" || err != nil {
		t.Error(diff, err)
	}
	if _, err := p.UpdateInstance("none", func(*Instance) error { return nil }); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// TestBroken: whatever has become of a record, the instance is listed and can be deleted.
func TestBroken(t *testing.T) {
	for name, spoil := range map[string]func(file string) error{
		"missing":    os.Remove,
		"empty":      func(file string) error { return os.WriteFile(file, nil, 0o400) },
		"torn":       func(file string) error { return os.WriteFile(file, []byte(`{"container": {"config"`), 0o400) },
		"other":      func(file string) error { return os.WriteFile(file, []byte("- a\n- b\n"), 0o400) },
		"no section": func(file string) error { return os.WriteFile(file, []byte("pool: {}\n"), 0o400) },
		"huge":       func(file string) error { return os.Truncate(file, maxRecord+1) },
		"fifo":       func(file string) error { return errors.Join(os.Remove(file), unix.Mkfifo(file, 0o400)) },
		"link":       func(file string) error { return errors.Join(os.Remove(file), os.Symlink("metadata.yaml", file)) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			must(t, importImage(p.Tree, fingerprint))
			for _, n := range []string{"c1", "c2"} {
				must(t, p.CreateInstance(t.Context(), newInstance(n), fingerprint))
			}
			must(t, p.CreateSnapshot(t.Context(), "c1", "s", SnapshotOptions{}))
			must(t, spoil(p.InstancePath("c1")+"/backup.yaml"))
			all, err := p.Instances(t.Context())
			if err != nil || len(all) != 2 || all[0].Broken == nil || len(all[0].Snapshots) != 1 || all[1].Broken != nil {
				t.Fatalf("%+v, %v", all, err)
			}
			if _, err := p.UpdateInstance("c1", func(*Instance) error { return nil }); err == nil {
				t.Error("a broken instance was updated")
			}
			if name == "missing" || name == "torn" {
				must(t, p.RestoreSnapshot(t.Context(), "c1", "s", RestoreOptions{}))
				if in, err := p.Instance("c1"); err != nil || in.Broken != nil || in.Config["user.v"] != "1" || in.CreatedAt.IsZero() {
					t.Errorf("restored: %+v, %v", in, err)
				}
			}
			must(t, p.DeleteSnapshot(t.Context(), "c1", "s"), p.DeleteInstance(t.Context(), "c1"))
			must(t, p.DeleteInstance(t.Context(), "c2"), p.DeleteImage(t.Context(), fingerprint))
			checkEmpty(t, p)
		})
	}
}

func TestSnapshots(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint), p.CreateInstance(t.Context(), newInstance("c1"), fingerprint))
	expiry := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	for i, name := range []string{"snap0", "x.y", "snap7"} {
		must(t, setMark(p.Tree, "c1", name))
		must(t, p.CreateSnapshot(t.Context(), "c1", name, SnapshotOptions{ExpiresAt: expiry.AddDate(i, 0, 0)}))
	}
	snaps, err := p.Snapshots("c1")
	must(t, err)
	if len(snaps) != 3 || snaps[0].Name != "snap0" || snaps[1].Name != "x.y" || !snaps[1].ExpiresAt.Equal(expiry.AddDate(1, 0, 0)) {
		t.Fatalf("%+v", snaps)
	}
	if err := p.CreateSnapshot(t.Context(), "c1", "x.y", SnapshotOptions{}); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := p.CreateSnapshot(t.Context(), "none", "s", SnapshotOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if err := p.CreateSnapshot(t.Context(), "c1", "../s", SnapshotOptions{}); !errors.Is(err, ErrInvalidName) {
		t.Error(err)
	}
	_, err = p.UpdateInstance("c1", func(in *Instance) error { in.Config["user.v"] = "2"; return nil })
	must(t, err)
	must(t, p.RestoreSnapshot(t.Context(), "c1", "x.y", RestoreOptions{}))
	in, err := p.Instance("c1")
	if err != nil || in.Config["user.v"] != "1" || len(in.Snapshots) != 3 || readMark(t, p.InstancePath("c1")) != "x.y" {
		t.Errorf("restored: %+v, %v", in, err)
	}
	if err := p.RestoreSnapshot(t.Context(), "c1", "none", RestoreOptions{}); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	for _, name := range []string{"snap0", "x.y", "snap7"} {
		must(t, p.DeleteSnapshot(t.Context(), "c1", name))
	}
	if err := p.DeleteSnapshot(t.Context(), "c1", "snap0"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	must(t, p.DeleteInstance(t.Context(), "c1"), p.DeleteImage(t.Context(), fingerprint))
	checkEmpty(t, p)
}

// TestNested takes an instance with subvolumes in it through everything.
func TestNested(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint), p.CreateInstance(t.Context(), newInstance("c1"), fingerprint))
	must(t, nest(p.InstancePath("c1")))
	must(t, p.CreateSnapshot(t.Context(), "c1", "s", SnapshotOptions{}))
	inside := "/rootfs/a b/file"
	snapshot, err := p.SnapshotPath("c1", "s")
	must(t, err)
	if err := os.WriteFile(snapshot+inside, nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing in a snapshot: %v", err)
	}
	must(t, os.WriteFile(p.InstancePath("c1")+inside, []byte("changed"), 0o600))
	must(t, p.RestoreSnapshot(t.Context(), "c1", "s", RestoreOptions{}))
	if raw, err := os.ReadFile(p.InstancePath("c1") + inside); string(raw) != "nested" || err != nil {
		t.Errorf("%q, %v", raw, err)
	}
	must(t, p.DeleteSnapshot(t.Context(), "c1", "s"))
	must(t, p.DeleteInstance(t.Context(), "c1"), p.DeleteImage(t.Context(), fingerprint))
	checkEmpty(t, p)
}

// TestOrphanSnapshots: a new instance never gets the snapshots of an older one of its name.
func TestOrphanSnapshots(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint), p.CreateInstance(t.Context(), newInstance("c1"), fingerprint))
	must(t, p.CreateSnapshot(t.Context(), "c1", "s", SnapshotOptions{}), btrfs.DeleteSubvolume(p.InstancePath("c1")))
	if err := p.CreateInstance(t.Context(), newInstance("c1"), fingerprint); err == nil {
		t.Error("the instance was created over old snapshots")
	}
	if all, err := p.Instances(t.Context()); len(all) != 0 || err != nil {
		t.Errorf("%+v, %v", all, err)
	}
}

func TestOwnerName(t *testing.T) {
	for _, name := range []string{"c1", "a-b-3", "web_c1"} {
		_, inode, got, ok := parseOwner(instances().ownerName(77, name))
		if inode != 77 || got != name || !ok {
			t.Errorf("%s: %d, %q, %v", name, inode, got, ok)
		}
	}
	for _, entry := range []string{"vol", "owner-", "owner-x-c1", "owner-7", "owner-7-", "owner-7-..", "snapshots"} {
		if _, _, name, ok := parseOwner(entry); ok {
			t.Errorf("%s is taken for the instance %q", entry, name)
		}
	}
}

func TestNames(t *testing.T) {
	for _, name := range []string{"a", "c1", "A-b-9", strings.Repeat("x", 63)} {
		if err := ValidateInstanceName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", "-a", "a-", "1a", "12", "a_b", "a.b", "a/b", "ä", "a b", "a\n", strings.Repeat("x", 64), "..", "."} {
		if err := ValidateInstanceName(name); !errors.Is(err, ErrInvalidName) {
			t.Errorf("instance name %q: %v", name, err)
		}
	}
	for _, name := range []string{"snap0", "2024-01-01_12:00", "a.b", "ü", "..."} {
		if err := ValidateSnapshotName(name); err != nil {
			t.Error(err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", `a\b`, "a*", "a b", "a\tb", "a\x00", "\xff", "-x", strings.Repeat("x", 256)} {
		if err := ValidateSnapshotName(name); !errors.Is(err, ErrInvalidName) {
			t.Errorf("snapshot name %q: %v", name, err)
		}
	}
	for _, name := range []string{"alpine/3.20", "a", "x y", "r:a", "a,b", "", "-a", "/a"} {
		if err := ValidateAlias(name); (err == nil) != (name == "alpine/3.20" || name == "a") {
			t.Errorf("alias %q: %v", name, err)
		}
	}
}
