package pool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// A pool that is forgotten is whole, whatever it lies on, and can be adopted again with all that is in it.
func TestForgetPool(t *testing.T) {
	dev, _ := newDevice(t, 300<<20)
	owner := ownersFS(t)
	for kind, source := range map[string]string{state.PoolFile: filepath.Join(t.TempDir(), "f.img"), state.PoolDevice: dev, state.PoolDirectory: filepath.Join(owner, "pool")} {
		t.Run(kind, func(t *testing.T) {
			s := newSystem(t)
			ctx := t.Context()
			config := map[string]string{"source": source, "user.mark": "mine"}
			if kind == state.PoolFile {
				config["size"] = "300MiB"
			}
			createPool(t, s, "p", config)
			withPrecious(t, s)
			ok(t, s.setProfileDevice(ctx, defaultProfile, "root", rootIn("p")))
			for range 2 { // made here, and adopted
				got, err := s.ForgetPool(ctx, "p")
				if err != nil || got != source {
					t.Fatalf("forget: %q, %v", got, err)
				}
				if _, err := s.dir.LoadPool("p"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("it is there: %v", err)
				}
				def, err := s.profile(defaultProfile)
				if err != nil || len(def.Devices) != 0 {
					t.Errorf("the default profile: %+v, %v", def, err)
				}
				if _, err := s.AdoptPool(ctx, source, AdoptOptions{Name: map[bool]string{true: "p"}[kind == state.PoolDirectory]}); err != nil {
					t.Fatal(err)
				}
				isPrecious(t, s)
				rec, err := s.dir.LoadPool("p")
				if err != nil || rec.Config["user.mark"] != "mine" || !rec.Adopted {
					t.Errorf("the record: %+v, %v", rec, err)
				}
			}
			if kind == state.PoolDirectory {
				ok(t, btrfs.CreateSubvolume(filepath.Join(source, "virtual-machines/vm1")))
			}
			err := s.DeletePool(ctx, "p", false)
			if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "it was adopted, and is in use: in it: instance c1, snapshot c1/s0") ||
				!strings.HasPrefix(hintOf(err), "poolctl pool forget p keeps it as it is; --force deletes ") || !strings.HasSuffix(hintOf(err), source) {
				t.Errorf("deleted without force: %v (%s)", err, hintOf(err))
			}
			ok(t, s.DeletePool(ctx, "p", true))
			_, err = os.Lstat(filepath.Join(source, "virtual-machines/vm1"))
			if kind == state.PoolDirectory && err != nil {
				t.Errorf("a virtual machine of LXD's was deleted: %v", err)
			}
			if _, err := os.Lstat(source); kind == state.PoolFile && err == nil {
				t.Error("with force the file stays")
			}
		})
	}
}

// A pool is not forgotten while it is in use, and an adopted one that is empty is
// not deleted without being asked twice.
func TestForgetRefuses(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	f, err := os.Create(filepath.Join(s.dir.MountPoint("p"), "open"))
	ok(t, err)
	if _, err := s.ForgetPool(ctx, "p"); err == nil || !strings.HasPrefix(err.Error(), "cannot forget pool p: ") || !strings.Contains(err.Error(), "busy") {
		t.Errorf("in use: %v", err)
	}
	ok(t, f.Close(), os.Remove(f.Name()))
	file, err := s.ForgetPool(ctx, "p")
	ok(t, err)
	if _, err := s.ForgetPool(ctx, "p"); !errors.Is(err, ErrNotFound) {
		t.Errorf("twice: %v", err)
	}
	adopt(t, s, file, "q")
	if err := s.DeletePool(ctx, "q", false); err == nil || err.Error() != "cannot delete pool q: it was adopted, and "+file+" was there before" {
		t.Errorf("deleted: %v", err)
	}
}

// Forgotten half by a command that was killed, it is forgotten by the next one.
func TestForgetIsFinished(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	rec, err := s.dir.LoadPool("p")
	ok(t, err, s.DetachPool(t.Context(), "p"))
	lostEntry(t, s, "pool-delete", creating{Name: "p", Kind: rec.Kind, Path: rec.Source, UUID: rec.UUID, Kept: true})
	again, err := Open(t.Context(), Options{Root: s.dir.Root})
	ok(t, err)
	if _, err := again.dir.LoadPool("p"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is there: %v", err)
	}
	adopt(t, again, rec.Source, "")
}
