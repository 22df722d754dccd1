package remotes

import (
	"encoding/json"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// oracle says what each alias of a real catalogue stands for, worked out
// independently of this package.
type oracle struct {
	Source string
	Count  struct {
		Images, Containers, VMs int
		Aliases                 int `json:"alias_arch_type"`
	}
	Resolve []struct {
		Alias, Arch, Type, Fingerprint, Version, Product, FType string
		Size                                                    int64
		Meta                                                    oracleFile
		Root                                                    *oracleFile
	}
}

type oracleFile struct {
	Path, SHA256 string
	Size         int64
}

// oracles reads every oracle there is.
func oracles(t *testing.T) []oracle {
	t.Helper()
	dir := sharedDir(t)
	var all []oracle
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(p, "oracle.json") {
			return err
		}
		var o oracle
		if err := json.Unmarshal(readFile(t, p), &o); err != nil {
			return err
		}
		all = append(all, o)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 12 {
		t.Fatalf("only %d oracles below %s", len(all), dir)
	}
	return all
}

// TestOracles resolves every alias of every oracle, for each architecture and
// type, and compares fingerprint, version, files and sizes.
func TestOracles(t *testing.T) {
	for _, o := range oracles(t) {
		t.Run(o.Source, func(t *testing.T) {
			file, err := parseProducts(readFile(t, sharedDir(t), "..", o.Source))
			if err != nil {
				t.Fatal(err)
			}
			url := "https://localhost"
			if strings.Contains(o.Source, "ubuntu") {
				url = ubuntuImages + "/releases"
			}
			cat := newCatalogue([]*productsFile{file}, url, "x86_64")
			if cat.skip.n != 0 {
				t.Errorf("%d entries left out: %v", cat.skip.n, cat.skip.first)
			}
			checkCounts(t, cat, o)
			if len(o.Resolve) == 0 {
				t.Fatal("the oracle says nothing")
			}
			for _, r := range o.Resolve {
				checkResolve(t, cat, r.Alias, Want{Arch: r.Arch, Type: r.Type}, r.Fingerprint, func(img Image) []any {
					var files []oracleFile
					for _, f := range img.Files {
						if f.Role != RoleDelta {
							files = append(files, oracleFile{f.Path, f.SHA256, f.Size})
						}
					}
					return []any{img.Fingerprint, img.Arch, img.Type, img.Serial, img.Properties["type"], img.Size, files}
				}, func() []any {
					files := []oracleFile{r.Meta}
					if r.Root != nil {
						files = append(files, *r.Root)
					}
					return []any{r.Fingerprint, r.Arch, r.Type, r.Version, r.FType, r.Size, files}
				}())
			}
		})
	}
}

// checkResolve finds an image by alias, by alias/arch and by its fingerprint.
func checkResolve(t *testing.T, cat *catalogue, alias string, w Want, fp string, got func(Image) []any, want []any) {
	t.Helper()
	for _, how := range []struct {
		ref  string
		want Want
	}{
		{alias, w},
		{alias + "/" + w.Arch, Want{Type: w.Type}},
		{fp, Want{}},
		{fp[:48], w},
	} {
		img, err := cat.find("test", how.ref, how.want)
		if err != nil {
			t.Errorf("%+v: %v", how, err)
			continue
		}
		if d := cmp.Diff(want, got(img)); d != "" {
			t.Errorf("%+v (-oracle +got):\n%s", how, d)
		}
	}
}

func checkCounts(t *testing.T, cat *catalogue, o oracle) {
	t.Helper()
	n := map[string]int{}
	for _, img := range cat.images {
		n[img.Type]++
	}
	if len(cat.images) != o.Count.Images || n[TypeContainer] != o.Count.Containers || n[TypeVM] != o.Count.VMs {
		t.Errorf("%d images (%v), the oracle has %+v", len(cat.images), n, o.Count)
	}
	if len(o.Resolve) != o.Count.Aliases {
		t.Errorf("the oracle lists %d aliases and counts %d", len(o.Resolve), o.Count.Aliases)
	}
}
