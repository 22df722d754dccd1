package pool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/runtime"
)

func TestMain(m *testing.M) {
	runtime.Main(Hooks())
	os.Exit(m.Run())
}

// newSystem opens a System on a state directory of its own, and ends whatever
// the test left in it.
func newSystem(t *testing.T) *System {
	t.Helper()
	root := t.TempDir()
	s, err := Open(t.Context(), Options{Root: root, Version: "test", Notice: func(l string) { t.Log(l) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		pools, err := s.Pools(ctx)
		if err != nil {
			t.Error(err)
		}
		for _, p := range pools {
			_ = s.UnmountPool(ctx, p.Name, "")
			if err := s.DeletePool(ctx, p.Name, true); err != nil {
				t.Errorf("clean-up: %v", err)
			}
		}
		mounts, _ := os.ReadFile("/proc/self/mountinfo")
		if strings.Contains(string(mounts), root) {
			t.Errorf("mounts left below %s", root)
		}
		loops, err := loopdev.List()
		if err != nil {
			t.Error(err)
		}
		for _, l := range loops {
			if strings.HasPrefix(l.BackingFile, root) {
				t.Errorf("loop device left: %s on %s", l.Path, l.BackingFile)
			}
		}
	})
	return s
}

func createPool(t *testing.T, s *System, name string, config map[string]string) {
	t.Helper()
	if config == nil {
		config = map[string]string{"size": "256MiB"}
	}
	if err := s.CreatePool(t.Context(), CreatePoolOptions{Name: name, Config: config}); err != nil {
		t.Fatal(err)
	}
}

func TestPoolLife(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	img := filepath.Join(s.dir.Disks(), "p1.img")
	info, err := s.PoolInfo(ctx, "p1")
	if err != nil {
		t.Fatal(err)
	}
	if !info.Attached || len(info.Loop) != 1 || info.Usage == nil || info.File.Size != 256<<20 || info.File.Allocated > 64<<20 {
		t.Errorf("info of a new pool: %+v", info)
	}
	if super, err := btrfs.ReadSuper(img); err != nil || super.Label != "p1" {
		t.Errorf("label = %q, %v; want the pool's name", super.Label, err)
	}
	for dir, mode := range map[string]os.FileMode{"containers": 0o711, "containers-snapshots": 0o711, "images": 0o700, "custom": 0o700, "virtual-machines": 0o700} {
		fi, err := os.Stat(filepath.Join(s.dir.MountPoint("p1"), dir))
		if err != nil || fi.Mode().Perm() != mode {
			t.Errorf("%s: %v %v; want %v", dir, fi, err, mode)
		}
	}
	shown, err := s.Pool(ctx, "p1")
	if err != nil || shown.Driver != "btrfs" || shown.Config["size"] != "256MiB" || shown.Config["source"] != img || shown.Status != "Created" {
		t.Errorf("Pool() = %+v, %v", shown, err)
	}
	if err := s.DetachPool(ctx, "p1"); err != nil {
		t.Fatal(err)
	}
	if loops, err := loopdev.Find(img); err != nil || len(loops) != 0 {
		t.Errorf("after detach: loop devices %v, %v", loops, err)
	}
	if shown, err := s.Pools(ctx); err != nil || shown[0].Status != "Detached" {
		t.Errorf("after detach: %+v, %v", shown, err)
	}
	for range 2 { // twice: attaching what is attached changes nothing
		if err := s.AttachPool(ctx, "p1"); err != nil {
			t.Fatal(err)
		}
	}
	if loops, err := loopdev.Find(img); err != nil || len(loops) != 1 || !loops[0].Autoclear {
		t.Errorf("after attach: loop devices %+v, %v", loops, err)
	}
	if err := s.DeletePool(ctx, "p1", false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(img); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after delete: %s is still there: %v", img, err)
	}
	if _, err := s.Pool(ctx, "p1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after delete: Pool() = %v", err)
	}
}

func TestCreatePoolRefuses(t *testing.T) {
	s := newSystem(t)
	dir := t.TempDir()
	mine := filepath.Join(dir, "mine.img")
	if err := os.WriteFile(mine, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	createPool(t, s, "taken", nil)
	for name, o := range map[string]CreatePoolOptions{
		"name with a slash":   {Name: "a/b"},
		"name with dots":      {Name: ".."},
		"empty name":          {},
		"unknown driver":      {Name: "x", Driver: "zfs"},
		"unknown key":         {Name: "x", Config: map[string]string{"sise": "1GiB"}},
		"bad size":            {Name: "x", Config: map[string]string{"size": "many"}},
		"too small":           {Name: "x", Config: map[string]string{"size": "1MiB"}},
		"existing file":       {Name: "x", Config: map[string]string{"source": mine}},
		"directory":           {Name: "x", Config: map[string]string{"source": dir}},
		"no such directory":   {Name: "x", Config: map[string]string{"source": dir + "/no/x.img"}},
		"name that is taken":  {Name: "taken", Config: map[string]string{"source": dir + "/other.img"}},
		"orphaned image file": {Name: "orphan"},
	} {
		if name == "orphaned image file" {
			if err := os.WriteFile(filepath.Join(s.dir.Disks(), "orphan.img"), []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		err := s.CreatePool(t.Context(), o)
		if err == nil || !strings.HasPrefix(err.Error(), "cannot create pool") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, f := range []string{mine, filepath.Join(s.dir.Disks(), "orphan.img")} {
		if b, err := os.ReadFile(f); err != nil || string(b) != "precious" {
			t.Errorf("%s was touched: %q, %v", f, b, err)
		}
	}
	if pools, err := s.Pools(t.Context()); err != nil || len(pools) != 1 {
		t.Errorf("pools after refusals: %+v, %v", pools, err)
	}
	if entries, err := os.ReadDir(s.journalDir()); err != nil || len(entries) != 0 {
		t.Errorf("journal after refusals: %v, %v", entries, err)
	}
}

func TestCreatePoolCancelled(t *testing.T) {
	s := newSystem(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.CreatePool(ctx, CreatePoolOptions{Name: "x", Config: map[string]string{"size": "256MiB"}}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.dir.Disks(), "x.img")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cancelled, but the file is there: %v", err)
	}
}

func TestPoolMounts(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	dir := t.TempDir()
	where, err := s.MountPool(ctx, "p", dir)
	if err != nil || where != dir {
		t.Fatalf("MountPool = %q, %v", where, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "containers")); err != nil {
		t.Error(err)
	}
	if err := s.DetachPool(ctx, "p"); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("detach while mounted at %s: %v", dir, err)
	}
	if _, err := s.MountPool(ctx, "p", dir); err == nil {
		t.Error("mounted twice at one place")
	}
	if err := s.UnmountPool(ctx, "p", t.TempDir()); err == nil {
		t.Error("unmounted where nothing is mounted")
	}
	if err := s.UnmountPool(ctx, "p", dir); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(s.dir.MountPoint("p"))
	if err != nil {
		t.Fatal(err)
	}
	err = s.DetachPool(ctx, "p")
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "used by process") {
		t.Errorf("detach while open: %v", err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Error(err)
	}
}

func TestAttachRefusesCopies(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(s.dir.Disks(), "p.img")
	copied := filepath.Join(t.TempDir(), "copy.img")
	raw, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	dev, err := loopdev.Attach(ctx, copied, loopdev.AttachOptions{})
	if err != nil {
		t.Fatal(err)
	}
	mp := t.TempDir()
	if err := unix.Mount(dev.Path(), mp, "btrfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(mp, 0); _ = dev.Close() }()
	err = s.AttachPool(ctx, "p")
	if err == nil || !strings.Contains(err.Error(), mp) {
		t.Errorf("attached while a copy is mounted: %v", err)
	}
	if loops, err := loopdev.Find(img); err != nil || len(loops) != 0 {
		t.Errorf("loop devices left: %v, %v", loops, err)
	}
}
