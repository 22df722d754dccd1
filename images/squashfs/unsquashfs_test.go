package squashfs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/images/internal/testtree"
)

func openDir(t *testing.T, path string) *os.File {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// makeSquashfs packs a tree made by a shell script.
func makeSquashfs(t *testing.T, script string, options ...string) (tree, image string) {
	t.Helper()
	tree, image = filepath.Join(t.TempDir(), "tree"), filepath.Join(t.TempDir(), "image")
	openDir(t, tree)
	sh := exec.Command("sh", "-ec", script)
	sh.Dir = tree
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, value := range map[string]string{
		"user.one": "two words", "trusted.t": "\x01\xff",
		"security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		if err := unix.Setxattr(filepath.Join(tree, "cap"), name, []byte(value), 0); err != nil {
			t.Fatal(err)
		}
	}
	args := append([]string{tree, image, "-quiet", "-no-progress", "-noappend"}, options...)
	if out, err := exec.Command("mksquashfs", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return tree, image
}

const manyThings = `
cp /bin/true cap; ln cap caplink; mkdir -p d/e; chmod 1777 d; cp /bin/true suid; chown 5:6 suid; chmod 6755 suid
mkfifo fifo; mknod null c 1 3; ln -s /etc/passwd abs; ln -s ../../.. up; truncate -s 3M hole
head -c 300000 /dev/urandom > data; touch -d '2001-02-03 04:05:06' data d; chmod 711 .; chown 7:8 .`

// TestUnsquashfs: what comes out is what went in, by every compression.
func TestUnsquashfs(t *testing.T) {
	testtree.NeedRoot(t)
	for _, compression := range []string{"gzip", "xz", "zstd", "lzo", "lz4"} {
		t.Run(compression, func(t *testing.T) {
			tree, image := makeSquashfs(t, manyThings, "-comp", compression)
			f, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			dir := openDir(t, filepath.Join(t.TempDir(), "out"))
			temp := t.TempDir()
			received := false
			u := &Unsquashfs{TempDir: temp}
			err = u.Unpack(t.Context(), f, dir, func() error { received = true; return nil })
			if err != nil || !received {
				t.Fatal(err, received)
			}
			o := testtree.Options{NoMtime: true} // squashfs has whole seconds
			if diff := cmp.Diff(testtree.Read(t, tree, o), testtree.Read(t, dir.Name(), o)); diff != "" {
				t.Errorf("in (-), out (+):\n%.3000s", diff)
			}
			st, err := os.Stat(filepath.Join(dir.Name(), "data"))
			if err != nil || st.ModTime().UTC().Format(time.DateTime) != "2001-02-03 04:05:06" {
				t.Errorf("time %v, %v", st.ModTime().UTC(), err)
			}
		})
	}
}

func TestUnsquashfsFixtures(t *testing.T) {
	testtree.NeedRoot(t)
	shared := testtree.Shared(t)
	for name, want := range map[string]string{
		"small/squashfs/gzip.sqfs": "", "small/squashfs/lz4.sqfs": "", "small/squashfs/lzma.sqfs": "", "small/squashfs/lzo.sqfs": "",
		"small/squashfs/xz.sqfs": "", "small/squashfs/zstd.sqfs": "",
		"small/squashfs/zlib_be.sqfs3": "big-endian", "small/squashfs/zlib_le.sqfs3": "version 3.1",
		"hostile/squashfs/pathtraversal.sqfs": "unsquashfs failed (exit status 1)",
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			f, err := os.Open(filepath.Join(shared, name))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = f.Close() }()
			outer := t.TempDir()
			dir := openDir(t, filepath.Join(outer, "a/b/root"))
			skip := testtree.Options{Skip: func(rel string) bool { return rel == "a/b/root" }}
			before := testtree.Read(t, outer, skip)
			u := &Unsquashfs{TempDir: t.TempDir()}
			err = u.Unpack(t.Context(), f, dir, nil)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
			if diff := cmp.Diff(before, testtree.Read(t, outer, skip)); diff != "" {
				t.Errorf("something outside changed:\n%s", diff)
			}
		})
	}
}

// TestConfinement runs a shell in unsquashfs's place and lets it try.
func TestConfinement(t *testing.T) {
	testtree.NeedRoot(t)
	outer := t.TempDir()
	dir := openDir(t, filepath.Join(outer, "a/root"))
	victim := filepath.Join(outer, "victim")
	if err := os.WriteFile(victim, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	skip := testtree.Options{Skip: func(rel string) bool { return rel == "a/root" }}
	before := testtree.Read(t, outer, skip)
	try := func(script string) error {
		return confined{path: "/bin/sh", args: []string{"-ec", script}, dir: dir, file: f}.run(t.Context())
	}
	if err := try("echo x > inside; mkdir d; ln -s " + outer + " out; chown 5:6 d; mknod disk b 254 0; mknod null c 1 3"); err != nil {
		t.Fatalf("inside: %v", err)
	}
	for _, script := range []string{
		"echo x > " + victim, "echo x >> " + victim, "chmod 777 " + victim, "chown 1:1 " + victim, "rm " + victim, "touch " + victim,
		"mkdir " + outer + "/new", "ln -s x " + outer + "/new", "ln " + victim + " hard", "mv inside " + outer + "/", "echo x > out/new",
		"echo x > /proc/sys/kernel/core_pattern", "echo x > /dev/null", "head -c 1 disk", "echo x > null",
		"echo x > /tmp/poolctl-escape", "kill -0 1 && false", "cp /bin/true t && chmod +x t && ./t",
		"mknod " + outer + "/n c 1 3", "mount -t tmpfs x /mnt && touch " + outer + "/new",
	} {
		if err := try(script); err == nil && !strings.HasPrefix(script, "mount") {
			t.Errorf("possible: %s", script)
		}
	}
	if err := try("cd .. && echo x > new"); err == nil { // there is nothing above: "new" is made inside
		if _, err := os.Stat(filepath.Join(dir.Name(), "new")); err != nil {
			t.Error("'..' led somewhere")
		}
	}
	if diff := cmp.Diff(before, testtree.Read(t, outer, skip)); diff != "" {
		t.Errorf("something outside changed:\n%s", diff)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || !bytes.Contains(mounts, []byte(" / / rw")) {
		t.Errorf("this process's own mounts changed: %v", err)
	}
}

func TestReceiveLimits(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(testtree.Shared(t), "small/squashfs/gzip.sqfs"))
	if err != nil {
		t.Fatal(err)
	}
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		r    io.Reader
		l    Limits
		want string
	}{
		"inodes":  {bytes.NewReader(b), Limits{Inodes: 1}, "limit of 1 inodes"},
		"bytes":   {bytes.NewReader(b), Limits{Bytes: 200}, "limit of 200 bytes"},
		"padding": {io.MultiReader(bytes.NewReader(b), bytes.NewReader(make([]byte, 1<<20))), Limits{Bytes: 1 << 16}, "limit of 65536 bytes"},
		"cut":     {bytes.NewReader(b[:300]), Limits{}, "cut short"},
		"source":  {io.MultiReader(bytes.NewReader(b[:300]), broken{boom}), Limits{}, "boom"},
	} {
		f, err := receive(t.Context(), tc.r, t.TempDir(), tc.l)
		if err == nil {
			_ = f.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", name, err, tc.want)
		}
	}
	f, err := receive(t.Context(), bytes.NewReader(b), t.TempDir(), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("stored %d bytes of %d, %v", len(got), len(b), err)
	}
}

type broken struct{ err error }

func (b broken) Read([]byte) (int, error) { return 0, b.err }

// TestUnsquashfsCancel ends the program in the middle.
func TestUnsquashfsCancel(t *testing.T) {
	testtree.NeedRoot(t)
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	err = confined{path: "/bin/sleep", args: []string{"60"}, dir: openDir(t, t.TempDir()), file: f}.run(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("got %v after %s", err, time.Since(start))
	}
}

// TestUnsquashfsFull: an error of a single file is an error.
func TestUnsquashfsFull(t *testing.T) {
	testtree.NeedRoot(t)
	_, image := makeSquashfs(t, manyThings)
	mnt := t.TempDir()
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=200k"); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(mnt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(dir.Close(), unix.Unmount(mnt, 0)); err != nil {
			t.Error(err)
		}
	})
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	err = (&Unsquashfs{TempDir: t.TempDir()}).Unpack(t.Context(), f, dir, nil)
	if err == nil || !strings.Contains(err.Error(), "unsquashfs failed") {
		t.Errorf("got %v", err)
	}
}
