package e2e

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// filesTree makes a directory on the host with all that a push takes along.
func filesTree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "site")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "sub/empty"), 0o750))
	must(os.WriteFile(filepath.Join(dir, "index"), []byte("hello"), 0o640))
	must(os.WriteFile(filepath.Join(dir, "sub/run"), []byte("#!/bin/sh\n"), 0o755)) //nolint:gosec // a program
	must(os.Symlink("../index", filepath.Join(dir, "sub/link")))
	must(os.Chown(filepath.Join(dir, "index"), 1000, 33))
	must(syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))
	return dir
}

// TestFiles pushes, pulls, edits, makes and deletes files of an instance that runs and of one that does not.
func TestFiles(t *testing.T) {
	h := opHost(t)
	h.ok("launch", "bb", "c1")
	h.ok("exec", "c1", "--", "sh", "-c", "mkdir -p /root /mnt && mount -t tmpfs none /mnt && chmod 700 /mnt")
	h.ok("init", "bb", "c2")
	for _, c := range []string{"c1", "c2"} {
		t.Run(c, func(t *testing.T) {
			h.in(t)
			site := filesTree(t)
			h.okStdin("by stdin", "file", "push", "-", c+"/srv/deep/note", "-p", "--uid", "5", "--mode", "600")
			if got := h.ok("file", "pull", c+"/srv/deep/note", "-"); got != "by stdin" {
				t.Errorf("%q", got)
			}
			h.fails(1, `cannot edit `+c+`/srv/deep/note: the input is empty\nhint: `, "file", "edit", c+"/srv/deep/note")
			if got := h.ok("file", "pull", c+"/srv/deep/note", "-"); got != "by stdin" {
				t.Errorf("after an edit with nothing: %q", got)
			}
			h.okStdin("edited", "file", "edit", c+"/srv/deep/note")
			r := h.run("file", "push", "-r", site, c+"/srv")
			if r.code != 0 || !strings.Contains(r.stderr, "pipe is left out") {
				t.Errorf("%+v", r)
			}
			h.ok("file", "create", "--type", "symlink", c+"/srv/abs", "/srv/site")
			h.ok("file", "push", filepath.Join(site, "index"), filepath.Join(site, "sub/run"), c+"/srv/abs/more/", "-p", "--gid", "7")
			h.ok("file", "create", c+"/srv/dir/", "--mode", "1777")
			out := t.TempDir()
			h.ok("file", "pull", "-r", c+"/srv", out)
			for path, want := range map[string]struct {
				mode fs.FileMode
				text string
			}{
				"srv/deep/note": {0o600, "edited"}, "srv/site/index": {0o640, "hello"}, "srv/site/sub/run": {0o755, "#!/bin/sh\n"}, "srv/site/sub/link": {fs.ModeSymlink | 0o777, "hello"},
				"srv/site/more/run": {0o755, "#!/bin/sh\n"}, "srv/site/sub/empty": {fs.ModeDir | 0o750, ""},
			} {
				path = filepath.Join(out, path)
				info, err := os.Lstat(path)
				if err != nil || info.Mode() != want.mode {
					t.Errorf("%s: %v, %v", path, info, err)
					continue
				}
				if got, err := os.ReadFile(path); !info.IsDir() && (err != nil || string(got) != want.text) {
					t.Errorf("%s: %q, %v", path, got, err)
				}
			}
			missing := filepath.Join(out, "missing")
			h.fails(1, `cannot pull `+c+`/nosuch: no such file`, "file", "pull", "-r", c+"/nosuch", missing)
			if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("a failed pull has left %v", err)
			}
			h.ok("file", "pull", "-r", c+"/srv/deep", missing)
			if got, err := os.ReadFile(filepath.Join(missing, "deep/note")); err != nil || string(got) != "edited" {
				t.Errorf("%q, %v", got, err)
			}
			h.fails(1, `cannot make the directory `+missing+`/a/b: no such file.*\nhint: --create-dirs`, "file", "pull", "-r", c+"/srv/deep", missing+"/a/b")
			h.fails(1, `cannot create `+c+`/srv/abs: .*exists`, "file", "create", c+"/srv/abs")
			h.fails(1, `cannot delete `+c+`/srv: directory not empty`, "file", "delete", c+"/srv")
			h.fails(1, `is a directory: --recursive`, "file", "pull", c+"/srv", out)
			h.fails(1, `is a directory: --recursive`, "file", "push", site, c+"/srv")
			h.fails(2, `not of the form INSTANCE/PATH`, "file", "pull", c, "-")
			h.fails(2, `--uid=x is no id`, "file", "push", filepath.Join(site, "index"), c+"/x", "--uid", "x")
			h.fails(2, `--mode=8: not permissions`, "file", "push", filepath.Join(site, "index"), c+"/x", "--mode", "8")
			h.fails(1, `cannot pull `+c+`/nothing: no such file`, "file", "pull", c+"/nothing", "-")
			h.fails(1, `cannot push to `+c+`/no/such/dir: no such file`, "file", "push", filepath.Join(site, "index"), c+"/no/such/dir")
		})
	}
	h.fails(1, `cannot find instance "none"`, "file", "pull", "none/x", "-")
	h.ok("start", "c2")
	for _, c := range []string{"c1", "c2"} {
		h.matches("^5:0 600 edited\n1000:33 640\n1000:7 640\n0:0 1777\n$", "exec", c, "--", "sh", "-c",
			"cd /srv && echo $(stat -c '%u:%g %a' deep/note) $(cat deep/note) && stat -c '%u:%g %a' site/index site/more/index dir")
		h.ok("file", "delete", c+"/srv/abs")
		h.ok("file", "delete", "-f", c+"/srv/site", c+"/srv/deep")
		h.matches("^dir\n$", "exec", c, "--", "ls", "/srv")
	}
	// What is mounted inside is seen, and not deleted with what is around it.
	h.okStdin("x", "file", "push", "-", "c1/mnt/in-tmpfs")
	h.matches("^in-tmpfs\n$", "exec", "c1", "--", "ls", "/mnt")
	h.fails(1, `cannot delete c1/mnt`, "file", "delete", "-f", "c1/mnt")
	h.matches("^in-tmpfs\n$", "exec", "c1", "--", "ls", "/mnt")
	// A guest that sets traps.
	h.ok("exec", "c1", "--", "sh", "-c", "ln -s /proc/1/root/proc/self/exe /root/a; ln -s /proc/self/fd/0 /root/b; mkfifo /root/c; ln -s ../../../../../../etc/hostname /root/d; chmod 0 /etc/hostname")
	h.fails(1, `cannot pull c1/root/c: not a regular file`, "file", "pull", "c1/root/c", "-")
	h.fails(1, `cannot pull c1/root/a`, "file", "pull", "c1/root/a", "-")
	h.fails(1, `cannot pull c1/root/b`, "file", "pull", "c1/root/b", "-")
	if got := h.ok("file", "pull", "c1/root/d", "-"); got != "c1\n" {
		t.Errorf("%q", got)
	}
	mounted := t.TempDir()
	h.ok("file", "mount", "c1/root", mounted)
	if err := os.WriteFile(filepath.Join(mounted, "seen"), []byte("inside"), 0o600); err != nil {
		t.Error(err)
	}
	h.matches("^0 inside\n$", "exec", "c1", "--", "sh", "-c", "echo $(stat -c %u /root/seen) $(cat /root/seen)")
	h.fails(1, `in use`, "delete", "--force", "c1")
	h.ok("umount", mounted)
}

// TestFilesFill pushes more than a pool has room for.
func TestFilesFill(t *testing.T) {
	h := opHost(t)
	h.ok("init", "bb", "c1")
	big := filepath.Join(t.TempDir(), "big")
	f, err := os.Create(big)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, 3<<30), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	h.fails(1, `cannot push to c1/root/: .*takes at least 3GiB`, "file", "push", big, "c1/root/", "-p")
	if got := h.ok("file", "pull", "-r", "c1/root", t.TempDir()); got != "" {
		t.Errorf("%q", got)
	}
	h.okStdin("x", "file", "push", "-", "c1/root/still-works", "-p")
	if err := errors.Join(os.Truncate(big, 0), os.Truncate(big, 1<<40)); err != nil { // a hole
		t.Fatal(err)
	}
	h.ok("file", "push", big, "c1/root/")
}
