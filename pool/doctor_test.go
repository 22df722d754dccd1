package pool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/journal"
)

// diagnosis runs the doctor and returns its findings, without those of the host
// that the test runs on.
func diagnosis(t *testing.T, s *System, fix bool) []Finding {
	t.Helper()
	all, err := s.Doctor(t.Context(), DoctorOptions{Fix: fix})
	if err != nil {
		t.Fatal(err)
	}
	var out []Finding
	for _, f := range all {
		if f.Object != "host" {
			out = append(out, f)
		}
		if f.Problem == "" || f.Severity == "" {
			t.Errorf("an empty finding: %+v", f)
		}
	}
	return out
}

// want is a part of what a finding must be.
type want struct{ severity, object, problem, remedy, done string }

// finds checks that the doctor finds just that.
func finds(t *testing.T, s *System, fix bool, wants ...want) {
	t.Helper()
	found := diagnosis(t, s, fix)
	ok := len(found) == len(wants)
	for i := range wants {
		if !ok {
			break
		}
		f, w := found[i], wants[i]
		ok = f.Severity == w.severity && f.Object == w.object && strings.Contains(f.Problem, w.problem) && strings.Contains(f.Remedy, w.remedy) && f.Done == w.done
	}
	if !ok {
		t.Errorf("found (fix: %v)\n%s\nwant\n%+v", fix, printed(found), wants)
	}
}

func printed(found []Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "  %s | %s | %s | %s | %s\n", f.Severity, f.Object, f.Problem, f.Remedy, f.Done)
	}
	return b.String()
}

func TestDoctorFindsNothing(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	createPool(t, s, "away", nil)
	addInstance(t, s, "p", "c1")
	if err := s.DetachPool(t.Context(), "away"); err != nil {
		t.Fatal(err)
	}
	finds(t, s, false)
	finds(t, s, true)
	if info, err := s.PoolInfo(t.Context(), "away"); err != nil || info.Attached {
		t.Errorf("a detached pool after a look at it: %+v, %v", info, err)
	}
}

// What lies below a pool: its file gone, damaged, of another file system, a copy
// of it elsewhere, strangers' devices.
func TestDoctorSources(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	img := s.dir.DiskFile("p")

	idle := losetup(t, img)
	finds(t, s, false, want{"warning", "pool p", idle + " has its file attached as well", "losetup -d " + idle, ""})
	at := mountDevice(t, idle, 0)
	finds(t, s, false, want{"error", "pool p", "(mounted at " + at + ") has its file attached as well", "umount " + at + " && losetup -d " + idle, ""})
	if err := errors.Join(unix.Unmount(at, 0), exec.Command("losetup", "-d", idle).Run()); err != nil {
		t.Fatal(err)
	}
	ro := losetup(t, "-r", img)
	finds(t, s, true, want{"notice", "pool p", "read-only", "losetup -d " + ro, ""})
	if err := exec.Command("losetup", "-d", ro).Run(); err != nil {
		t.Fatal(err)
	}

	copied := filepath.Join(s.dir.Root, "copy.img")
	copyFile(t, img, copied)
	dev := losetup(t, copied)
	finds(t, s, false, want{"notice", "pool p", dev + " has a copy of it: " + copied, "losetup -d " + dev, ""})
	elsewhere(t, "mount "+dev+" "+t.TempDir())
	found := diagnosis(t, s, false)
	if len(found) != 1 || found[0].Severity != "warning" || !strings.Contains(found[0].Problem, "in the mount namespace of process") {
		t.Errorf("a copy that is mounted elsewhere: %s", printed(found))
	}
}

func TestDoctorFiles(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	img, kept := s.dir.DiskFile("p"), filepath.Join(s.dir.Root, "kept")
	if err := os.Rename(img, kept); err != nil {
		t.Fatal(err)
	}
	finds(t, s, false, want{"warning", "pool p", "moved to " + kept, "poolctl pool attach p", ""})
	finds(t, s, true, want{"warning", "pool p", "moved to " + kept, "", "the new place is remembered"})
	finds(t, s, false)
	if err := os.Rename(kept, img); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"warning", "pool p", "moved to " + img, "", "the new place is remembered"})

	if err := errors.Join(s.ReleasePool(ctx, "p"), os.Rename(img, kept)); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"error", "pool p", "it cannot be attached: its file " + img + " is gone", "--source FILE", ""})
	if err := os.WriteFile(img, bytes.Repeat([]byte("x"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"error", "pool p", "no btrfs file system", "", ""})
	if err := errors.Join(os.Rename(kept, img), s.AttachPool(ctx, "p")); err != nil {
		t.Fatal(err)
	}
	finds(t, s, false)

	// Removed for good.
	if err := os.Remove(img); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"error", "pool p", "was removed, and only lives until", "cp --sparse=always /dev/loop", ""})
}

// What a pool itself says: read-only, full, errors of its device, quotas that
// have lost count, instances without a record.
func TestDoctorAttachedPool(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	mp := s.dir.MountPoint("p")

	backup := filepath.Join(mp, "containers/c1/backup.yaml")
	good, err := os.ReadFile(backup)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(backup, []byte("{"), 0o400); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"error", "instance c1", "it cannot be used: ", "snapshots", ""})
	if err := os.WriteFile(backup, good, 0o400); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(mp, "containers/c1/rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := s.MountInstance(t.Context(), "c1", "", MountOptions{})
	if err != nil {
		t.Fatal(err)
	}
	also := bound(t, mp)
	finds(t, s, true, want{"notice", "pool p", "it is mounted at " + also, "poolctl pool umount p " + also, ""},
		want{"notice", "instance c1", "it is mounted at " + dir, "poolctl umount " + dir, ""})
	if err := errors.Join(s.Unmount(t.Context(), "c1"), unix.Unmount(also, 0)); err != nil {
		t.Fatal(err)
	}

	fill, err := os.Create(filepath.Join(mp, "custom/fill"))
	if err != nil {
		t.Fatal(err)
	}
	u, err := btrfs.GetUsage(mp)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(fill.Fd()), 0, 0, int64(u.Free)-4<<20), btrfs.Sync(mp))
	}
	if err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"warning", "pool p", "it is nearly full: ", "poolctl pool resize p", ""})
	if err := errors.Join(fill.Truncate(0), fill.Close(), btrfs.Sync(mp)); err != nil {
		t.Fatal(err)
	}

	if err := unix.Mount("", mp, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	found := diagnosis(t, s, true)
	if len(found) == 0 || found[0].Severity != "error" || !strings.HasPrefix(found[0].Problem, "it is read-only: it was mounted or remounted read-only") {
		t.Errorf("read-only: %s", printed(found))
	}
	if err := unix.Mount("", mp, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	finds(t, s, false)
}

// A byte that changes on the disk is noticed by btrfs when it is read, and by the
// doctor after that.
func TestDoctorDeviceErrors(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p", nil)
	img, path := s.dir.DiskFile("p"), filepath.Join(s.dir.MountPoint("p"), "custom/data")
	pattern := bytes.Repeat([]byte("a pattern that is nowhere else. "), 4096)
	if err := errors.Join(os.WriteFile(path, pattern, 0o600), s.ReleasePool(t.Context(), "p")); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(img)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(raw, pattern)
	if at < 0 {
		t.Fatal("the data is not in the image file")
	}
	f, err := os.OpenFile(img, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt([]byte("X"), int64(at)+70_000)
		err = errors.Join(err, f.Close())
	}
	if err := errors.Join(err, s.AttachPool(t.Context(), "p")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(path); !errors.Is(err, unix.EIO) {
		t.Errorf("the damaged file: %v", err)
	}
	finds(t, s, true, want{"warning", "pool p", "corruption errors", "scrub", ""})
}

// The host below a sparse pool is asked for its room.
func TestDoctorHostSpace(t *testing.T) {
	for _, c := range []struct {
		free, holes int64
		want        string
	}{
		{100, 100, ""},
		{1 << 40, 0, ""},
		{600 << 20, 1 << 30, SeverityNotice},
		{200 << 20, 1 << 30, SeverityWarning},
		{1 << 30, 100 << 30, SeverityWarning},
		{0, 1, SeverityWarning},
	} {
		if got := hostSpace(c.free, c.holes); got != c.want {
			t.Errorf("hostSpace(%d, %d) = %q, want %q", c.free, c.holes, got, c.want)
		}
	}
	s := newSystem(t)
	host := t.TempDir()
	if err := unix.Mount("tmpfs", host, "tmpfs", 0, "size=160m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.DeletePool(context.Background(), "p", true), unix.Unmount(host, 0)); err != nil {
			t.Error(err)
		}
	})
	createPool(t, s, "p", map[string]string{"size": "1GiB", "source": filepath.Join(host, "p.img")})
	finds(t, s, true, want{"warning", "pool p", "its file may still grow by ", "make room there", ""})
}

func TestSpaceProblem(t *testing.T) {
	full := func(size, free, unallocated, allocated, used uint64) btrfs.Usage {
		return btrfs.Usage{
			Size: size << 20, Free: free << 20, Unallocated: unallocated << 20, GlobalReserve: 5 << 20,
			Metadata: btrfs.SpaceUsage{Allocated: allocated << 20, Used: used << 20},
		}
	}
	for _, c := range []struct {
		u    btrfs.Usage
		want string
	}{
		{full(10_000, 5000, 5000, 1000, 10), ""},
		{full(10_000, 400, 5000, 1000, 10), "it is nearly full"},
		{full(10_000, 5000, 100, 1000, 900), "its metadata is nearly full"},
		{full(10_000, 5000, 5000, 1000, 900), ""},
		{full(10_000, 5000, 100, 1000, 700), ""},
		{full(120, 50, 0, 0, 0), ""}, // mixed block groups
	} {
		if got := spaceProblem(c.u); !strings.HasPrefix(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("spaceProblem(%+v) = %q, want %q", c.u, got, c.want)
		}
	}
}

// What is left of what is no pool's, and records that cannot be read.
func TestDoctorStrays(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	junk, orphan := filepath.Join(s.dir.Disks(), "junk"), filepath.Join(s.dir.Disks(), "orphan.img")
	copyFile(t, s.dir.DiskFile("p"), orphan)
	if err := errors.Join(os.WriteFile(junk, []byte("precious"), 0o600), os.Link(s.dir.DiskFile("p"), filepath.Join(s.dir.Disks(), "hardlink"))); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"notice", "file " + junk, "it is no pool's", "", ""},
		want{"notice", "file " + orphan, "a copy of pool p", "remove it", ""})
	if err := btrfs.Mkfs(ctx, orphan, nil, btrfs.MkfsOptions{Label: "old", ExtraArgs: []string{"-f"}}); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"notice", "file " + junk, "it is no pool's", "", ""},
		want{"warning", "file " + orphan, `named "old"`, "poolctl pool adopt " + orphan, ""})
	if err := errors.Join(os.Remove(junk), os.Remove(orphan)); err != nil {
		t.Fatal(err)
	}

	empty, mounted, used := s.dir.MountPoint("empty"), s.dir.MountPoint("mounted"), s.dir.MountPoint("used")
	if err := errors.Join(os.Mkdir(empty, 0o700), os.Mkdir(mounted, 0o700), os.MkdirAll(filepath.Join(used, "x"), 0o700)); err != nil {
		t.Fatal(err)
	}
	onto(t, mounted)
	others := []want{
		{"warning", "directory " + mounted, "something is mounted at it", "umount " + mounted, ""},
		{"notice", "directory " + used, "of no pool", "move away", ""},
	}
	finds(t, s, false, append([]want{{"warning", "directory " + empty, "of no pool", "rmdir " + empty, ""}}, others...)...)
	finds(t, s, true, append([]want{{"warning", "directory " + empty, "of no pool", "", "it was removed"}}, others...)...)
	finds(t, s, true, others...)
	if err := os.RemoveAll(used); err != nil {
		t.Fatal(err)
	}

	record := filepath.Join(s.dir.Pools(), "torn.json")
	if err := os.WriteFile(record, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"error", "pool torn", "torn", "poolctl pool adopt", ""}, others[0])
	if all, err := s.Pools(ctx); err != nil || len(all) != 2 || all[0].Name != "torn" || all[0].Status != "Unavailable" {
		t.Errorf("pools with a damaged record: %+v, %v", all, err)
	}
	if _, err := s.Instances(ctx); err != nil {
		t.Errorf("instances with a damaged record: %v", err)
	}
	if err := os.Remove(record); err != nil {
		t.Fatal(err)
	}

	e, err := journal.Begin(ctx, s.journalDir(), "pool-create", creating{Name: "mounted", Path: s.dir.DiskFile("mounted")})
	if err != nil {
		t.Fatal(err)
	}
	busy, err := os.Create(filepath.Join(mounted, "busy"))
	if err := errors.Join(err, e.Close()); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, want{"error", "journal", mounted, "each command", ""}, others[0])
	if err := errors.Join(busy.Close(), os.RemoveAll(e.Dir())); err != nil {
		t.Fatal(err)
	}
	finds(t, s, true, others[0])
}
