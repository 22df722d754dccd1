package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/images/tarball"
	"poolctl/pool/backup"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// Running out of room on the host makes btrfs give up the pool's file system:
// an image that may not fit there once it is unpacked is refused before that.
func TestHostSpaceIsAskedFor(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	host := t.TempDir()
	if err := unix.Mount("tmpfs", host, "tmpfs", 0, "size=160m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.DeletePool(context.Background(), "p", true); err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(host, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	createPool(t, s, "p", map[string]string{"size": "1GiB", "source": filepath.Join(host, "p.img")})
	rec, err := s.dir.LoadPool("p")
	if err != nil {
		t.Fatal(err)
	}
	const compressed = 3 << 20
	need := spaceNeed{what: "image 0123", least: compressed, most: unpackedSize(compressed)}
	if err := s.needSpace(ctx, rec, need); err != nil {
		t.Errorf("with room for it: %v", err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(host, &st); err != nil {
		t.Fatal(err)
	}
	fill, err := os.Create(filepath.Join(host, "fill"))
	if err == nil {
		err = unix.Fallocate(int(fill.Fd()), 0, 0, int64(st.Bavail)*st.Bsize-2*compressed)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = fill.Close() }()
	if err := s.needSpace(ctx, rec, need); err == nil || !strings.Contains(err.Error(), "on the host") {
		t.Errorf("with room for the compressed files only: %v", err)
	}
}

// Each kind of room is asked for, and the refusal has the numbers and what to do.
func TestSpacePlan(t *testing.T) {
	const mib = 1 << 20
	roomy := SpacePlan{
		What: "image 0123", Pool: "p", Least: 50 * mib, Most: 200 * mib, Metadata: 5 * mib, PoolFree: 500 * mib, MetadataFree: 100 * mib, QuotaFree: -1,
		HostPath: "/srv", HostGrowth: 216 * mib, HostFree: 1000 * mib, TargetFree: -1,
	}
	for _, c := range []struct {
		name          string
		change        func(*SpacePlan)
		problem, hint string
		warning       string
	}{
		{name: "it fits", change: func(*SpacePlan) {}},
		{name: "pool", change: func(p *SpacePlan) { p.PoolFree = 40 * mib }, problem: "pool p has 40MiB free, and image 0123 takes at least 50MiB", hint: "pool resize p"},
		{name: "perhaps", change: func(p *SpacePlan) { p.PoolFree = 60 * mib }, warning: "may not fit: pool p has 60MiB free, and it can take up to 200MiB"},
		{name: "metadata", change: func(p *SpacePlan) { p.MetadataFree = 4 * mib }, problem: "pool p has room for 4MiB of metadata, and image 0123 takes about 5MiB", hint: "pool balance p"},
		{name: "host", change: func(p *SpacePlan) { p.HostFree = 100 * mib }, problem: "/srv has 100MiB free on the host, and pool p may have to grow by 216MiB", hint: "pool trim p"},
		{name: "no growth", change: func(p *SpacePlan) { p.HostGrowth, p.HostFree = 0, 0 }},
		{name: "no file", change: func(p *SpacePlan) { p.HostPath, p.HostFree = "", -1 }},
		{name: "target", change: func(p *SpacePlan) { p.TargetPath, p.TargetSize, p.TargetFree = "/out", 7*mib, 6*mib }, problem: "/out has 6MiB free, and image 0123 takes 7MiB", hint: "elsewhere"},
	} {
		plan := roomy
		c.change(&plan)
		plan.judge()
		if plan.Problem != c.problem || !strings.Contains(plan.Hint, c.hint) || !strings.Contains(plan.Warning, c.warning) || (plan.Warning == "") != (c.warning == "") {
			t.Errorf("%s: %+v", c.name, plan)
		}
		if (plan.Err() == nil) != (c.problem == "") {
			t.Errorf("%s: %v", c.name, plan.Err())
		}
	}
}

// What is full is named, whatever wrapped the errno.
func TestNameFull(t *testing.T) {
	s := newSystem(t)
	rec := state.PoolRecord{Name: "p", Source: t.TempDir()}
	for want, errno := range map[string]error{"pool p is full": unix.ENOSPC, "a quota of pool p": unix.EDQUOT, "no such file": unix.ENOENT} {
		err := s.nameFull(rec, fmt.Errorf("cannot write: %w", errno))
		if !errors.Is(err, errno) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", errno, err)
		}
	}
	full := t.TempDir()
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(full, unix.MNT_DETACH) }()
	rec.Source = full
	if err := s.nameFull(rec, unix.ENOSPC); !strings.Contains(err.Error(), "on the host is full") {
		t.Error(err)
	}
}

// What the kernel keeps for itself is no room for trees, and unallocated space is, once for each copy.
func TestMetadataFree(t *testing.T) {
	for _, c := range []struct {
		name string
		u    btrfs.Usage
		want int64
	}{
		{"dup", btrfs.Usage{Unallocated: 100, Metadata: btrfs.SpaceUsage{Allocated: 50, Used: 10, Profile: "dup"}, GlobalReserve: 5}, 85},
		{"single", btrfs.Usage{Unallocated: 100, Metadata: btrfs.SpaceUsage{Allocated: 50, Used: 10, Profile: "single"}, GlobalReserve: 5}, 135},
		{"all reserved", btrfs.Usage{Metadata: btrfs.SpaceUsage{Allocated: 50, Used: 48, Profile: "dup"}, GlobalReserve: 5}, 0},
		{"mixed", btrfs.Usage{Free: 70}, 70},
	} {
		if got := metadataFree(c.u); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A backup in a file is held against the pool when what it is of has been read, and before anything is unpacked.
func TestBackupSpace(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", map[string]string{"size": "128MiB"})
	f, err := os.Create(filepath.Join(t.TempDir(), "backup.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	raw, err := volumeIndex("p", BackupOptions{}, tree.Volume{Name: "v"}).Encode()
	if err == nil {
		err = tarball.NewWriter(f).AddFile(backup.IndexFile, raw, time.Now())
	}
	if err == nil {
		err = f.Truncate(4 << 30)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = s.ImportVolume(t.Context(), ImportVolumeOptions{Pool: "p"}, f)
	if err == nil || !strings.Contains(err.Error(), "cannot import a volume: pool p has ") || !strings.Contains(err.Error(), "the backup takes at least 4GiB") {
		t.Errorf("a backup larger than the pool: %v", err)
	}
	if at, err := f.Seek(0, io.SeekCurrent); at > 4<<20 || err != nil {
		t.Errorf("read up to %d, %v", at, err)
	}
	if all, err := s.Volumes(t.Context(), "p", true); err != nil || len(all) != 0 {
		t.Errorf("%+v, %v", all, err)
	}
}
