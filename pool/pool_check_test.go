package pool

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolctl/btrfs"
)

// damage changes one byte of a text in a pool's file, below the file system.
func damage(t *testing.T, file string, text []byte) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, text)
	if at < 0 {
		t.Fatal("the text is nowhere in the pool's file")
	}
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte{text[0] ^ 1}, int64(at))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A scrub names what has lost something: the instance, its snapshot, and the path.
// Afterwards its result can be asked for.
func TestScrubNamesDamagedFiles(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	mp := s.dir.MountPoint("p")
	text := bytes.Repeat([]byte("a text that is in one file only; "), 300)
	if err := errors.Join(os.MkdirAll(filepath.Join(mp, "containers/c1/rootfs"), 0o755), os.WriteFile(filepath.Join(mp, "containers/c1/rootfs/lost file"), text, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"}); err != nil {
		t.Fatal(err)
	}
	if err := btrfs.Sync(mp); err != nil {
		t.Fatal(err)
	}
	if r, err := s.ScrubOf(ctx, "p"); err != nil || r.Status != "never" {
		t.Errorf("before: %+v, %v", r, err)
	}
	var last Progress
	if r, err := s.ScrubPool(ctx, "p", ScrubOptions{Progress: func(p Progress) { last = p }}); err != nil || r.Status != "finished" || r.Result.DataBytes == 0 {
		t.Fatalf("whole: %+v, %v, %v", r, err, last)
	}
	damage(t, s.dir.DiskFile("p"), text[:33])
	want := []DamagedFile{{Object: "snapshot c1/s0", Path: "rootfs/lost file", Length: 4096}, {Object: "instance c1", Path: "rootfs/lost file", Length: 4096}}
	for _, readOnly := range []bool{true, false} {
		r, err := s.ScrubPool(ctx, "p", ScrubOptions{ReadOnly: readOnly})
		if !errors.Is(err, ErrDamaged) || !slices.Equal(r.Damaged, want) {
			t.Errorf("read-only %v: %+v, %v", readOnly, r, err)
		}
	}
	again, err := Open(ctx, Options{Root: s.dir.Root})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := again.ScrubOf(ctx, "p"); err != nil || r.Status != "finished" || !slices.Equal(r.Damaged, want) || r.Result.UncorrectableErrors == 0 {
		t.Errorf("asked later: %+v, %v", r, err)
	}
	if info, err := s.PoolInfo(ctx, "p"); err != nil || info.Health.Errors.CorruptionErrors == 0 || info.Health.Healthy() {
		t.Errorf("health: %+v, %v", info.Health, err)
	}
	if c, err := s.CheckPool(ctx, "p", nil); !errors.Is(err, ErrDamaged) || len(c.Problems) != 1 || c.Problems[0].Object != "device" {
		t.Errorf("check: %+v, %v", c, err)
	}
	if err := os.Remove(filepath.Join(mp, "containers/c1/rootfs/lost file")); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteSnapshot(ctx, "c1", "s0"); err != nil {
		t.Fatal(err)
	}
	if err := btrfs.WaitDeleted(ctx, mp); err != nil {
		t.Fatal(err)
	}
	if r, err := s.ScrubPool(ctx, "p", ScrubOptions{Reset: true}); err != nil || len(r.Damaged) != 0 {
		t.Errorf("with the files gone: %+v, %v", r, err)
	}
	if info, err := s.PoolInfo(ctx, "p"); err != nil || !info.Health.Healthy() {
		t.Errorf("health after the reset: %+v, %v", info.Health, err)
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if r, err := s.ScrubPool(short, "p", ScrubOptions{}); err == nil {
		t.Errorf("cancelled: %+v", r)
	}
	if err := s.CancelScrub(ctx, "p"); !errors.Is(err, btrfs.ErrNoScrub) {
		t.Errorf("nothing to cancel: %v", err)
	}
}

// What is not as it should be in a pool is told, attached or not, and a check
// changes nothing.
func TestCheckPool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	if _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"}); err != nil {
		t.Fatal(err)
	}
	mp, img := s.dir.MountPoint("p"), s.dir.DiskFile("p")
	text := bytes.Repeat([]byte("a text that is in one file only; "), 300)
	if err := os.WriteFile(filepath.Join(mp, "containers/c1/lost"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	check := func(when string, attached bool, want ...string) {
		t.Helper()
		c, err := s.CheckPool(ctx, "p", nil)
		if err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatalf("%s: %v", when, err)
		}
		var got []string
		for _, p := range c.Problems {
			got = append(got, p.Object)
		}
		if c.Attached != attached || (err != nil) != (len(want) > 0) || !slices.Equal(got, want) {
			t.Errorf("%s: %+v, %v; want problems with %v", when, c, err, want)
		}
		if full := strings.Join(c.Done, ","); attached && full != "health,superblocks,metadata,layout" || !attached && len(want) == 0 && !strings.Contains(full, "btrfs check") && !strings.Contains(full, "data") {
			t.Errorf("%s: done %s", when, full)
		}
	}
	check("attached", true)
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	check("detached", false)
	if after, err := os.ReadFile(img); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the check of a detached pool changed it: %v", err)
	}
	if pools, err := s.Pools(ctx); err != nil || pools[0].Status != "Detached" {
		t.Errorf("after the check: %+v, %v", pools, err)
	}
	if err := s.AttachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		btrfs.SetReadOnly(filepath.Join(mp, "containers-snapshots/c1/s0"), false),
		os.WriteFile(filepath.Join(mp, "containers/c1/backup.yaml"), []byte("{torn"), 0o400),
		os.WriteFile(filepath.Join(mp, ".poolctl/images", strings.Repeat("0", 64)+".json"), []byte("{}"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	problems := []string{"instance c1", "snapshot c1/s0", "image " + strings.Repeat("0", 64)}
	check("damaged layout", true, problems...)
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	check("damaged layout, detached", false, problems...)
	if super, err := btrfs.ReadSuper(img); err != nil || super.Incompat&(1<<16) != 0 { // simple quotas, which an old btrfs-progs does not know
		damage(t, img, text[:33])
		check("damaged data, detached", false, append([]string{"instance c1"}, problems...)...)
	}
	f, err := os.OpenFile(img, os.O_RDWR, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("xyz"), 64<<20+300)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	check("damaged superblock", false, "superblock")
	if err := os.Rename(img, img+".away"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CheckPool(ctx, "p", nil); err == nil {
		t.Error("checked without a file")
	}
	if err := os.Rename(img+".away", img); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CheckPool(ctx, "q", nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("no such pool: %v", err)
	}
}

func TestObjectOf(t *testing.T) {
	for path, want := range map[string][2]string{
		"containers/c1":              {"instance c1", ""},
		"containers/c1/rootfs/var/x": {"instance c1", "rootfs/var/x"},
		"containers-snapshots/c1/s0": {"snapshot c1/s0", ""},
		"images/abc":                 {"image abc", ""},
		"custom/default_v":           {"volume default_v", ""},
		"custom-snapshots/v/s/sub":   {"volume snapshot v/s", "sub"},
		"mine/x":                     {"/mine/x", ""},
		"":                           {"/", ""},
		"containers":                 {"/containers", ""},
	} {
		if object, prefix := objectOf(path); object != want[0] || prefix != want[1] {
			t.Errorf("%q: %q, %q", path, object, prefix)
		}
	}
}
