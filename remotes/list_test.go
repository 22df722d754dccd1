package remotes

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestRowsAsLXC compares all rows of the complete real catalogues with what
// `lxc image list` of LXD 5.0.2 printed for them (on x86_64): alias, short
// fingerprint, public, description, architecture, type, upload date.
// testdata/lxc-5.0.2.json holds the number and the sha256 of its sorted rows.
func TestRowsAsLXC(t *testing.T) {
	var golden map[string]struct {
		Rows   int
		SHA256 string
		Text   []string
	}
	if err := json.Unmarshal(readFile(t, "testdata", "lxc-5.0.2.json"), &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden) < 4 {
		t.Fatalf("only %d catalogues", len(golden))
	}
	for name, g := range golden {
		t.Run(name, func(t *testing.T) {
			rows := lxcRows(realCatalogue(t, name))
			if g.Text != nil {
				if d := cmp.Diff(g.Text, rows); d != "" {
					t.Errorf("(-lxc +got):\n%s", d)
				}
			}
			if got := sha([]byte(strings.Join(rows, ""))); len(rows) != g.Rows || got != g.SHA256 {
				t.Errorf("%d rows with sha256 %s, lxc has %d with %s", len(rows), got, g.Rows, g.SHA256)
			}
		})
	}
}

// realCatalogue reads one of the real servers whole.
func realCatalogue(t testing.TB, name string) *catalogue {
	t.Helper()
	base := filepath.Join(sharedDir(t), name)
	paths, err := parseIndex(readFile(t, base, indexPath))
	if err != nil {
		t.Fatal(err)
	}
	var files []*productsFile
	for _, p := range paths {
		f, err := parseProducts(readFile(t, base, p))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return newCatalogue(files, "https://localhost", "x86_64")
}

// lxcRows spells images as lxc's table does, sorted.
func lxcRows(c *catalogue) []string {
	var rows []string
	for _, i := range c.images {
		alias, more := i.DisplayAlias()
		if more > 0 {
			alias = fmt.Sprintf("%s (%d more)", alias, more)
		}
		public := "no"
		if i.Public {
			public = "yes"
		}
		rows = append(rows, strings.Join([]string{
			alias, i.Fingerprint[:12], public, i.Description, i.Arch, strings.ToUpper(i.Type),
			i.UploadedAt.Format("Jan 2, 2006 at 3:04pm (MST)"),
		}, "\t")+"\n")
	}
	slices.Sort(rows)
	return rows
}

// TestOrder holds the images to LXD's and Incus's order, which also decides who
// gets an alias.
func TestOrder(t *testing.T) {
	c := realCatalogue(t, "linuxcontainers-2023-04-24")
	for i := 1; i < len(c.images); i++ {
		a, b := c.images[i-1], c.images[i]
		if a.OS == b.OS && a.Release == b.Release && a.Variant == b.Variant && a.Serial < b.Serial {
			t.Errorf("%s stands before the newer %s", a.Description, b.Description)
		}
	}
	for _, img := range c.images {
		for _, a := range img.Aliases {
			if a.Arch != img.Arch || a.Type != img.Type {
				t.Fatalf("alias %+v of an image for %s %s", a, img.Arch, img.Type)
			}
			long := strings.HasSuffix(a.Name, "/"+img.Properties["architecture"])
			if a.Display != (long || img.Arch == "x86_64") {
				t.Fatalf("alias %+v: displayed or not, wrongly", a)
			}
		}
	}
}

// TestDeltas finds the delta files of the real catalogue and whence they lead.
func TestDeltas(t *testing.T) {
	c := realCatalogue(t, "linuxcontainers-2023-04-24")
	prints := map[string]bool{}
	for _, img := range c.images {
		prints[img.Fingerprint] = true
	}
	n := 0
	for _, img := range c.images {
		for _, f := range img.Files {
			if f.Role != RoleDelta {
				continue
			}
			n++
			if !prints[f.Base] || f.Base == img.Fingerprint || f.FType != img.Properties["type"]+".vcdiff" {
				t.Fatalf("%s: delta %+v", img.Description, f)
			}
		}
	}
	if n < 500 {
		t.Errorf("only %d deltas", n)
	}
}
