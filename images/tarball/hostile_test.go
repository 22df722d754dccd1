package tarball

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/images/internal/testtree"
)

// hostileWant says for each fixture what the error contains; "" = it unpacks.
var hostileWant = map[string]string{
	"gnu-long-nul.tar": "", "gnu-multi-hdrs.tar": "", "gnu-nil-sparse-data.tar": "", "hardlink.tar": "",
	"hdr-only.tar": "", "pax-multi-hdrs.tar": "", "pax-pos-size-file.tar": "", "trailing-slash.tar": "",
	"ustar-file-devs.tar": "", "v7.tar": "", "xattrs.tar": "", "nil-uid.tar": "", "invalid-go17.tar": "",
	"gnu-sparse-big.tar": `"gnu-sparse": it exceeds the limit of 1073741824 bytes`,
	"pax-sparse-big.tar": `"pax-sparse": it exceeds the limit of 1073741824 bytes`,
	"writer-big.tar":     `"tmp/16gig.txt": it exceeds the limit of 1073741824 bytes`,
	"sparse-large.tar":   `"huge": it exceeds the limit of 1073741824 bytes`,
	"issue10968.tar":     "invalid tar header", "issue11169.tar": "invalid tar header", "issue12435.tar": "invalid tar header",
	"neg-size.tar": "invalid tar header", "pax-bad-hdr-file.tar": "invalid tar header",
	"pax-bad-mtime-file.tar": "invalid tar header", "pax-nul-path.tar": "invalid tar header",
	"pax-nul-xattrs.tar": "invalid tar header", "pax-bad-hdr-large.tar.bz2": "too long",
	"pax-global-records.tar": "", "empty_filename.tar": "the name is empty",
	"format-acceptance__v7.tar": "", "long-paths__gnu.tar": "", "negative-mtime__gnu.tar": "",
	"sparse-files__gnu.tar": "", "sparse-files__pax-gnu1-0.tar": "", "user-group-largenum__gnu.tar": "",
	"xattr__acl.tar": "", "xattr__xattr-libarchive.tar": "", "xattr__xattr-schily.tar": "",
	"7z_long_path.tar": "", "biguid_gnu.tar": "", "biguid_pax.tar": "", "duplicate_dirs.tar": "", "file_times.tar": "",
	"link.tar": "", "pax_size.tar": "", "simple_missing_last_header.tar": "", "spaces.tar": "", "sparse.tar": "",
	"go-archive__broken.tar": "", "go-getter__bad.tar": `"directory/setuid2": cannot read its content: unexpected EOF`,
	"go-getter__implied_dir.tar": "", "go-getter__permissions.tar": "",
	"go-getter__outside_parent.tar.gz":         `"../demo.poc": the name contains ".."`,
	"go-getter__outside_parent.tar.zst":        `"../demo.poc": the name contains ".."`,
	"zip-slip-vulnerability__zip-slip-win.tar": "",
	"zip-slip-vulnerability__zip-slip.tar":     `the name contains ".."`,
}

// TestHostileFixtures unpacks every hostile archive that there is: each does what
// it should, quickly, and never is anything outside touched.
func TestHostileFixtures(t *testing.T) {
	testtree.NeedRoot(t)
	seen := map[string]bool{}
	found, err := filepath.Glob(filepath.Join(testtree.Shared(t), "hostile", "*", "*.tar*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		name := filepath.Base(path)
		seen[name] = true
		t.Run(name, func(t *testing.T) {
			want, ok := hostileWant[name]
			if !ok {
				t.Fatal("a new fixture: say here what it should do")
			}
			outer := t.TempDir()
			root, check := guarded(t, outer)
			start := time.Now()
			_, err := extractTo(t, root, openArchive(t, path), Policy{}, Limits{Bytes: 1 << 30})
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("got %v, want %q", err, want)
			}
			if d := time.Since(start); d > 5*time.Second {
				t.Errorf("it took %s", d)
			}
			check()
		})
	}
	for name := range hostileWant {
		if !seen[name] {
			t.Errorf("the fixture %s is gone", name)
		}
	}
}

// guarded makes root deep inside of outer, with files around it that must not
// change.
func guarded(t testing.TB, outer string) (root string, check func()) {
	t.Helper()
	root = filepath.Join(outer, "a", "b", "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"secret", "a/secret", "a/b/secret", "a/b/rooted"} {
		if err := os.WriteFile(filepath.Join(outer, f), []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	skip := testtree.Options{Skip: func(rel string) bool { return rel == "a/b/root" }}
	before := testtree.Read(t, outer, skip)
	return root, func() {
		t.Helper()
		if diff := cmp.Diff(before, testtree.Read(t, outer, skip)); diff != "" {
			t.Errorf("something outside changed:\n%s", diff)
		}
	}
}

// TestAttacks: archives made to get out, one trick each.
func TestAttacks(t *testing.T) {
	testtree.NeedRoot(t)
	long := strings.Repeat("d/", 300) + "f"
	for _, tc := range []struct {
		name    string
		entries []entry
		want    string // in the error; "" = unpacks
	}{
		{"absolute", []entry{file("/a/b/c", "x")}, `"/a/b/c": the name is absolute`},
		{"dotdot", []entry{file("../x", "x")}, `"../x": the name contains ".."`},
		{"dotdot inside", []entry{file("a/../../x", "x")}, `the name contains ".."`},
		{"dotdot that stays", []entry{file("a/../x", "x")}, `the name contains ".."`},
		{"dotdot at the end", []entry{dir("a/..", 0o755)}, `the name contains ".."`},
		{"dot components", []entry{file(".//./a/./b", "x")}, ""},
		{"through a link up", []entry{link(tar.TypeSymlink, "l", ".."), file("l/secret", "x")}, `"l/secret": its directory "l" is a symbolic link`},
		{"through an absolute link", []entry{link(tar.TypeSymlink, "l", "/tmp"), file("l/evil", "x")}, `its directory "l" is a symbolic link`},
		{"through a link inside", []entry{dir("d", 0o755), link(tar.TypeSymlink, "l", "d"), file("l/f", "x")}, `its directory "l" is a symbolic link`},
		{"directory through a link", []entry{link(tar.TypeSymlink, "l", "../.."), dir("l/x", 0o755)}, `its directory "l" is a symbolic link`},
		{"deep link", []entry{dir("a/b", 0o755), link(tar.TypeSymlink, "a/b/l", "../../.."), file("a/b/l/x/y", "x")}, `its directory "a/b/l" is a symbolic link`},
		{"directory replaced by a link", []entry{dir("d", 0o755), link(tar.TypeSymlink, "d", "../"), file("d/secret", "x")}, `its directory "d" is a symbolic link`},
		{"link replaced by a directory", []entry{link(tar.TypeSymlink, "d", "../"), dir("d", 0o755), file("d/f", "x")}, ""},
		{"link replaced by a file", []entry{link(tar.TypeSymlink, "f", "../secret"), file("f", "x")}, ""},
		{"chmod through a link", []entry{link(tar.TypeSymlink, "l", "../secret"), {hdr: tar.Header{Name: "l", Typeflag: tar.TypeFifo, Mode: 0o777}}}, ""},
		{"hard link up", []entry{link(tar.TypeLink, "l", "../secret")}, `"l": it is a hard link to "../secret": the name contains ".."`},
		{"absolute hard link", []entry{link(tar.TypeLink, "l", "/etc/passwd")}, `it is a hard link to "/etc/passwd": the name is absolute`},
		{"hard link through a link", []entry{link(tar.TypeSymlink, "d", ".."), link(tar.TypeLink, "l", "d/secret")}, `cannot link it to "d/secret": its directory "d" is a symbolic link`},
		{"hard link to a link", []entry{link(tar.TypeSymlink, "s", "../secret"), link(tar.TypeLink, "l", "s"), file("l", "x")}, ""},
		{"hard link to nothing", []entry{file("l", "keep"), link(tar.TypeLink, "l", "gone")}, `cannot link it to "gone"`},
		{"hard link to itself", []entry{file("l", "keep"), link(tar.TypeLink, "l", "./l")}, ""},
		{"hard link to the top", []entry{link(tar.TypeLink, "l", ".")}, "outside its tree"},
		{"hard link to a directory", []entry{dir("d", 0o755), link(tar.TypeLink, "l", "d")}, `"l": cannot link it to "d"`},
		{"file over a full directory", []entry{file("d/f", "x"), file("d", "y")}, `"d": cannot replace`},
		{"file as directory", []entry{file("f", "x"), file("f/g", "x")}, `"f/g": cannot open its directory`},
		{"top as link", []entry{link(tar.TypeSymlink, "./", "../")}, `the top directory cannot be a symbolic link`},
		{"owner -1", []entry{{hdr: tar.Header{Name: "f", Typeflag: tar.TypeReg, Uid: 1<<32 - 1, Format: tar.FormatGNU}}}, "out of range"},
		{"negative owner", []entry{{hdr: tar.Header{Name: "f", Typeflag: tar.TypeReg, Uid: -2, Format: tar.FormatGNU}}}, "out of range"},
		{"strange type", []entry{{hdr: tar.Header{Name: "f", Typeflag: 'Z'}}}, `its type 'Z' is not supported`},
		{"too deep", []entry{file(long, "x")}, "exceeds the limit of 256 components"},
		{"too long", []entry{file(strings.Repeat("x/", 2100)+"x", "")}, "exceeds the limit of 4096 bytes in a name"},
		{"long component", []entry{file(strings.Repeat("x", 256), "")}, "exceeds the limit of 255 bytes"},
		{"disk", []entry{{hdr: tar.Header{Name: "sda", Typeflag: tar.TypeBlock, Devmajor: 8, Mode: 0o666}}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root, check := guarded(t, t.TempDir())
			_, err := extractTo(t, root, bytes.NewReader(build(t, tc.entries...)), Policy{}, Limits{})
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
			check()
			for name, n := range testtree.Read(t, root, testtree.Options{}) {
				if n.Mode&unix.S_IFMT == unix.S_IFBLK {
					t.Errorf("%s is a block device", name)
				}
			}
		})
	}
}

// TestBombs: limits end an archive early, whatever it promises.
func TestBombs(t *testing.T) {
	testtree.NeedRoot(t)
	many := make([]entry, 101)
	for i := range many {
		many[i] = file(strings.Repeat("f", i+1), "")
	}
	for name, tc := range map[string]struct {
		archive []byte
		limits  Limits
		want    string
	}{
		"entries": {build(t, many...), Limits{Entries: 100}, "exceeds the limit of 100 entries"},
		"bytes":   {build(t, file("a", strings.Repeat("x", 600)), file("b", strings.Repeat("x", 600))), Limits{Bytes: 1000}, `"b": it exceeds the limit of 1000 bytes`},
		"global":  {bytes.Repeat(build(t, entry{hdr: tar.Header{Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}})[:1024], 200), Limits{Entries: 100}, "entries"},
		"trailer": {append(build(t, file("a", "x")), make([]byte, maxTrailer+1)...), Limits{}, "more than 64 MiB follow"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := extractTo(t, t.TempDir(), bytes.NewReader(tc.archive), Policy{}, tc.limits)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
