package tarball

import (
	"archive/tar"
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/images/internal/testtree"
)

func TestCleanName(t *testing.T) {
	for in, want := range map[string]string{
		"a": "a", "a/b": "a/b", "./a": "a", "a/": "a", "a//b": "a/b", "a/./b/.": "a/b", ".": ".", "./": ".", "././": ".",
		".a": ".a", "a/.b": "a/.b", "...": "...", "a/...": "a/...", "..a/b": "..a/b", `..\..\x`: `..\..\x`, " ": " ",
	} {
		got, err := CleanName(in, Limits{})
		if err != nil || got != want {
			t.Errorf("%q: got %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "/", "/a", "//a", "..", "../a", "a/..", "a/../b", "./..", "a\x00b", ".//../x"} {
		if got, err := CleanName(in, Limits{}); err == nil {
			t.Errorf("%q: accepted as %q", in, got)
		}
	}
}

// FuzzCleanName: what comes out is relative, without dots, within limits, and
// cleaning it again changes nothing.
func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"a/b", "./x", "../x", "/x", "a//../b", "...", "a/./", "\x00", strings.Repeat("a/", 300)} {
		f.Add(s)
	}
	l := Limits{}.WithDefaults()
	f.Fuzz(func(t *testing.T, name string) {
		got, err := CleanName(name, l)
		if err != nil {
			return
		}
		if again, err := CleanName(got, l); err != nil || again != got {
			t.Fatalf("%q became %q, then %q, %v", name, got, again, err)
		}
		if got == "." {
			return
		}
		parts := strings.Split(got, "/")
		if len(parts) > l.Depth || len(got) > l.PathLen || !filepath.IsLocal(got) {
			t.Fatalf("%q became %q", name, got)
		}
		for _, p := range parts {
			if p == "" || p == "." || p == ".." || len(p) > unix.NAME_MAX || strings.ContainsRune(p, 0) {
				t.Fatalf("%q became %q", name, got)
			}
		}
	})
}

// FuzzExtract: no archive, however damaged, makes anything outside of its root.
func FuzzExtract(f *testing.F) {
	f.Add(build(f, file("a/b", "x"), link(tar.TypeSymlink, "l", ".."), file("l/x", "y")))
	f.Add(build(f, link(tar.TypeLink, "l", "../secret"), file("../x", "y")))
	f.Add(build(f, dir("d", 0o755), link(tar.TypeSymlink, "d", "/tmp"), dir("d/e", 0o755)))
	f.Fuzz(func(t *testing.T, archive []byte) {
		root, check := guarded(t, t.TempDir())
		_, err := extractTo(t, root, bytes.NewReader(archive), Policy{}, Limits{Entries: 100, Bytes: 1 << 20})
		_ = err // either way is fine
		check()
	})
}

func FuzzEncodeACL(f *testing.F) {
	f.Add("user::rw-,user:1234:rw-,group::r--,mask::rw-,other::---")
	f.Add("user:joe:rwx:1000\ngroup:x:r--#effective:---")
	f.Fuzz(func(t *testing.T, text string) {
		if b, err := encodeACL(text); err == nil && (len(b) < 12 || (len(b)-4)%8 != 0) {
			t.Fatalf("%q became %d bytes", text, len(b))
		}
	})
}

func TestEncodeACLRefuses(t *testing.T) {
	for _, s := range []string{"", "#x", "rwx", "user:1:rwz", "mask:1:rwx", "user:1:2:3:4", "robot::rwx"} {
		if _, err := encodeACL(s); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

// TestNoInheritedACL: the default ACL of the place, and of a directory in the
// archive, leaks onto nothing.
func TestNoInheritedACL(t *testing.T) {
	testtree.NeedRoot(t)
	acl, err := encodeACL("user::rwx,user:1234:rwx,group::r-x,mask::rwx,other::r-x")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	const inherited, access = "system.posix_acl_default", "system.posix_acl_access"
	withACL := dir("d", 0o755)
	withACL.hdr.PAXRecords = map[string]string{"SCHILY.xattr." + inherited: string(acl)}
	archive := build(t, dir("./", 0o755), withACL, file("d/f", "x"), dir("d/sub", 0o700), file("d/sub/f", ""), file("implied/f", ""))
	if _, err := extractTo(t, root, bytes.NewReader(archive), Policy{}, Limits{}); err != nil {
		t.Fatal(err)
	}
	for name, n := range testtree.Read(t, root, testtree.Options{}) {
		if _, ok := n.Xattrs[access]; ok {
			t.Errorf("%s has an ACL", name)
		}
		if _, ok := n.Xattrs[inherited]; ok != (name == "d") {
			t.Errorf("%s: default ACL %v", name, ok)
		}
	}
}

// TestDuplicates: the last entry of a name counts.
func TestDuplicates(t *testing.T) {
	second := file("f", "second")
	second.hdr.Mode = 0o4755
	root, err := extract(t, build(t,
		file("f", "first, and longer"), second,
		dir("d", 0o700), file("d/x", "x"), dir("d", 0o1777),
		file("was", "x"), dir("was", 0o711), file("was/x", "x"),
		dir("gone", 0o755), file("gone", "file"),
		dir("p/q", 0o755), file("p/q", "file now"),
		link(tar.TypeSymlink, "s", "f"), link(tar.TypeSymlink, "s", "d"),
	))
	if err != nil {
		t.Fatal(err)
	}
	tree := testtree.Read(t, root, testtree.Options{})
	for name, want := range map[string]uint32{
		"f": unix.S_IFREG | 0o4755, "d": unix.S_IFDIR | 0o1777, "was": unix.S_IFDIR | 0o711,
		"gone": unix.S_IFREG | 0o644, "p/q": unix.S_IFREG | 0o644, "s": unix.S_IFLNK | 0o777,
	} {
		if tree[name].Mode != want {
			t.Errorf("%s: mode %o, want %o", name, tree[name].Mode, want)
		}
	}
	if tree["f"].Size != 6 || tree["s"].Link != "d" {
		t.Errorf("f %d bytes, s -> %s", tree["f"].Size, tree["s"].Link)
	}
}

// TestFilesOnly: metadata is plain, root's, and without privileges.
func TestFilesOnly(t *testing.T) {
	testtree.NeedRoot(t)
	suid := file("f", "x")
	suid.hdr.Mode, suid.hdr.Uid, suid.hdr.PAXRecords = 0o6777, 1000, map[string]string{"SCHILY.xattr.user.x": "y"}
	root := t.TempDir()
	if _, err := extractTo(t, root, bytes.NewReader(build(t, dir("d", 0o2777), suid)), Policy{FilesOnly: true}, Limits{}); err != nil {
		t.Fatal(err)
	}
	tree := testtree.Read(t, root, testtree.Options{})
	if n := tree["f"]; n.Mode != unix.S_IFREG|0o755 || n.UID != 0 || len(n.Xattrs) > 0 {
		t.Errorf("f: %+v", n)
	}
	if n := tree["d"]; n.Mode != unix.S_IFDIR|0o755 {
		t.Errorf("d: %+v", n)
	}
	for _, e := range []entry{link(tar.TypeSymlink, "l", "f"), link(tar.TypeLink, "l", "f"), {hdr: tar.Header{Name: "p", Typeflag: tar.TypeFifo}}} {
		_, err := extractTo(t, t.TempDir(), bytes.NewReader(build(t, file("f", "x"), e)), Policy{FilesOnly: true}, Limits{})
		if err == nil || !strings.Contains(err.Error(), "only files and directories") {
			t.Errorf("%c: %v", e.hdr.Typeflag, err)
		}
	}
}
