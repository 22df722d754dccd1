package pool

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// isBackup says whether raw is an uncompressed backup.
func isBackup(raw []byte) bool { return bytes.Contains(raw, []byte("backup/index.yaml\x00")) }

// TestExportIntoStreams: a FIFO, a character device and an open file are written to,
// with and without --force, and stay what they are.
func TestExportIntoStreams(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	createVolume(t, s, "p1", "v", nil)
	dir := t.TempDir()
	export := func(path string, force bool) error {
		return s.ExportVolumeFile(t.Context(), ExportVolumeOptions{BackupOptions{Compression: "none"}, "p1", "v"}, path, force)
	}
	null, fifo, link := filepath.Join(dir, "null"), filepath.Join(dir, "fifo"), filepath.Join(dir, "link")
	ok(t, unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), unix.Mkfifo(fifo, 0o600), os.Symlink("fifo", link)) //nolint:gosec // small
	for _, force := range []bool{false, true} {
		ok(t, export(null, force))
		if info, err := os.Lstat(null); err != nil || info.Mode()&os.ModeCharDevice == 0 {
			t.Fatalf("force %v: the device is %v now, %v", force, info.Mode(), err)
		}
		for _, path := range []string{fifo, link} {
			read := make(chan []byte, 1)
			go func() {
				raw, _ := os.ReadFile(fifo)
				read <- raw
			}()
			ok(t, export(path, force))
			if raw := <-read; !isBackup(raw) {
				t.Errorf("force %v: from %s came %d bytes", force, path, len(raw))
			}
			if info, err := os.Lstat(fifo); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
				t.Fatalf("force %v: the FIFO is %v now, %v", force, info.Mode(), err)
			}
		}
	}
	r, w, err := os.Pipe()
	ok(t, err)
	read := make(chan []byte, 1)
	go func() {
		raw, _ := io.ReadAll(r)
		read <- raw
	}()
	fd := strconv.Itoa(int(w.Fd()))
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/", "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/"} {
		ok(t, export(dir+fd, false))
	}
	ok(t, w.Close())
	if raw := <-read; bytes.Count(raw, []byte("backup/index.yaml\x00")) != 4 {
		t.Errorf("from a pipe came %d bytes", len(raw))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := s.ExportVolumeFile(ctx, ExportVolumeOptions{Pool: "p1", Volume: "v"}, fifo, false); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a FIFO that nobody reads: %v", err)
	}
	none := filepath.Join(dir, "none")
	ok(t, unix.Mknod(none, unix.S_IFCHR|0o600, int(unix.Mkdev(4000, 1)))) //nolint:gosec // small
	if err := export(none, true); !errors.Is(err, unix.ENXIO) {
		t.Errorf("a device without a driver: %v", err)
	}
	if err := export("/dev/full", true); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("/dev/full: %v", err)
	}
}

// TestExportFollowsLinks: what a symbolic link leads to is written, and replaced by
// force; the link stays.
func TestExportFollowsLinks(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	createVolume(t, s, "p1", "v", nil)
	dir := t.TempDir()
	target, link := filepath.Join(dir, "a/target"), filepath.Join(dir, "b/link")
	ok(t, os.Mkdir(filepath.Dir(target), 0o700), os.Mkdir(filepath.Dir(link), 0o700), os.Symlink("../a/target", link))
	export := func(force bool) error {
		return s.ExportVolumeFile(t.Context(), ExportVolumeOptions{BackupOptions{Compression: "none"}, "p1", "v"}, link, force)
	}
	ok(t, export(false)) // what is not there yet
	if err := export(false); !errors.Is(err, ErrExists) {
		t.Errorf("overwritten: %v", err)
	}
	ok(t, os.WriteFile(target, []byte("old"), 0o600), export(true))
	if raw, err := os.ReadFile(target); err != nil || !isBackup(raw) {
		t.Errorf("the target has %d bytes, %v", len(raw), err)
	}
	if to, err := os.Readlink(link); err != nil || to != "../a/target" {
		t.Errorf("the link leads to %q, %v", to, err)
	}
	// A ".." is behind the link before it.
	ok(t, os.Symlink("../a", filepath.Join(dir, "b/up")))
	if to, err := targetOf(dir + "/b/up/../b/link"); err != nil || to.path != target {
		t.Errorf("it leads to %v, %v", to, err)
	}
}

// TestExportRefusesOthers: directories, block devices and sockets are refused before
// anything is written, and force is no remedy.
func TestExportRefusesOthers(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	createVolume(t, s, "p1", "v", nil)
	dir := t.TempDir()
	block := filepath.Join(dir, "block")
	ok(t, unix.Mknod(block, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 1000)))) //nolint:gosec // small
	socket := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	ok(t, err)
	defer func() { _ = l.Close() }()
	for path, want := range map[string]string{dir: "it is a directory", block: "it is a block device", socket: "it is a socket"} {
		for _, force := range []bool{false, true} {
			err := s.ExportVolumeFile(t.Context(), ExportVolumeOptions{Pool: "p1", Volume: "v"}, path, force)
			if err == nil || !strings.HasSuffix(err.Error(), path+": "+want) || hint(err) != "" {
				t.Errorf("%s, force %v: %v; hint %q", path, force, err, hint(err))
			}
		}
	}
	if info, err := os.Lstat(block); err != nil || info.Mode()&os.ModeDevice == 0 {
		t.Errorf("the device is %v now, %v", info.Mode(), err)
	}
}

// TestStreamExchanged: what is exchanged for a stream once that was looked at is not
// written to.
func TestStreamExchanged(t *testing.T) {
	dir := t.TempDir()
	path, old := filepath.Join(dir, "stream"), filepath.Join(dir, "old")
	for what, exchange := range map[string]func() error{
		"it is a regular file now":          func() error { return os.WriteFile(path, []byte("mine"), 0o600) },
		"too many levels of symbolic links": func() error { return os.Symlink("/dev/null", path) },
		"no such device or address":         func() error { return unix.Mknod(path, unix.S_IFSOCK|0o600, 0) },
	} {
		ok(t, unix.Mkfifo(path, 0o600))
		target, err := targetOf(path)
		ok(t, err, os.Rename(path, old), exchange())
		if f, err := target.open(t.Context()); f != nil || err == nil || err.Error() != what {
			t.Errorf("opened: %v, want %q", err, what)
		}
		if raw, err := os.ReadFile(path); what == "it is a regular file now" && string(raw) != "mine" {
			t.Errorf("the file has %q now, %v", raw, err)
		}
		ok(t, os.Remove(path))
	}
}

// TestLinksInSharedDirectories: of the symbolic links in a directory such as /tmp, only
// those of root, of this process's user, and of the directory's owner are followed.
func TestLinksInSharedDirectories(t *testing.T) {
	const owner, other = 1001, 1002
	for _, c := range []struct {
		mode uint32
		uid  int // the link's
		want bool
	}{
		{0o1777, 0, true}, {0o1777, owner, true}, {0o1777, other, false}, {0o777, other, true}, {0o1775, other, true},
	} {
		dir := filepath.Join(t.TempDir(), "shared")
		path := filepath.Join(dir, "link")
		ok(t, os.Mkdir(dir, 0o700), os.Chown(dir, owner, owner), unix.Chmod(dir, c.mode))
		for _, to := range []string{"/dev/null", "new"} {
			ok(t, os.Symlink(to, path), os.Lchown(path, c.uid, c.uid), os.Symlink("shared/link", dir+"-by"))
			for _, p := range []string{path, dir + "-by"} {
				if _, err := targetOf(p); (err == nil) != c.want {
					t.Errorf("mode %o, a link of user %d's to %s: %v", c.mode, c.uid, to, err)
				} else if err != nil && !strings.Contains(err.Error(), path+" is a symbolic link of user 1002's") {
					t.Errorf("it says %v", err)
				}
			}
			ok(t, os.Remove(path), os.Remove(dir+"-by"))
		}
	}
}

// TestExportImageTargets: a unified image goes into a stream, and nothing but a
// regular file is replaced.
func TestExportImageTargets(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	one, err := s.ImportImage(t.Context(), ImportImageOptions{Files: []string{f.path("unified.tar")}})
	ok(t, err)
	split, err := s.ImportImage(t.Context(), ImportImageOptions{Files: []string{f.meta, f.tar}})
	ok(t, err)
	dir := t.TempDir()
	null, link := filepath.Join(dir, "null"), filepath.Join(dir, "link")
	ok(t, unix.Mknod(null, unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))), os.Symlink("target", link)) //nolint:gosec // small
	_, err = s.ExportImage(t.Context(), ExportImageOptions{Image: one.Fingerprint, Target: null, Force: true})
	ok(t, err)
	if _, err := s.ExportImage(t.Context(), ExportImageOptions{Image: split.Fingerprint, Target: null, Force: true}); err == nil {
		t.Error("two files were written into a device")
	}
	out, err := s.ExportImage(t.Context(), ExportImageOptions{Image: split.Fingerprint, Target: link, Force: true})
	ok(t, err)
	if out.Files[0] != filepath.Join(dir, "target") {
		t.Errorf("written: %v", out.Files)
	}
	ok(t, os.Rename(null, filepath.Join(dir, "y.root")))
	if out, err := s.ExportImage(t.Context(), ExportImageOptions{Image: split.Fingerprint, Target: filepath.Join(dir, "y"), Force: true}); err == nil {
		t.Errorf("a device was replaced: %v", out)
	}
	if info, err := os.Lstat(filepath.Join(dir, "y.root")); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		t.Errorf("the device is %v now, %v", info, err)
	}
}
