package pool

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// smallDisk is an empty file system of that size: "5m".
func smallDisk(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	ok(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size))
	t.Cleanup(func() { ok(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

func onlyFile(t *testing.T, dir, name, content string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != name {
		t.Errorf("in the directory: %v, %v", left, err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || content != "" && string(got) != content {
		t.Errorf("%s has %d bytes, %v", name, len(got), err)
	}
}

// TestVolumeExportNamed: where no file can be without a name, the backup is there
// when it is complete too, and the one before it until then.
func TestVolumeExportNamed(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	createVolume(t, s, "p1", "v", nil)
	dir := smallDisk(t, "1m")
	path := filepath.Join(dir, "b")
	x := s.exportingVolume(ExportVolumeOptions{BackupOptions{Compression: "none"}, "p1", "v"})
	ok(t, os.WriteFile(path, []byte("old"), 0o600))
	if err := s.exportNamed(t.Context(), x, path, false); !errors.Is(err, os.ErrExist) {
		t.Errorf("overwritten: %v", err)
	}
	onlyFile(t, dir, "b", "old")
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.exportNamed(cancelled, x, path, true); err == nil {
		t.Error("exported although it was cancelled")
	}
	onlyFile(t, dir, "b", "old")
	noise := make([]byte, 2<<20)
	_, _ = rand.Read(noise) // never fails
	ok(t, os.WriteFile(s.volumeFile("p1", "v", "noise"), noise, 0o600), btrfs.Sync(s.dir.MountPoint("p1")))
	if err := s.exportNamed(t.Context(), x, path, true); err == nil {
		t.Error("exported what does not fit")
	}
	onlyFile(t, dir, "b", "old")
	ok(t, os.Remove(s.volumeFile("p1", "v", "noise")))
	ok(t, s.exportNamed(t.Context(), x, path, true))
	onlyFile(t, dir, "b", "")
	f, err := os.Open(path)
	ok(t, err)
	defer func() { _ = f.Close() }()
	_, err = s.ImportVolume(t.Context(), ImportVolumeOptions{Pool: "p1", Name: "again"}, f)
	ok(t, err, os.Remove(path), s.exportNamed(t.Context(), x, path, false))
	onlyFile(t, dir, "b", "")
}

// TestRenameNew: nothing is replaced, also where only links say so.
func TestRenameNew(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, strings.Repeat("b", 255))
	ok(t, os.WriteFile(a, nil, 0o600), os.WriteFile(b, nil, 0o600))
	if err := renameNew(a, b); !errors.Is(err, os.ErrExist) {
		t.Errorf("replaced: %v", err)
	}
	ok(t, os.Remove(b), renameNew(a, b))
	ok(t, os.WriteFile(besideName(b), nil, 0o600))
}

// TestVolumeExportRoom: a backup that cannot fit is refused before it is written,
// and one that turns out not to names the cause once.
func TestVolumeExportRoom(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	createVolume(t, s, "p1", "v", nil)
	noise := make([]byte, 20<<20)
	_, _ = rand.Read(noise) // never fails
	ok(t, os.WriteFile(s.volumeFile("p1", "v", "noise"), noise, 0o600))
	for what, o := range map[string]BackupOptions{"zstd": {}, "optimized": {Optimized: true}, "none": {Compression: "none"}} {
		dir := smallDisk(t, "5m")
		err := s.ExportVolumeFile(t.Context(), ExportVolumeOptions{o, "p1", "v"}, filepath.Join(dir, "b"), false)
		if err == nil || !strings.Contains(err.Error(), dir+" has 5MiB free, and the backup") || !strings.Contains(hint(err), "standard output") {
			t.Errorf("%s: %v; hint %q", what, err, hint(err))
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
			t.Errorf("%s: %v, %v", what, left, err)
		}
	}
	for _, compression := range []string{"zstd", "gzip"} {
		dir := smallDisk(t, "12m") // a third fits, but it is noise
		err := s.ExportVolumeFile(t.Context(), ExportVolumeOptions{BackupOptions{Compression: compression}, "p1", "v"}, filepath.Join(dir, "b"), false)
		if want := "cannot export to " + dir + "/b: no space left on device"; err == nil || err.Error() != want || !strings.Contains(hint(err), "make room in "+dir) {
			t.Errorf("%s: %v; want %q; hint %q", compression, err, want, hint(err))
		}
	}
	dir := smallDisk(t, "30m")
	ok(t, s.ExportVolumeFile(t.Context(), ExportVolumeOptions{BackupOptions{Compression: "none"}, "p1", "v"}, filepath.Join(dir, "b"), false))
}
