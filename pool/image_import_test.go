package pool

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/fixtures"
)

// imageFiles are the files of a small image: its metadata and its root as a plain archive, a squashfs by each compressor, and
// a unified archive.
type imageFiles struct {
	dir  string
	meta string
	tar  string
}

const importedFile = "etc/imported"

func newImageFiles(t *testing.T) imageFiles {
	t.Helper()
	f := imageFiles{dir: t.TempDir()}
	var root, unified fixtures.Tree
	root.Dir(0o755, ".", "etc", "sbin")
	root.File(importedFile, 0o4755, strings.Repeat("imported\n", 1000))
	meta := "architecture: x86_64\ncreation_date: 1600000000\nexpiry_date: 1900000000\nproperties: {os: Test, release: \"1.10\"}\n"
	var m fixtures.Tree
	m.File("metadata.yaml", 0o644, meta)
	unified.File("metadata.yaml", 0o644, meta)
	unified.Dir(0o755, "rootfs", "rootfs/etc")
	unified.File("rootfs/"+importedFile, 0o4755, strings.Repeat("imported\n", 1000))
	f.meta, f.tar = f.path("meta.tar"), f.path("root.tar")
	for path, tree := range map[string]*fixtures.Tree{f.meta: &m, f.tar: &root, f.path("unified.tar"): &unified} {
		var b bytes.Buffer
		if err := tree.WriteTar(&b, ""); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func (f imageFiles) path(name string) string { return filepath.Join(f.dir, name) }

// made runs a shell command that makes the file.
func (f imageFiles) made(t *testing.T, name, command string) string {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", "cd "+f.dir+" && "+command+" > "+name).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", command, err, out)
	}
	return f.path(name)
}

func sumOfFiles(t *testing.T, files ...string) string {
	t.Helper()
	h := sha256.New()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestImportFormats imports an image in every format that there is, the files in either order, and exports it again: the
// fingerprint is that of the bytes, the content is there, and the bytes come out as they were.
func TestImportFormats(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	compressors := map[string]string{"gz": "gzip -c", "xz": "xz -0 -c", "zst": "zstd -q -c", "bz2": "bzip2 -c", "lz4": "lz4 -q -c", "lzma": "xz -0 --format=lzma -c"}
	var roots []string
	var unified []string
	for ext, command := range compressors {
		roots = append(roots, f.made(t, "root.tar."+ext, command+" root.tar"))
		unified = append(unified, f.made(t, "unified.tar."+ext, command+" unified.tar"))
	}
	for _, comp := range []string{"gzip", "lzma", "lzo", "lz4", "xz", "zstd"} {
		path := f.path("root." + comp + ".squashfs")
		if out, err := exec.CommandContext(t.Context(), "sh", "-c", "sqfstar -quiet -no-progress -comp "+comp+" "+path+" < "+f.tar).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", comp, err, out)
		}
		roots = append(roots, path)
	}
	meta := f.made(t, "meta.tar.xz", "xz -c meta.tar")
	for i, root := range append(roots, f.tar) {
		files := []string{meta, root}
		if i%2 == 1 {
			files = []string{root, meta}
		}
		checkImport(t, s, files, meta, root)
	}
	for _, path := range append(unified, f.path("unified.tar")) {
		checkImport(t, s, []string{path}, path)
	}
}

// checkImport imports the files, which are parts in the order of the fingerprint.
func checkImport(t *testing.T, s *System, files []string, parts ...string) {
	t.Helper()
	im, err := s.ImportImage(t.Context(), ImportImageOptions{Files: files, NewImageOptions: NewImageOptions{
		Aliases: []string{"a", "b/c"}, Public: true, Properties: map[string]string{"release": "2", "own": "x=y"},
	}})
	if err != nil {
		t.Errorf("%s: %v", files, err)
		return
	}
	if want := sumOfFiles(t, parts...); im.Fingerprint != want {
		t.Errorf("%s: fingerprint %s, want %s", files, im.Fingerprint, want)
	}
	if diff := cmp.Diff(map[string]string{"os": "Test", "release": "2", "own": "x=y"}, im.Properties); diff != "" {
		t.Errorf("%s: properties (-want +got):\n%s", files, diff)
	}
	if !im.Public || len(im.Aliases) != 2 || im.CreatedAt.Unix() != 1600000000 || im.ExpiresAt.Unix() != 1900000000 || im.Type != "container" {
		t.Errorf("%s: %+v", files, im)
	}
	b, err := os.ReadFile(filepath.Join(s.dir.MountPoint("p1"), "images", im.Fingerprint, "rootfs", importedFile))
	if err != nil || string(b) != strings.Repeat("imported\n", 1000) {
		t.Errorf("%s: %d bytes, %v", files, len(b), err)
	}
	dir := t.TempDir()
	out, err := s.ExportImage(t.Context(), ExportImageOptions{Image: "b/c", Target: dir})
	if err != nil || len(out.Files) != len(parts) {
		t.Fatalf("%s: %+v, %v", files, out, err)
	}
	for i, p := range parts {
		ext := filepath.Base(p)[strings.Index(filepath.Base(p), "."):]
		ext = ext[max(strings.LastIndex(ext, ".squashfs"), 0):]
		want := filepath.Join(dir, im.Fingerprint+ext)
		if len(parts) == 2 && i == 0 {
			want = filepath.Join(dir, "meta-"+im.Fingerprint+ext)
		}
		if out.Files[i] != want {
			t.Errorf("exported as %s, want %s", out.Files[i], want)
		}
		if sumOfFiles(t, out.Files[i]) != sumOfFiles(t, p) {
			t.Errorf("%s is not what %s was", out.Files[i], p)
		}
	}
	if err := s.DeleteImage(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(s.dir.MountPoint("p1") + "/.poolctl/*/*")
	if err != nil || len(left) > 0 {
		t.Errorf("left in the pool: %v, %v", left, err)
	}
}

// TestImportDirectory: a directory with a root, one with an image's two files, and standard input.
func TestImportDirectory(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	ctx := t.Context()
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f.made(t, "nothing", "tar -C "+dir+" -xf unified.tar")
	im, err := s.ImportImage(ctx, ImportImageOptions{Files: []string{dir}})
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(filepath.Join(s.dir.MountPoint("p1"), "images", im.Fingerprint, "rootfs", importedFile)); err != nil || fi.Mode()&fs.ModeSetuid == 0 {
		t.Errorf("%v, %v", fi, err)
	}
	out, err := s.ExportImage(ctx, ExportImageOptions{Image: im.Fingerprint, Target: t.TempDir() + "/x"})
	if err != nil || len(out.Files) != 1 || !strings.HasSuffix(out.Files[0], "/x.tar.xz") {
		t.Errorf("%+v, %v", out, err)
	}
	two := t.TempDir()
	for from, to := range map[string]string{f.meta: "lxd.tar.xz", f.tar: "rootfs.tar.xz"} {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(two, to), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if im, err = s.ImportImage(ctx, ImportImageOptions{Files: []string{two}}); err != nil || im.Fingerprint != sumOfFiles(t, f.meta, f.tar) {
		t.Errorf("%+v, %v", im, err)
	}
	b, err := os.ReadFile(f.path("unified.tar"))
	if err != nil {
		t.Fatal(err)
	}
	im, err = s.ImportImage(ctx, ImportImageOptions{Files: []string{"-"}, Stdin: bytes.NewReader(b)})
	if err != nil || im.Fingerprint != sumOfFiles(t, f.path("unified.tar")) {
		t.Errorf("%+v, %v", im, err)
	}
	var stream bytes.Buffer
	if err := s.ExportImageTo(ctx, ExportImageOptions{Image: im.Fingerprint}, &stream); err != nil || !bytes.Equal(stream.Bytes(), b) {
		t.Errorf("%d bytes, %v", stream.Len(), err)
	}
}

// TestImportReuse: an alias is taken away only with Reuse, and an image that has no other goes.
func TestImportReuse(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	ctx := t.Context()
	from := func(reuse bool, file string, aliases ...string) error {
		files := []string{f.meta, file}
		if file == f.path("unified.tar") {
			files = files[1:]
		}
		_, err := s.ImportImage(ctx, ImportImageOptions{Files: files, NewImageOptions: NewImageOptions{Aliases: aliases, Reuse: reuse}})
		return err
	}
	gz := f.made(t, "root.tar.gz", "gzip -c root.tar")
	if err := errors.Join(from(false, f.tar, "one", "two"), from(false, gz, "three")); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []error{from(false, f.path("unified.tar"), "one"), from(false, f.tar, "four"), from(false, f.tar)} {
		if !errors.Is(bad, ErrExists) {
			t.Errorf("got %v", bad)
		}
	}
	if err := from(true, f.path("unified.tar"), "two", "three"); err != nil {
		t.Fatal(err)
	}
	all, err := s.Images(ctx, "")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, im := range all {
		got[im.Fingerprint] = []string{}
		for _, a := range im.Aliases {
			got[im.Fingerprint] = append(got[im.Fingerprint], a.Name)
		}
	}
	want := map[string][]string{sumOfFiles(t, f.meta, f.tar): {"one"}, sumOfFiles(t, f.path("unified.tar")): {"two", "three"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if err := from(true, f.tar, "five"); err != nil { // it is there
		t.Error(err)
	}
}

// TestImportBad: what is no image is refused, and leaves nothing.
func TestImportBad(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	link := f.path("link")
	if err := os.Symlink("/", link); err != nil {
		t.Fatal(err)
	}
	linked := t.TempDir()
	if err := errors.Join(os.Symlink("/etc", filepath.Join(linked, "rootfs")), os.WriteFile(filepath.Join(linked, "metadata.yaml"), []byte("architecture: x86_64\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	big := f.path("big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, 1<<40); err != nil {
		t.Fatal(err)
	}
	text := f.path("text")
	if err := os.WriteFile(text, []byte("no image\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, files := range map[string][]string{
		"no such file":                             {f.path("none")},
		"there is no root file system":             {f.meta},
		"there is no root file system in":          {f.tar},
		"there is no metadata.yaml in either file": {f.tar, f.tar},
		"unknown file format":                      {text},
		"only https is allowed":                    {"http://localhost/x"},
		"is a directory: it is imported alone":     {f.dir, f.tar},
		"neither metadata.yaml in it":              {f.dir},
		"not a directory":                          {linked},
		"one or two files are needed":              {},
		"no standard input":                        {"-"},
		"takes at least":                           {f.meta, big},
		"cannot reach https://127.0.0.1:1/x":       {"https://127.0.0.1:1/x"},
		"text: is a directory":                     {f.meta, t.TempDir()},
	} {
		_, err := s.ImportImage(t.Context(), ImportImageOptions{Files: files})
		want = strings.TrimPrefix(want, "text: ")
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "cannot import") {
			t.Errorf("%q: want %q, got %v", files, want, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err := s.ImportImage(ctx, ImportImageOptions{Files: []string{"-"}, Stdin: readerOf(func(b []byte) (int, error) { cancel(); return len(b), nil })})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	left, err := filepath.Glob(s.dir.MountPoint("p1") + "/.poolctl/*/*")
	if err != nil || len(left) > 0 {
		t.Errorf("left in the pool: %v, %v", left, err)
	}
}

type readerOf func([]byte) (int, error)

func (r readerOf) Read(b []byte) (int, error) { return r(b) }

var _ io.Reader = readerOf(nil)

// TestExportRefuses: what is there stays, and a target that cannot be written to leaves nothing.
func TestExportRefuses(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	ctx := t.Context()
	im, err := s.ImportImage(ctx, ImportImageOptions{Files: []string{f.meta, f.tar}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	root := filepath.Join(dir, im.Fingerprint+".tar")
	if err := os.WriteFile(root, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExportImage(ctx, ExportImageOptions{Image: im.Fingerprint, Target: dir}); !errors.Is(err, ErrExists) {
		t.Errorf("over a file: %v", err)
	}
	entries, err := os.ReadDir(dir)
	if b, rerr := os.ReadFile(root); err != nil || rerr != nil || string(b) != "mine" || len(entries) != 1 {
		t.Errorf("%q, %v, %v, %v", b, entries, err, rerr)
	}
	if _, err := s.ExportImage(ctx, ExportImageOptions{Image: im.Fingerprint, Target: dir, Force: true}); err != nil || sumOfFiles(t, root) != sumOfFiles(t, f.tar) {
		t.Errorf("with force: %v", err)
	}
	for _, bad := range []string{dir + "/none/file", dir + "/none/", "/proc/x"} {
		if out, err := s.ExportImage(ctx, ExportImageOptions{Image: im.Fingerprint, Target: bad}); err == nil {
			t.Errorf("%s: %+v", bad, out)
		}
	}
	if err := s.ExportImageTo(ctx, ExportImageOptions{Image: im.Fingerprint}, io.Discard); err == nil {
		t.Error("a split image went to a stream")
	}
	if left, _ := os.ReadDir(s.journalDir()); len(left) > 0 {
		t.Errorf("in the journal: %v", left)
	}
}

// TestHostFiles: several files appear together, also where each has a name from the beginning; nothing is left of those that
// come to nothing; and what a killed command has named is taken back, unless it is all, or somebody else's.
func TestHostFiles(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	for _, named := range []bool{false, true} {
		dir := smallDisk(t, "1m")
		write := func(force, commit bool, text string) (*hostFiles, error) {
			h := &hostFiles{s: s, force: force}
			for _, name := range []string{"a", "b"} {
				create := h.create
				if named {
					create = h.createNamed
				}
				f, err := create(ctx, dir)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := f.WriteString(text); err != nil {
					t.Fatal(err)
				}
				f.path = filepath.Join(dir, name)
			}
			if !commit {
				return h, nil
			}
			err := h.commit(ctx)
			return h, errors.Join(err, h.close())
		}
		hidden := false
		there := func(want ...string) {
			t.Helper()
			entries, err := os.ReadDir(dir)
			var got []string
			for _, e := range entries {
				if hidden && strings.HasPrefix(e.Name(), ".") {
					continue
				}
				b, rerr := os.ReadFile(filepath.Join(dir, e.Name()))
				got, err = append(got, e.Name()+"="+string(b)), errors.Join(err, rerr)
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("named %v: %q, want %q, %v", named, got, want, err)
			}
		}
		h, err := write(false, false, "0")
		ok(t, err, h.close())
		there()
		_, err = write(false, true, "1")
		ok(t, err)
		there("a=1", "b=1")
		ok(t, os.Remove(dir+"/a"))
		if _, err := write(false, true, "2"); !errors.Is(err, ErrExists) {
			t.Errorf("over a file: %v", err)
		}
		there("b=1")
		_, err = write(true, true, "3")
		ok(t, err)
		there("a=3", "b=3")
		ok(t, os.Remove(dir+"/a"), os.Remove(dir+"/b"))
		// Killed after the first name.
		h, err = write(false, false, "4")
		ok(t, err, h.intend(ctx), h.name(h.files[0]))
		hidden = true // the other one still has its own, where it has one
		there("a=4")
		hidden = false
		ok(t, s.recoverHostFiles(ctx, h.entry))
		there()
		// And after both: they are complete.
		for _, f := range h.files {
			ok(t, os.WriteFile(f.path, nil, 0o600)) // somebody else's meanwhile
		}
		ok(t, s.recoverHostFiles(ctx, h.entry), h.close())
		there("a=", "b=")
		// Files that replace others: the second one fails, or the command is killed in between.
		_, err = write(true, true, "5")
		ok(t, err)
		h, err = write(true, false, "6")
		ok(t, err)
		h.files[1].path = filepath.Join(dir, "none/b")
		if err := h.commit(ctx); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("into no directory: %v", err)
		}
		ok(t, h.close())
		there("a=5", "b=5")
		for killed := range 4 {
			h, err = write(true, false, "7")
			ok(t, err)
			for _, f := range h.files {
				f.over, f.saved = besideName(f.path), besideName(f.path)
			}
			ok(t, h.intend(ctx), h.files[0].save())
			if killed == 3 { // as on a file system without hard links
				ok(t, os.Remove(h.files[0].path))
			}
			if killed == 1 || killed == 2 {
				ok(t, h.name(h.files[0]))
			}
			if killed == 2 {
				ok(t, h.files[1].save())
			}
			ok(t, s.recoverHostFiles(ctx, h.entry))
			there("a=5", "b=5")
			ok(t, h.close())
			there("a=5", "b=5")
		}
		// Killed when all have their names.
		h, err = write(true, false, "8")
		ok(t, err)
		for _, f := range h.files {
			f.over, f.saved = besideName(f.path), besideName(f.path)
		}
		ok(t, h.intend(ctx))
		for _, f := range h.files {
			ok(t, f.save(), h.name(f))
		}
		ok(t, s.recoverHostFiles(ctx, h.entry))
		there("a=8", "b=8")
		ok(t, h.close())
		if err := os.Mkdir(dir+"/d", 0o700); err != nil {
			t.Fatal(err)
		}
		h, err = write(true, false, "9")
		ok(t, err)
		h.files[0].path = dir + "/d"
		if err := h.commit(ctx); err == nil || !strings.Contains(err.Error(), "/d: it is a directory") {
			t.Errorf("over a directory: %v", err)
		}
		ok(t, h.close(), os.Remove(dir+"/d"))
		there("a=8", "b=8")
	}
	if left, _ := os.ReadDir(s.journalDir()); len(left) > 0 {
		t.Errorf("in the journal: %v", left)
	}
}

func TestSerialOf(t *testing.T) {
	for want, im := range map[string]Image{
		"20250102_03:04":  {Properties: map[string]string{"serial": "20250102_03:04"}},
		"20200913_12:26":  {Properties: map[string]string{"serial": "yesterday"}, CreatedAt: unixTime(1600000000)},
		"20200913_12:26 ": {UploadedAt: unixTime(1600000000)},
	} {
		if got := serialOf(im); got != strings.TrimSpace(want) {
			t.Errorf("%+v: %s", im, got)
		}
	}
}
