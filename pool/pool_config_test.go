package pool

import (
	"errors"
	"maps"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// mountOptionsOf are the options that the kernel shows of a pool's mount.
func mountOptionsOf(t *testing.T, s *System, name string) string {
	t.Helper()
	rec, err := s.loadPool(name)
	if err != nil {
		t.Fatal(err)
	}
	mounts, err := btrfs.MountsOf(rec.UUID)
	if err != nil || len(mounts) != 1 {
		t.Fatalf("mounts of %s: %v, %v", name, mounts, err)
	}
	return "," + mounts[0].Options + ","
}

func setPool(t *testing.T, s *System, name string, config map[string]string) {
	t.Helper()
	if err := s.SetPool(t.Context(), name, PoolChange{Config: config}); err != nil {
		t.Fatal(err)
	}
}

func TestSetPool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "256MiB", "user.a": "1", "user.empty": ""})
	text := "new"
	if err := s.SetPool(ctx, "p", PoolChange{Config: map[string]string{"user.b": "2", "user.a": "", "volume.size": "1GiB", "user.never": ""}, Description: &text}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"size": "256MiB", "source": s.dir.DiskFile("p"), "user.b": "2", "volume.size": "1GiB"}
	got, err := s.PoolConfig(ctx, "p")
	if err != nil || !maps.Equal(got.Config, want) || got.Description != "new" {
		t.Fatalf("%+v, %v; want %v", got, err, want)
	}
	for name, config := range map[string]map[string]string{
		"unknown key":        {"sise": "", "user.c": "3"},
		"bad value":          {"volume.size": "big", "user.c": "3"},
		"size and another":   {"size": "512MiB", "user.c": "3"},
		"bad size":           {"size": "big"},
		"size unset":         {"size": ""},
		"source":             {"source": "/elsewhere.img", "user.c": "3"},
		"source unset":       {"source": "", "user.c": "3"},
		"create options":     {"btrfs.create_options": "-K", "user.c": "3"},
		"two compressions":   {"compress": "zstd", "btrfs.mount_options": "compress=lzo", "user.c": "3"},
		"kernel refuses it":  {"btrfs.mount_options": "commit=soon", "user.c": "3"},
		"block volume's key": {"volume.block.filesystem": "ext4", "user.c": "3"},
	} {
		err := s.SetPool(ctx, "p", PoolChange{Config: config})
		if err == nil || !strings.HasPrefix(err.Error(), "cannot change pool p: ") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if now, err := s.PoolConfig(ctx, "p"); err != nil || !maps.Equal(now.Config, want) {
		t.Errorf("after refusals: %+v, %v", now, err)
	}
	setPool(t, s, "p", want) // what it is already
	if err := s.SetPool(ctx, "p", PoolChange{Config: map[string]string{"size": "512MiB"}}); err != nil {
		t.Fatal(err)
	}
	if info, err := s.PoolInfo(ctx, "p"); err != nil || info.File.Size != 512<<20 || info.Pool.Config["size"] != "512MiB" || info.Pool.Config["user.b"] != "2" {
		t.Errorf("after size=512MiB: %+v, %v", info, err)
	}
	if err := s.SetPool(ctx, "nope", PoolChange{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a pool that is not there: %v", err)
	}
}

func TestReplacePool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	was, err := s.PoolConfig(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	now := PoolConfig{Config: maps.Clone(was.Config), Description: "d"}
	now.Config["user.a"] = "1"
	if err := s.ReplacePool(ctx, "p", was, now, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.ReplacePool(ctx, "p", was, PoolConfig{Config: was.Config}, nil); err == nil || !strings.Contains(err.Error(), "meanwhile") {
		t.Errorf("over somebody else's change: %v", err)
	}
	if err := s.ReplacePool(ctx, "p", now, PoolConfig{}, nil); err == nil || !strings.Contains(err.Error(), "cannot be changed") {
		t.Errorf("size and source left out: %v", err)
	}
	size := now.Config["size"]
	delete(now.Config, "size")
	if err := s.ReplacePool(ctx, "p", PoolConfig{Config: withKey(now.Config, "size", size), Description: now.Description}, now, nil); err != nil {
		t.Errorf("the size is left out: %v", err)
	}
	now.Config["size"] = size
	if err := s.ReplacePool(ctx, "p", now, was, nil); err != nil {
		t.Fatal(err)
	}
	if have, err := s.PoolConfig(ctx, "p"); err != nil || !maps.Equal(have.Config, was.Config) || have.Description != "" {
		t.Errorf("%+v, %v", have, err)
	}
}

// Mount options of an attached pool change at once, and hold for the next mount.
func TestMountOptionsTakeEffect(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "256MiB", "compress": "zstd:5"})
	has := func(when, option string, want bool) {
		t.Helper()
		if got := mountOptionsOf(t, s, "p"); strings.Contains(got, ","+option+",") != want {
			t.Errorf("%s: %s is there: %v; options %s", when, option, !want, got)
		}
	}
	has("created", "compress=zstd:5", true)
	has("created", "user_subvol_rm_allowed", true)
	setPool(t, s, "p", map[string]string{"compress": "lzo"})
	has("changed", "compress=lzo", true)
	setPool(t, s, "p", map[string]string{"compress": "none"})
	has("none", "compress=lzo", false)
	setPool(t, s, "p", map[string]string{"compress": "", "btrfs.mount_options": "noatime,autodefrag,compress-force=zlib:2"})
	has("own options", "noatime", true)
	has("own options", "autodefrag", true)
	has("own options", "compress-force=zlib:2", true)
	setPool(t, s, "p", map[string]string{"btrfs.mount_options": "commit=77"})
	has("others", "noatime", false)
	has("others", "autodefrag", false)
	has("others", "compress-force=zlib:2", false)
	has("others", "commit=77", true)
	if err := errors.Join(s.DetachPool(ctx, "p"), s.AttachPool(ctx, "p")); err != nil {
		t.Fatal(err)
	}
	has("attached again", "commit=77", true)
	has("attached again", "user_subvol_rm_allowed", false)
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	setPool(t, s, "p", map[string]string{"btrfs.mount_options": "", "compress": "zlib"}) // while it is detached
	if pools, err := s.Pools(ctx); err != nil || pools[0].Status != "Detached" {
		t.Errorf("set attached the pool: %+v, %v", pools, err)
	}
	if err := s.AttachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	has("set while detached", "compress=zlib:3", true)
	has("set while detached", "user_subvol_rm_allowed", true)
}

func TestReserve(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	allocated := func(name string) int64 {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Stat(s.dir.DiskFile(name), &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	createPool(t, s, "full", map[string]string{"size": "256MiB", "reserve": "true"})
	if got := allocated("full"); got < 256<<20 {
		t.Errorf("reserved %d bytes of 256 MiB", got)
	}
	if got := mountOptionsOf(t, s, "full"); !strings.Contains(got, ",nodiscard,") && strings.Contains(got, "discard") {
		t.Errorf("what was reserved is given back by discard: %s", got)
	}
	createPool(t, s, "later", nil)
	if got := allocated("later"); got > 64<<20 {
		t.Errorf("a sparse file has %d bytes", got)
	}
	setPool(t, s, "later", map[string]string{"reserve": "true"})
	if got := allocated("later"); got < 256<<20 {
		t.Errorf("reserved later: %d bytes of 256 MiB", got)
	}
	var fsys unix.Statfs_t
	if err := unix.Statfs(s.dir.Disks(), &fsys); err != nil {
		t.Fatal(err)
	}
	huge := FormatSize((int64(fsys.Bavail)*fsys.Bsize + 10<<30) &^ (1<<30 - 1))
	err := s.CreatePool(ctx, CreatePoolOptions{Name: "huge", Config: map[string]string{"size": huge, "reserve": "true"}})
	if err == nil || !strings.Contains(err.Error(), "cannot reserve") {
		t.Errorf("more than the host has: %v", err)
	}
	if _, err := os.Lstat(s.dir.DiskFile("huge")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the refused pool's file: %v", err)
	}
}

func TestCreateOptionsReachMkfs(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"size": "256MiB", "btrfs.create_options": "--nodesize 32k --csum 'sha256'"})
	super, err := btrfs.ReadSuper(s.dir.DiskFile("p"))
	if err != nil || super.Nodesize != 32<<10 {
		t.Errorf("%+v, %v", super, err)
	}
	if err := s.CreatePool(t.Context(), CreatePoolOptions{Name: "q", Config: map[string]string{"size": "256MiB", "btrfs.create_options": "-d raid1"}}); err == nil {
		t.Error("raid1 on one device")
	}
	if _, err := os.Lstat(s.dir.DiskFile("q")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its file: %v", err)
	}
}

// withKey is a map with one more key.
func withKey(m map[string]string, key, value string) map[string]string {
	out := maps.Clone(m)
	out[key] = value
	return out
}
