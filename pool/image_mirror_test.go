package pool

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolctl/images"
)

// listener collects what a System tells the user.
func listener(s *System) (told func() string) {
	var lines []string
	s.notice = func(line string) { lines = append(lines, line) }
	return func() string { return strings.Join(lines, "\n") }
}

// servedFiles are the files of a tree's only image, as paths.
func servedFiles(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(filepath.Join(dir, "images"), func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestPublishMirrorKnown: LXD and Incus can unpack what is served: what they do not know is packed anew, and told.
func TestPublishMirrorKnown(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	f := newImageFiles(t)
	meta := f.made(t, "meta.tar.xz", "xz -c meta.tar")
	for name, c := range map[string]struct {
		files []string
		anew  bool
	}{
		"lz4":         {[]string{meta, f.made(t, "root.tar.lz4", "lz4 -q -c root.tar")}, true},
		"lz4 at meta": {[]string{f.made(t, "meta.tar.lz4", "lz4 -q -c meta.tar"), f.tar}, true},
		"unified lz4": {[]string{f.made(t, "unified.tar.lz4", "lz4 -q -c unified.tar")}, true},
		"old archive": {[]string{meta, f.made(t, "v7.tar", "mkdir v7 && tar -C v7 -xf root.tar && tar --format=v7 -C v7 -c .")}, true},
		"zstd":        {[]string{meta, f.made(t, "root.tar.zst", "zstd -q -c root.tar")}, false},
		"bzip2":       {[]string{meta, f.made(t, "root.tar.bz2", "bzip2 -c root.tar")}, false},
		"lzma":        {[]string{meta, f.made(t, "root.tar.lzma", "xz -0 --format=lzma -c root.tar")}, false},
		"archive":     {[]string{meta, f.tar}, false},
	} {
		t.Run(name, func(t *testing.T) {
			im, err := s.ImportImage(t.Context(), ImportImageOptions{Files: c.files, NewImageOptions: NewImageOptions{Aliases: []string{"x"}, Public: true}})
			if err != nil {
				t.Fatal(err)
			}
			told := listener(s)
			dir := t.TempDir()
			out, err := s.PublishMirror(t.Context(), PublishMirrorOptions{Dir: dir, Images: []string{"x"}})
			if err != nil || !slices.Equal(out.Added, []string{im.Fingerprint}) {
				t.Fatalf("%+v, %v", out, err)
			}
			if strings.Contains(told(), "packed anew, which gives it another fingerprint: LXD and Incus do not unpack its ") != c.anew {
				t.Errorf("told: %s", told())
			}
			files := servedFiles(t, dir)
			if len(files) == 0 {
				t.Error("nothing is served")
			}
			for _, path := range files {
				file, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer file.Close()
				if known, err := images.KnownToLXD(file); !known || err != nil {
					t.Errorf("%s: %v, %v", path, known, err)
				}
			}
			if out, err = s.PublishMirror(t.Context(), PublishMirrorOptions{Dir: dir, Images: []string{"x"}}); err != nil || len(out.Kept) != 1 {
				t.Errorf("again: %+v, %v", out, err)
			}
			if err := s.DeleteImage(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestPublicOf: of an image in several pools one mark is enough, and what is only cached is not published.
func TestPublicOf(t *testing.T) {
	all := []Image{
		{Fingerprint: "a", Public: true, Pool: "p"},
		{Fingerprint: "b"},
		{Fingerprint: "c", Cached: true},
		{Fingerprint: "a", Pool: "q"},
		{Fingerprint: "d", Cached: true, Public: true},
	}
	public, others := publicOf(all)
	if len(public) != 2 || public[0].Fingerprint != "a" || public[1].Fingerprint != "d" || len(others) != 1 || others[0].Fingerprint != "b" {
		t.Errorf("%v, %v", public, others)
	}
}

// TestPublishedProduct: what was made of an image is no version of that one's product, with or without an alias.
func TestPublishedProduct(t *testing.T) {
	fingerprint := strings.Repeat("ab", 32)
	base := map[string]string{"os": "Alpinelinux", "release": "3.8"}
	cloud := map[string]string{"os": "Alpinelinux", "release": "3.8", "variant": "cloud"}
	aliases := func(names ...string) (out []ImageAlias) {
		for _, n := range names {
			out = append(out, ImageAlias{Name: n})
		}
		return out
	}
	for name, c := range map[string]struct {
		im   Image
		want string
	}{
		"published, no alias":    {Image{Properties: base, derived: true}, "alpinelinux:3.8:amd64:abababababab"},
		"published, alias":       {Image{Properties: base, derived: true, Aliases: aliases("web/1")}, "alpinelinux:3.8:amd64:web-1"},
		"published of a variant": {Image{Properties: cloud, derived: true, Aliases: aliases("web")}, "alpinelinux:3.8:amd64:web"},
		"published as it":        {Image{Properties: base, derived: true, Aliases: aliases("alpinelinux/3.8")}, "alpinelinux:3.8:amd64:default"},
		"published, no base":     {Image{derived: true}, "abababababab:current:amd64:default"},
		"imported, no alias":     {Image{Properties: base}, "alpinelinux:3.8:amd64:default"},
		"imported, alias":        {Image{Properties: base, Aliases: aliases("mine")}, "alpinelinux:3.8:amd64:mine"},
		"pulled":                 {Image{Properties: base, Aliases: aliases("al"), UpdateSource: &ImageSource{}}, "alpinelinux:3.8:amd64:default"},
	} {
		c.im.Fingerprint, c.im.Architecture = fingerprint, "x86_64"
		if got := publishedImage(c.im).Product(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
