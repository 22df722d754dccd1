package tarball

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/images/internal/restore"
	"poolctl/images/internal/testtree"
)

// realRoots are the real root file systems of the shared fixtures.
func realRoots(t testing.TB) []string {
	t.Helper()
	var all []string
	for _, pattern := range []string{"alpine/*.tar.gz", "small/*/*.tar.?z", "small/*.tar.gz"} {
		found, err := filepath.Glob(filepath.Join(testtree.Shared(t), pattern))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, found...)
	}
	if len(all) < 10 {
		t.Fatalf("only %d root archives in the shared fixtures", len(all))
	}
	return all
}

// TestSameAsGNUTar unpacks every real root by GNU tar, as LXD does, and here: the
// trees must be the same.
func TestSameAsGNUTar(t *testing.T) {
	testtree.NeedRoot(t)
	for _, path := range realRoots(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			want, got := t.TempDir(), t.TempDir()
			gnuTar(t, want, path)
			if _, err := extractTo(t, got, openArchive(t, path), Policy{}, Limits{}); err != nil {
				t.Fatal(err)
			}
			compareTrees(t, want, got)
		})
	}
}

func gnuTar(t testing.TB, dir, path string) {
	t.Helper()
	cmd := exec.Command("tar", "-C", dir, "--numeric-owner", "--xattrs-include=*", "--acls", "-xpf", path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tar: %v\n%s", err, out)
	}
}

// compareTrees allows for what is not in an archive: the times of directories
// that it does not list, and devices that are left out.
func compareTrees(t testing.TB, want, got string) {
	t.Helper()
	w := testtree.Read(t, want, testtree.Options{})
	g := testtree.Read(t, got, testtree.Options{})
	for name, n := range w {
		if !safeMode(n.Mode, n.Rdev) {
			delete(w, name)
		}
		if m, ok := g[name]; ok && m.Mtime == "0.000000000" {
			n.Mtime = m.Mtime
			w[name] = n
		}
	}
	if n, ok := g["."]; ok && w["."].Mtime != n.Mtime { // no "./" entry
		n.Mtime = w["."].Mtime
		g["."] = n
	}
	if diff := cmp.Diff(w, g); diff != "" {
		t.Errorf("GNU tar (-) and ours (+) differ:\n%.4000s", diff)
	}
}

// TestSpecialFiles packs, with GNU tar, everything that a tree can hold, and
// compares after unpacking.
func TestSpecialFiles(t *testing.T) {
	testtree.NeedRoot(t)
	for _, format := range []string{"posix", "posix --sparse", "gnu --sparse --no-xattrs --no-acls"} {
		t.Run(format, func(t *testing.T) {
			src, want, got := t.TempDir(), t.TempDir(), t.TempDir()
			script := `set -e; umask 022
mkdir -p plain sticky setgid/sub acl/inner; chmod 1777 sticky; chmod 2755 setgid; chmod 700 plain
echo suid > suid; chown 0:5 suid; chmod 6755 suid
cp /bin/true cap; chown 12:34 cap; ln cap caplink; echo x > attr; echo y > acl/file
mkfifo fifo; chown 5:6 fifo; chmod 640 fifo; mknod null c 1 3; mknod sda b 8 0; mknod kmsg c 1 11; mknod whiteout c 0 0
ln -s /etc/shadow abs; ln -s ../../../../outside rel; ln abs abslink; chown -h 7:8 abs
truncate -s 5M sparse; printf x | dd of=sparse bs=1 seek=3000000 conv=notrunc status=none; truncate -s 3M hole; : > empty
head -c 300000 /dev/urandom > data; touch -d '1960-01-02 03:04:05.123456789' old; touch -d '2100-01-01 00:00:00.5' new
mkdir deep; (cd deep; i=0; while [ $i -lt 20 ]; do mkdir "$(printf '%0100d' $i)"; cd "$(printf '%0100d' $i)"; i=$((i+1)); done; echo bottom > f)
touch -d '2001-01-01 00:00:01.25' plain acl sticky; chown 4000000000:4000000001 data`
			sh := exec.Command("sh", "-c", script)
			sh.Dir = src
			if out, err := sh.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			addXattrs(t, src)
			archive := filepath.Join(t.TempDir(), "a.tar")
			args := append([]string{"-C", src, "--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls", "-cf", archive}, "--format="+strings.Fields(format)[0])
			args = append(append(args, strings.Fields(format)[1:]...), ".")
			if out, err := exec.Command("tar", args...).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			gnuTar(t, want, archive)
			f := openArchive(t, archive)
			e, err := extractTo(t, got, f, Policy{}, Limits{})
			if err != nil {
				t.Fatal(err)
			}
			if e.LeftOut != 2 {
				t.Errorf("%d devices left out, want sda and kmsg", e.LeftOut)
			}
			compareTrees(t, want, got)
			checkHoles(t, got)
		})
	}
}

// addXattrs gives the tree's files capabilities, attributes and ACLs.
func addXattrs(t *testing.T, dir string) {
	t.Helper()
	access, err := encodeACL("user::rw-,user:1234:rw-,group::r--,group:77:r--,mask::rw-,other::---")
	if err != nil {
		t.Fatal(err)
	}
	inherited, err := encodeACL("user::rwx,user:1234:rwx,group::r-x,group:9:---,mask::rwx,other::r-x")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct{ file, name, value string }{
		{"cap", "security.capability", "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"},
		{"attr", "user.one", "two words"},
		{"attr", "user.empty", ""},
		{"attr", "trusted.t", "\x01\xff"},
		{"acl", "user.d", "d"},
		{"acl/file", "system.posix_acl_access", string(access)},
		{"acl", "system.posix_acl_default", string(inherited)},
	} {
		if err := unix.Lsetxattr(filepath.Join(dir, x.file), x.name, []byte(x.value), 0); err != nil {
			t.Fatalf("%s %s: %v", x.file, x.name, err)
		}
	}
}

func checkHoles(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"sparse", "hole"} {
		st, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if n := blocks(st); n < 0 || n > 64<<10 {
			t.Errorf("%s takes %d bytes on disk", name, n)
		}
	}
}

// safeMode is restore.SafeDevice for a stat result; true for what is no device.
func safeMode(mode uint32, rdev uint64) bool {
	switch mode & unix.S_IFMT {
	case unix.S_IFBLK:
		return false
	case unix.S_IFCHR:
		return restore.SafeDevice(true, unix.Major(rdev), unix.Minor(rdev))
	}
	return true
}
