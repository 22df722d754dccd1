package pool

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/journal"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// leftPool is the file of a pool as filledPool makes it, which the state
// directory that made it has forgotten; its instance has a profile "web", and
// a snapshot of before that.
func leftPool(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	s := newSystem(t)
	file := filledPool(t, s)
	mnt := s.dir.MountPoint("p")
	p, err := tree.Open(mnt)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.UpdateInstance("c1", func(i *tree.Instance) error {
		i.Profiles = []string{"default", "web"}
		i.Config = map[string]string{"user.own": "1"}
		i.ExpandedConfig = map[string]string{"user.own": "1", "user.tier": "web"}
		i.ExpandedDevices = devices{"root": rootIn("p")}
		i.ProfileInfo = []tree.ProfileInfo{{Name: "default", Devices: devices{"root": rootIn("p")}}, {Name: "web", Config: map[string]string{"user.tier": "web"}}}
		return nil
	})
	err = errors.Join(err, p.CreateSnapshot(ctx, "c1", "s2", tree.SnapshotOptions{}), p.Close(), s.DetachPool(ctx, "p"))
	away := filepath.Join(t.TempDir(), "away.img")
	if err = errors.Join(err, os.Rename(file, away), s.DeletePool(ctx, "p", true)); err != nil {
		t.Fatal(err)
	}
	return away
}

func adopt(t *testing.T, s *System, file, name string) {
	t.Helper()
	if _, err := s.AdoptPool(t.Context(), file, AdoptOptions{Name: name}); err != nil {
		t.Fatal(err)
	}
}

// A pool of another state directory is there with all that is in it: its own
// settings, instances, snapshots, volumes and profiles.
func TestAdoptPool(t *testing.T) {
	file := leftPool(t)
	s := newSystem(t)
	ctx := t.Context()
	if name, err := s.AdoptPool(ctx, file, AdoptOptions{Name: "mine"}); err != nil || name != "mine" {
		t.Fatalf("AdoptPool() = %q, %v", name, err)
	}
	rec, err := s.loadPool("mine")
	if err != nil || rec.Source != file || rec.Config["source"] != file || rec.Config["user.a"] != "b" || rec.Config["size"] != "256MiB" || rec.CreatedAt.IsZero() {
		t.Errorf("record %+v, %v", rec, err)
	}
	in, err := s.Instance(ctx, "c1")
	if err != nil || in.Pool != "mine" || len(in.Snapshots) != 2 || in.ExpandedConfig["user.tier"] != "web" || in.ExpandedDevices["root"]["pool"] != "mine" {
		t.Fatalf("%+v, %v", in, err)
	}
	if p, err := s.profile("web"); err != nil || p.Config["user.tier"] != "web" {
		t.Errorf("profile web: %+v, %v", p, err)
	}
	p, err := s.openPool(ctx, "mine")
	if err != nil {
		t.Fatal(err)
	}
	volumes, err := p.Volumes(ctx)
	own, perr := p.Pool()
	if err := errors.Join(err, perr, p.close()); err != nil || len(volumes) != 1 || own.Name != "mine" {
		t.Errorf("volumes %+v, own record %+v, %v", volumes, own, err)
	}
	if err := s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s2"}); err != nil {
		t.Fatal(err)
	}
	if in, err = s.Instance(ctx, "c1"); err != nil || in.ExpandedDevices["root"]["pool"] != "mine" || in.ExpandedConfig["user.tier"] != "web" {
		t.Errorf("restored: %+v, %v", in, err)
	}
	if name, err := s.Copy(ctx, CopyOptions{Source: "c1", Snapshot: "s1", Name: "c2"}); err != nil || name != "c2" {
		t.Errorf("a copy of a snapshot: %q, %v", name, err)
	}
	if _, err := s.AdoptPool(ctx, file, AdoptOptions{Name: "twice"}); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "it is pool mine here") {
		t.Errorf("adopted twice: %v", err)
	}
	if err := errors.Join(s.DetachPool(ctx, "mine"), s.AttachPool(ctx, "mine"), s.DeletePool(ctx, "mine", true)); err != nil {
		t.Error(err)
	}
}

// A custom volume whose ids LXD has shifted, as those of the instance that had it,
// is known by the owner of its root.
func TestAdoptShiftedVolume(t *testing.T) {
	ctx := t.Context()
	from := newSystem(t)
	file := filledPool(t, from)
	mnt := from.dir.MountPoint("p")
	idmap := `[{"Isuid":true,"Isgid":true,"Hostid":300000,"Nsid":0,"Maprange":65536}]`
	p, err := tree.Open(mnt)
	if err == nil {
		_, err = p.UpdateInstance("c1", func(i *tree.Instance) error {
			i.Config = map[string]string{lastIDMap: idmap}
			return nil
		})
	}
	err = errors.Join(err, p.Close(), btrfs.CreateSubvolume(mnt+"/custom/default_shifted"), os.Chown(mnt+"/custom/default_shifted", 300000, 300000),
		btrfs.CreateSubvolume(mnt+"/custom/default_other"), os.Chown(mnt+"/custom/default_other", 1000, 1000), from.DetachPool(ctx, "p"))
	away := filepath.Join(t.TempDir(), "away.img")
	if err = errors.Join(err, os.Rename(file, away), from.DeletePool(ctx, "p", true)); err != nil {
		t.Fatal(err)
	}
	s := newSystem(t)
	adopt(t, s, away, "")
	o, err := s.openPool(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"shifted": idmap, "other": "", "v": ""} {
		if v, err := o.Volume(name); err != nil || v.Config[volumeIDMap] != want {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
	if err := o.close(); err != nil {
		t.Error(err)
	}
}

// A pool on a block device, and one in a subvolume, are adopted as what they are.
func TestAdoptKinds(t *testing.T) {
	ctx := t.Context()
	t.Run("device", func(t *testing.T) {
		file := leftPool(t)
		s := newSystem(t)
		dev := losetup(t, file)
		adopt(t, s, dev, "")
		rec, err := s.loadPool("p")
		if err != nil || rec.Kind != state.PoolDevice || rec.Source != dev || rec.Config["size"] != "" {
			t.Errorf("%+v, %v", rec, err)
		}
		if _, err := s.Instance(ctx, "c1"); err != nil {
			t.Error(err)
		}
		if err := s.DetachPool(ctx, "p"); err != nil {
			t.Error(err)
		}
	})
	t.Run("subvolume", func(t *testing.T) {
		file := bareBtrfs(t, filepath.Join(t.TempDir(), "disk.img"), nil)
		mnt := mountDevice(t, losetup(t, file), 0)
		sub := filepath.Join(mnt, "pools")
		if err := errors.Join(btrfs.CreateSubvolume(sub), os.Mkdir(sub+"/containers", 0o711), os.Mkdir(sub+"/images", 0o700)); err != nil {
			t.Fatal(err)
		}
		s := newSystem(t)
		adopt(t, s, sub, "")
		rec, err := s.loadPool("pools")
		if err != nil || rec.Kind != state.PoolDirectory || rec.SubvolumeID == 0 {
			t.Errorf("%+v, %v", rec, err)
		}
		addInstance(t, s, "pools", "c9")
		in, err := s.Inspect(ctx, sub)
		if err != nil || in.Pool != "pools" || len(in.Instances) != 1 {
			t.Errorf("%+v, %v", in, err)
		}
		if err := s.DetachPool(ctx, "pools"); err != nil {
			t.Error(err)
		}
		if _, err := s.AdoptPool(ctx, sub, AdoptOptions{Name: "again"}); !errors.Is(err, ErrExists) {
			t.Errorf("adopted twice: %v", err)
		}
		if err := s.dir.DeletePool("pools"); err != nil { // what is left is the owner's
			t.Error(err)
		}
	})
}

// What cannot be adopted safely is refused with its reason, and nothing is left of
// the attempt.
func TestAdoptRefuses(t *testing.T) {
	file := leftPool(t)
	s := newSystem(t)
	ctx := t.Context()
	refused := func(what, file, name, want string) error {
		t.Helper()
		_, err := s.AdoptPool(ctx, file, AdoptOptions{Name: name})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %q", what, err, want)
		}
		if entries, _ := os.ReadDir(s.journalDir()); len(entries) > 0 {
			t.Errorf("%s: left in the journal: %v", what, entries)
		}
		return err
	}
	if err := refused("a bad name", file, "a b", "invalid pool name"); !errors.Is(err, state.ErrInvalidName) {
		t.Errorf("a bad name: %v", err)
	}
	readOnly := bound(t, filepath.Dir(file))
	if err := unix.Mount("", readOnly, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	err := refused("read-only", filepath.Join(readOnly, "away.img"), "", "it cannot be written to: read-only file system")
	if !strings.Contains(hint(err), "pool inspect") {
		t.Errorf("hint %q", hint(err))
	}
	withoutTraces(t, file)

	dev := losetup(t, file)
	mnt := mountDevice(t, dev, 0)
	if err := refused("mounted", file, "", dev+" at "+mnt); !errors.Is(err, ErrInUse) {
		t.Errorf("mounted: %v", err)
	}
	if err := errors.Join(unix.Unmount(mnt, 0), exec.CommandContext(ctx, "losetup", "-d", dev).Run()); err != nil {
		t.Fatal(err)
	}

	createPool(t, s, "p", nil)
	if err := refused("the name is taken", file, "", "pool p: already exists"); !strings.Contains(hint(err), "--name") {
		t.Errorf("hint %q", hint(err))
	}
	addInstance(t, s, "p", "c1")
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if err := refused("an instance of that name is here", file, "q", "instances of the same name are here: c1 (in pool p): already exists"); !errors.Is(err, ErrExists) {
		t.Errorf("an instance of that name is here: %v", err)
	}
	if pools, err := s.Pools(ctx); err != nil || len(pools) != 1 || pools[0].Status != "Detached" {
		t.Errorf("pools: %+v, %v", pools, err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := s.AdoptPool(cancelled, file, AdoptOptions{Name: "q"}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	withoutTraces(t, file)
	if _, err := os.Lstat(s.dir.MountPoint("q")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its mount point: %v", err)
	}
	if err := s.Delete(ctx, "c1", false); err != nil {
		t.Fatal(err)
	}
	adopt(t, s, file, "q")
}

// lostEntry is an entry of the journal whose owner was killed.
func lostEntry(t *testing.T, s *System, op string, args any) string {
	t.Helper()
	e, err := journal.Begin(t.Context(), s.journalDir(), op, args)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	return e.Dir()
}

// An adoption that was killed after its commit is finished by the next command,
// one that was killed before it undone: the file is as it was.
func TestAdoptIsRecovered(t *testing.T) {
	file := leftPool(t)
	s := newSystem(t)
	ctx := t.Context()
	c, about, err := s.lookForAdoption(ctx, file)
	if err != nil {
		t.Fatal(err)
	}
	in := adopting{Name: "q", Path: c.rec.Source, Former: about.name}
	rec := c.rec
	rec.Name, rec.Config = "q", map[string]string{}
	if err := s.mountPool(ctx, rec); err != nil {
		t.Fatal(err)
	}
	recovered := func() {
		t.Helper()
		e := lostEntry(t, s, opAdopt, in)
		again, err := Open(ctx, Options{Root: s.dir.Root, Notice: func(l string) { t.Log(l) }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Lstat(e); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the entry is left: %v", err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}
	recovered()
	withoutTraces(t, file)
	if _, err := os.Stat(file); err != nil {
		t.Fatal(err)
	}
	if err := s.mountPool(ctx, rec); err != nil {
		t.Fatal(err)
	}
	if err := s.dir.SavePool(rec); err != nil {
		t.Fatal(err)
	}
	recovered()
	if got, err := s.Instance(ctx, "c1"); err != nil || got.ExpandedDevices["root"]["pool"] != "q" {
		t.Errorf("%+v, %v", got, err)
	}
}
