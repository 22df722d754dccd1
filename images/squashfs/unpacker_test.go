package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/images/internal/testtree"
)

func openDir(t testing.TB, path string) *os.File {
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

func openImage(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// shell runs a script in a new directory and gives that.
func shell(t testing.TB, script string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	openDir(t, dir)
	sh := exec.Command("sh", "-ec", script)
	sh.Dir = dir
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return dir
}

// pack makes a squashfs of a tree.
func pack(t testing.TB, tree string, options ...string) string {
	t.Helper()
	image := filepath.Join(t.TempDir(), "image")
	args := append([]string{tree, image, "-quiet", "-no-progress", "-noappend"}, options...)
	if out, err := exec.Command("mksquashfs", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return image
}

// unpack unpacks an image file into a new directory and compares with want.
func unpack(t testing.TB, u *Unpacker, image string, stream bool, want map[string]testtree.Node) Result {
	t.Helper()
	f := openImage(t, image)
	var at io.ReaderAt
	if stream {
		at = f
	}
	dir := openDir(t, filepath.Join(t.TempDir(), "out"))
	u.TempDir = t.TempDir()
	res, err := u.Unpack(t.Context(), f, at, dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, testtree.Read(t, dir.Name(), testtree.Options{})); diff != "" {
		t.Errorf("in (-), out (+):\n%.3000s", diff)
	}
	if left, err := os.ReadDir(u.TempDir); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary directory: %v %v", left, err)
	}
	return res
}

// TestUnpackRandom: what went in comes out, in every compression and layout, and
// unsquashfs gives the same.
func TestUnpackRandom(t *testing.T) {
	testtree.NeedRoot(t)
	for i, options := range []string{
		"-comp gzip", "-comp xz", "-comp zstd", "-comp lzo", "-comp lz4", "-comp lzma",
		"-comp xz -no-fragments", "-comp zstd -no-duplicates -always-use-fragments", "-comp gzip -b 4096 -noI -noX",
		"-comp lz4 -Xhc -noD -noF", "-comp xz -Xbcj x86,arm -Xdict-size 100% -b 65536", "-comp gzip -Xstrategy huffman_only,fixed -Xwindow-size 9",
		"-comp lzo -Xalgorithm lzo1x_1 -no-exports", "-comp zstd -Xcompression-level 22 -b 1M", "-comp zstd -no-sparse -b 8192", "-comp lzma -b 4096",
	} {
		t.Run(options, func(t *testing.T) {
			tree := filepath.Join(t.TempDir(), "tree")
			openDir(t, tree)
			block := 4096 << (i % 3)
			testtree.Random(t, tree, uint64(i), 150, block)
			args := strings.Fields(options)
			if !strings.Contains(options, "-b ") {
				args = append(args, "-b", fmt.Sprint(block))
			}
			image := pack(t, tree, args...)
			want := testtree.Read(t, tree, testtree.Options{})
			unpack(t, &Unpacker{}, image, true, want)
			unpack(t, &Unpacker{}, image, false, want)
			cross := filepath.Join(t.TempDir(), "cross")
			if out, err := exec.Command("unsquashfs", "-quiet", "-no-progress", "-dest", cross, image).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if diff := cmp.Diff(want, testtree.Read(t, cross, testtree.Options{})); diff != "" {
				t.Errorf("unsquashfs: in (-), out (+):\n%.3000s", diff)
			}
		})
	}
}

// TestUnpackShapes: trees that strain one part each.
func TestUnpackShapes(t *testing.T) {
	testtree.NeedRoot(t)
	for name, tc := range map[string]struct{ script, options string }{
		"empty":          {"chmod 711 .; chown 7:8 .", "-comp xz"},
		"only empty":     {"touch a b; mkdir c", "-comp gzip -no-exports -no-xattrs"},
		"one hole":       {"truncate -s 150M hole; touch -d @0 hole", "-comp gzip"},
		"hole at end":    {"head -c 300000 /dev/urandom > f; truncate -s 900001 f", "-comp xz -b 65536"},
		"many open":      {"head -c 5000000 /dev/urandom | split -a 3 -b 20000", "-comp gzip -b 4096 -always-use-fragments"},
		"plain after xz": {"for i in 1 2 3; do yes $i | head -c 20000 > c$i; head -c 2000000 /dev/urandom > d$i; done", "-comp xz -b 4096"},
		"deep":           {"d=.; for i in $(seq 200); do d=$d/d; done; mkdir -p $d; echo x > $d/f", "-comp lz4"},
		"setgid":         {"mkdir -m 2777 d; chown 5:6 d; mkdir d/e; touch d/e/f; chmod 2755 .; chown 0:9 .", "-comp zstd"},
		"links":          {"mkdir a b; echo x > a/f; for i in $(seq 100); do ln a/f b/$i; done; mkfifo p; ln p q; ln -s x s", "-comp gzip"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := shell(t, tc.script+"; find . -depth -exec touch -hd @1700000000 {} +")
			unpack(t, &Unpacker{}, pack(t, tree, strings.Fields(tc.options)...), true, testtree.Read(t, tree, testtree.Options{}))
		})
	}
}

// TestUnpackLargeDir: a directory of 100,000 entries has an indexed inode and
// needs many blocks of every table.
func TestUnpackLargeDir(t *testing.T) {
	testtree.NeedRoot(t)
	memory, err := os.MkdirTemp("/dev/shm", "poolctl-test-") // a disk would take most of the time
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	tree := filepath.Join(memory, "in")
	if err := os.MkdirAll(tree+"/d", 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range 100000 {
		if err := os.WriteFile(fmt.Sprintf("%s/d/file-number-%d", tree, i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(tree+"/d/last", []byte("content\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	image := pack(t, tree, "-comp", "zstd")
	dir := openDir(t, filepath.Join(memory, "out"))
	f := openImage(t, image)
	if _, err := (&Unpacker{}).Unpack(t.Context(), f, f, dir); err != nil {
		t.Fatal(err)
	}
	want, err1 := os.ReadDir(tree + "/d")
	got, err2 := os.ReadDir(dir.Name() + "/d")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	if len(got) != 100001 || len(got) != len(want) {
		t.Fatalf("%d entries, %d went in", len(got), len(want))
	}
	for i := range got {
		if got[i].Name() != want[i].Name() {
			t.Fatalf("entry %d is %q, want %q", i, got[i].Name(), want[i].Name())
		}
	}
	if b, err := os.ReadFile(dir.Name() + "/d/last"); err != nil || string(b) != "content\n" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestUnpackDevices: nodes that would reach hardware are left out, with all their
// names, and counted once each.
func TestUnpackDevices(t *testing.T) {
	testtree.NeedRoot(t)
	tree := shell(t, "mkdir d; mknod null c 1 3; mknod d/mem c 1 1; ln d/mem d/mem2; mknod sda b 8 0; mknod big c 511 1048575; find . -depth -exec touch -hd @0 {} +")
	want := testtree.Read(t, tree, testtree.Options{})
	for _, gone := range []string{"d/mem", "d/mem2", "sda", "big"} {
		delete(want, gone)
	}
	if res := unpack(t, &Unpacker{}, pack(t, tree), true, want); res.DevicesLeftOut != 3 {
		t.Errorf("%d devices left out, want 3", res.DevicesLeftOut)
	}
}

// TestDeviceNumber: 12 bits of major, 20 of minor.
func TestDeviceNumber(t *testing.T) {
	for _, want := range [][2]uint32{{1, 3}, {511, 1048575}, {4095, 256}, {0, 0}, {8, 255}} {
		rdev := want[1]&0xff | want[0]<<8 | want[1]&^0xff<<12 // new_encode_dev
		if major, minor := deviceNumber(rdev); major != want[0] || minor != want[1] {
			t.Errorf("%#x: %d:%d, want %v", rdev, major, minor, want)
		}
	}
}

// TestUnpackInheritsNothing: a default ACL and the set-gid bit of the directory
// that is unpacked into do not reach what is in it.
func TestUnpackInheritsNothing(t *testing.T) {
	testtree.NeedRoot(t)
	tree := shell(t, "mkdir d; echo x > d/f; mkfifo p; find . -depth -exec touch -hd @0 {} +")
	image := openImage(t, pack(t, tree))
	dir := openDir(t, filepath.Join(t.TempDir(), "out"))
	acl := []byte{2, 0, 0, 0} // acl(5) as linux/posix_acl_xattr.h has it: u::rwx,u:5:rwx,g::r-x,m::rwx,o::r-x
	for _, e := range [][3]byte{{1, 7, 255}, {2, 7, 5}, {4, 5, 255}, {16, 7, 255}, {32, 5, 255}} {
		id := []byte{e[2], 255, 255, 255}
		if e[0] == 2 {
			id = []byte{e[2], 0, 0, 0}
		}
		acl = append(append(acl, e[0], 0, e[1], 0), id...)
	}
	if err := unix.Setxattr(dir.Name(), "system.posix_acl_default", acl, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir.Name(), os.ModeSetgid|0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir.Name(), 0, 77); err != nil {
		t.Fatal(err)
	}
	if _, err := (&Unpacker{}).Unpack(t.Context(), image, image, dir); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(testtree.Read(t, tree, testtree.Options{}), testtree.Read(t, dir.Name(), testtree.Options{})); diff != "" {
		t.Errorf("in (-), out (+):\n%s", diff)
	}
}

// TestUnpackFixtures: the real files of every compression, and what is no
// squashfs 4.0 or leads out of the directory.
func TestUnpackFixtures(t *testing.T) {
	testtree.NeedRoot(t)
	shared := testtree.Shared(t)
	for name, want := range map[string]string{
		"small/squashfs/gzip.sqfs": "", "small/squashfs/lz4.sqfs": "", "small/squashfs/lzma.sqfs": "", "small/squashfs/lzo.sqfs": "",
		"small/squashfs/xz.sqfs": "", "small/squashfs/zstd.sqfs": "",
		"small/squashfs/zlib_be.sqfs3": "big-endian", "small/squashfs/zlib_le.sqfs3": "version 3.1",
		"hostile/squashfs/pathtraversal.sqfs": "the squashfs is damaged",
	} {
		t.Run(filepath.Base(name), func(t *testing.T) {
			outer := t.TempDir()
			dir := openDir(t, filepath.Join(outer, "a/b/root"))
			skip := testtree.Options{Skip: func(rel string) bool { return rel == "a/b/root" }}
			before := testtree.Read(t, outer, skip)
			f := openImage(t, filepath.Join(shared, name))
			_, err := (&Unpacker{TempDir: t.TempDir()}).Unpack(t.Context(), f, f, dir)
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
			if diff := cmp.Diff(before, testtree.Read(t, outer, skip)); diff != "" {
				t.Errorf("something outside changed:\n%s", diff)
			}
			if want != "" {
				return
			}
			cross := filepath.Join(t.TempDir(), "cross")
			if out, err := exec.Command("unsquashfs", "-q", "-n", "-d", cross, f.Name()).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if diff := cmp.Diff(testtree.Read(t, cross, testtree.Options{}), testtree.Read(t, dir.Name(), testtree.Options{})); diff != "" {
				t.Errorf("unsquashfs's (-), ours (+):\n%s", diff)
			}
		})
	}
}

// TestUnpackPadding: a padded file is read as far as the file system goes.
func TestUnpackPadding(t *testing.T) {
	testtree.NeedRoot(t)
	tree := shell(t, "echo x > f; touch -d @0 f .")
	b, err := os.ReadFile(pack(t, tree))
	if err != nil {
		t.Fatal(err)
	}
	r := bytes.NewReader(append(b, make([]byte, 100000)...))
	if _, err := (&Unpacker{}).Unpack(t.Context(), r, r, openDir(t, t.TempDir())); err != nil {
		t.Fatal(err)
	}
	if r.Len() < 100000 {
		t.Errorf("%d bytes of padding left, want all", r.Len())
	}
}

// TestUnpackDebian: a whole Debian (scripts/debian-root), which fills many blocks
// of every table.
func TestUnpackDebian(t *testing.T) {
	testtree.NeedRoot(t)
	root := os.Getenv("POOLCTL_TEST_DEBIAN")
	if root == "" {
		root = "/var/tmp/poolctl-test-debian"
	}
	if _, err := os.Stat(root); err != nil {
		t.Fatalf("a Debian root is required (scripts/debian-root): %v", err)
	}
	want := testtree.Read(t, root, testtree.Options{})
	for name, n := range want {
		n.Mtime, _, _ = strings.Cut(n.Mtime, ".") // squashfs has whole seconds,
		n.Mtime += ".000000000"
		if n.Mode&unix.S_IFMT == unix.S_IFLNK {
			n.Same = "" // no hard links of links,
		}
		for x := range n.Xattrs {
			if strings.HasPrefix(x, "system.") {
				delete(n.Xattrs, x) // and no ACLs
			}
		}
		want[name] = n
	}
	for _, options := range []string{"-comp zstd -Xcompression-level 1", "-comp lz4 -no-fragments", "-comp lzo -Xalgorithm lzo1x_1 -b 1M"} {
		t.Run(options, func(t *testing.T) {
			unpack(t, &Unpacker{}, pack(t, root, strings.Fields(options)...), true, want)
		})
	}
}
