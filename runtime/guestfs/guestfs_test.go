package guestfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/runtime"
)

// shift is where the ids of the guest of testRoot begin on the host.
const shift = 300000

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// testRoot is a root below a directory that nothing may reach: its parent holds a
// file "secret", and the host has /etc/passwd.
func testRoot(t *testing.T, maps []runtime.IDMap) (*Root, string) {
	t.Helper()
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755)) //nolint:gosec // the guest's user has to pass
	must(t, os.Chmod(filepath.Dir(dir), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "secret"), []byte("host"), 0o600))
	root := filepath.Join(dir, "root")
	must(t, os.Mkdir(root, 0o755))
	for _, d := range []string{"etc", "tmp", "dir"} {
		must(t, os.Mkdir(filepath.Join(root, d), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(root, "etc/passwd"), []byte("guest"), 0o644)) //nolint:gosec // as it is
	if maps != nil {
		must(t, filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(p, shift, shift))
		}))
	}
	f, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	r := New(f, maps, maps)
	t.Cleanup(func() { must(t, r.Close()) })
	return r, root
}

func shifted() []runtime.IDMap { return []runtime.IDMap{{HostID: shift, Size: 65536}} }

func content(t *testing.T, r *Root, path string) string {
	t.Helper()
	f, _, err := r.Open(path)
	must(t, err)
	defer func() { must(t, f.Close()) }()
	data, err := io.ReadAll(f)
	must(t, err)
	return string(data)
}

// TestStaysInside takes every way out that a guest can lay: links are followed
// inside, and nothing outside is read, written or deleted.
func TestStaysInside(t *testing.T) {
	for name, maps := range map[string][]runtime.IDMap{"ids as inside": nil, "ids of the host": shifted()} {
		t.Run(name, func(t *testing.T) {
			r, root := testRoot(t, maps)
			for link, target := range map[string]string{
				"abs": "/etc/passwd", "up": "../../../../../../etc/passwd", "updir": "../..", "absdir": "/", "dir/rel": "../etc/passwd",
				"loop": "loop", "proc": "/proc/self/root/etc/passwd", "out": "../secret", "dangling": "/tmp/made", "dev": "/dev/null",
			} {
				must(t, os.Symlink(target, filepath.Join(root, link)))
			}
			for _, p := range []string{"/abs", "abs", "/up", "/updir/etc/passwd", "/absdir/etc/passwd", "/dir/rel", "/../../etc/passwd", "//etc//passwd", "/dir/../../../etc/passwd"} {
				if got := content(t, r, p); got != "guest" {
					t.Errorf("%s is %q", p, got)
				}
			}
			for p, want := range map[string]error{
				"/loop": unix.ELOOP, "/proc": unix.ELOOP, "/out": unix.ENOENT, "/secret": unix.ENOENT, "/../secret": unix.ENOENT,
				"/dangling": unix.ENOENT, "/etc": unix.EISDIR, "/dev": unix.ELOOP, "/etc/passwd/x": unix.ENOTDIR,
			} {
				if f, _, err := r.Open(p); !errors.Is(err, want) {
					t.Errorf("Open(%s) = %v, %v, want %v", p, f, err, want)
				}
			}
			must(t, r.WriteFile(t.Context(), "/dangling", strings.NewReader("new"), Owner{}))
			must(t, r.WriteFile(t.Context(), "/up", strings.NewReader("pushed"), Owner{}))
			if got, err := os.ReadFile(filepath.Join(root, "etc/passwd")); err != nil || string(got) != "pushed" {
				t.Errorf("%q, %v", got, err)
			}
			if got := content(t, r, "/tmp/made"); got != "new" {
				t.Errorf("%q", got)
			}
			if st, err := os.Lstat(filepath.Join(root, "up")); err != nil || st.Mode()&fs.ModeSymlink == 0 {
				t.Errorf("the link was replaced: %v, %v", st, err)
			}
			must(t, r.Mkdir("/updir/made", Owner{}))
			must(t, r.RemoveAll("/updir/made"))
			must(t, r.RemoveAll("/absdir"))
			must(t, r.RemoveAll("/updir"))
			for p, op := range map[string]func(string) error{
				"/": r.RemoveAll, "": r.RemoveAll, "/..": r.RemoveAll, "/dir/..": r.RemoveAll, "/dir/.": r.Remove,
				"/.":  func(p string) error { return r.WriteFile(t.Context(), p, strings.NewReader(""), Owner{}) },
				"/x/": func(p string) error { return r.WriteFile(t.Context(), p, strings.NewReader(""), Owner{}) },
			} {
				if err := op(p); err == nil {
					t.Errorf("%q was taken", p)
				}
			}
			if got, err := os.ReadFile(filepath.Join(root, "../secret")); err != nil || string(got) != "host" {
				t.Errorf("the host's file is %q, %v", got, err)
			}
		})
	}
}

// TestOwners makes files of all kinds with the ids of a guest.
func TestOwners(t *testing.T) {
	r, root := testRoot(t, shifted())
	id := func(n uint32) *uint32 { return &n }
	mode := func(m fs.FileMode) *fs.FileMode { return &m }
	must(t, r.WriteFile(t.Context(), "/tmp/default", strings.NewReader("x"), Owner{}))
	must(t, r.WriteFile(t.Context(), "/tmp/given", strings.NewReader("x"), Owner{UID: id(1000), GID: id(33), Mode: mode(0o751 | fs.ModeSetuid)}))
	must(t, r.Mkdir("/tmp/d", Owner{UID: id(5), Mode: mode(0o770 | fs.ModeSticky)}))
	must(t, r.Symlink("/x", "/tmp/l", Owner{GID: id(7)}))
	must(t, r.MkdirAll("/tmp/a/b/c", Owner{UID: id(9)}))
	for path, want := range map[string]struct {
		uid, gid uint32
		mode     fs.FileMode
	}{
		"tmp/default": {0, 0, 0o644}, "tmp/given": {1000, 33, 0o751 | fs.ModeSetuid}, "tmp/d": {5, 0, 0o770 | fs.ModeSticky | fs.ModeDir},
		"tmp/l": {0, 7, 0o777 | fs.ModeSymlink}, "tmp/a/b": {9, 0, 0o755 | fs.ModeDir}, "tmp/a/b/c": {9, 0, 0o755 | fs.ModeDir},
	} {
		info, err := r.Lstat(path)
		must(t, err)
		if info.UID != want.uid || info.GID != want.gid || info.Mode != want.mode {
			t.Errorf("%s is of %d:%d, %v", path, info.UID, info.GID, info.Mode)
		}
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(root, path), &st))
		if st.Uid != shift+want.uid || st.Gid != shift+want.gid {
			t.Errorf("%s is of %d:%d on the host", path, st.Uid, st.Gid)
		}
	}
	// What is replaced keeps its owner, mode and attributes.
	must(t, unix.Setxattr(filepath.Join(root, "tmp/given"), "user.note", []byte("kept"), 0))
	must(t, r.WriteFile(t.Context(), "/tmp/given", strings.NewReader("y"), Owner{}))
	info, err := r.Stat("/tmp/given")
	must(t, err)
	buf := make([]byte, 16)
	n, err := unix.Getxattr(filepath.Join(root, "tmp/given"), "user.note", buf)
	if err != nil || string(buf[:n]) != "kept" || info.UID != 1000 || info.Mode.Perm() != 0o751 {
		t.Errorf("%+v, %q, %v", info, buf[:max(n, 0)], err)
	}
	if err := r.WriteFile(t.Context(), "/tmp/no", strings.NewReader(""), Owner{UID: id(70000)}); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("an id that the guest does not have: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(root, "tmp/foreign"), nil, 0o600)) // the host's root's
	if info, err := r.Stat("/tmp/foreign"); err != nil || info.UID != nobody {
		t.Errorf("%+v, %v", info, err)
	}
	if uid := unix.Getuid(); uid != 0 {
		t.Errorf("the process is %d", uid)
	}
	must(t, os.WriteFile(filepath.Join(root, "../mine"), nil, 0o600))
	var st unix.Stat_t
	must(t, unix.Lstat(filepath.Join(root, "../mine"), &st))
	if st.Uid != 0 {
		t.Errorf("a file of the host's is made as %d", st.Uid)
	}
}

// TestSpecialFiles neither opens nor replaces what has no content.
func TestSpecialFiles(t *testing.T) {
	r, root := testRoot(t, nil)
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o666))
	must(t, unix.Mknod(filepath.Join(root, "node"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 5)))) // /dev/zero
	must(t, unix.Mknod(filepath.Join(root, "disk"), unix.S_IFBLK|0o666, int(unix.Mkdev(7, 0))))
	for _, p := range []string{"fifo", "node", "disk"} {
		if _, _, err := r.Open(p); !errors.Is(err, ErrNotRegular) {
			t.Errorf("Open(%s): %v", p, err)
		}
		if err := r.WriteFile(t.Context(), p, strings.NewReader("x"), Owner{}); !errors.Is(err, ErrNotRegular) {
			t.Errorf("WriteFile(%s): %v", p, err)
		}
		if err := r.Mkdir(p, Owner{}); !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("Mkdir(%s): %v", p, err)
		}
		must(t, r.Remove(p))
	}
}

// failing gives some of a file and then an error.
type failing struct{ n int }

func (f *failing) Read(p []byte) (int, error) {
	if f.n++; f.n > 3 {
		return 0, errors.New("broken off")
	}
	return copy(p, bytes.Repeat([]byte("x"), 1000)), nil
}

// TestWriteIsWhole leaves the old content, and nothing besides, when the new one
// does not come; and writes in place what cannot be replaced.
func TestWriteIsWhole(t *testing.T) {
	r, root := testRoot(t, nil)
	for _, p := range []string{"/etc/passwd", "/etc/new"} {
		if err := r.WriteFile(t.Context(), p, &failing{}, Owner{}); err == nil || !strings.Contains(err.Error(), "broken off") {
			t.Errorf("%v", err)
		}
	}
	if got := content(t, r, "/etc/passwd"); got != "guest" {
		t.Errorf("%q", got)
	}
	names, err := r.ReadDir("/etc")
	if err != nil || len(names) != 1 {
		t.Errorf("%v, %v", names, err)
	}
	must(t, os.Link(filepath.Join(root, "etc/passwd"), filepath.Join(root, "etc/other")))
	must(t, r.WriteFile(t.Context(), "/etc/passwd", strings.NewReader("both"), Owner{}))
	if got := content(t, r, "/etc/other"); got != "both" {
		t.Errorf("the other name has %q", got)
	}
	must(t, os.Remove(filepath.Join(root, "etc/other")))
	must(t, unix.Mount(filepath.Join(root, "../secret"), filepath.Join(root, "etc/passwd"), "", unix.MS_BIND, ""))
	err = r.WriteFile(t.Context(), "/etc/passwd", strings.NewReader("mounted"), Owner{})
	must(t, unix.Unmount(filepath.Join(root, "etc/passwd"), 0))
	must(t, err)
	if got, err := os.ReadFile(filepath.Join(root, "../secret")); err != nil || string(got) != "mounted" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestRemoveAll deletes what lies deeper than a path can be long, and stops at a
// mount.
func TestRemoveAll(t *testing.T) {
	r, root := testRoot(t, nil)
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	must(t, err)
	for range 600 {
		must(t, unix.Mkdirat(fd, "d", 0o755))
		next, err := unix.Openat(fd, "d", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		must(t, errors.Join(err, unix.Close(fd)))
		fd = next
	}
	must(t, unix.Close(fd))
	must(t, r.RemoveAll("/d"))
	must(t, unix.Mount("none", filepath.Join(root, "tmp"), "tmpfs", 0, ""))
	must(t, os.WriteFile(filepath.Join(root, "tmp/kept"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(root, "dir/x"), 0o755))
	must(t, unix.Mount(filepath.Join(root, "tmp"), filepath.Join(root, "dir/x"), "", unix.MS_BIND, ""))
	err = r.RemoveAll("/dir")
	_, serr := os.Stat(filepath.Join(root, "tmp/kept"))
	must(t, errors.Join(unix.Unmount(filepath.Join(root, "dir/x"), 0), unix.Unmount(filepath.Join(root, "tmp"), 0)))
	if err == nil || serr != nil {
		t.Errorf("RemoveAll over a mount: %v, the file in it: %v", err, serr)
	}
	must(t, r.RemoveAll("/dir"))
	if err := r.RemoveAll("/dir"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestRace has a guest swap a directory for a link to the outside all the time.
func TestRace(t *testing.T) {
	r, root := testRoot(t, shifted())
	must(t, os.Mkdir(filepath.Join(root, "real"), 0o755))
	must(t, os.Lchown(filepath.Join(root, "real"), shift, shift))
	must(t, os.Symlink("../..", filepath.Join(root, "link")))
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, filepath.Join(root, "real"), unix.AT_FDCWD, filepath.Join(root, "link"), unix.RENAME_EXCHANGE)
			}
		}
	}()
	for range 300 {
		_ = r.WriteFile(t.Context(), "/real/secret", strings.NewReader("guest's"), Owner{})
		_ = r.Mkdir("/real/made", Owner{})
		_ = r.RemoveAll("/real/made")
		if f, _, err := r.Open("/real/secret"); err == nil {
			data, _ := io.ReadAll(f)
			if string(data) == "host" {
				t.Fatal("the host's file was read")
			}
			_ = f.Close()
		}
		_ = r.RemoveAll("/real/secret")
	}
	close(stop)
	<-done
	if got, err := os.ReadFile(filepath.Join(root, "../secret")); err != nil || string(got) != "host" {
		t.Errorf("the host's file is %q, %v", got, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(root)); err != nil || len(entries) != 2 {
		t.Errorf("outside there is %v, %v", entries, err)
	}
}
