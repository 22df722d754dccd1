package images

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/images/internal/testtree"
)

func TestParseMetadata(t *testing.T) {
	for text, want := range map[string]*Metadata{
		`architecture: amd64`: {Architecture: "x86_64"},
		`{"architecture": "arm64", "creation_date": "1613641150", "expiry_date": 1613641150.75,
		  "properties": {"release": "v3.13", "n": 3.10, "flag": true, "none": null, "nested": {"a": 1}}, "future": [1, {"x": 2}]}`: {
			Architecture: "aarch64", CreationDate: 1613641150, ExpiryDate: 1613641150,
			Properties: map[string]string{"release": "v3.13", "n": "3.10", "flag": "true", "none": ""},
		},
		`
architecture: x86_64
properties: &p {os: alpine, serial: 20220731_1101}
templates:
  /etc/hostname: {when: [create, copy], create_only: yes, template: hostname.tpl, properties: *p, uid: 0, gid: "5", mode: 0640, other: x}
  /etc/one: {when: start, template: one.tpl}
  /etc/none:
`: {
			Architecture: "x86_64", Properties: map[string]string{"os": "alpine", "serial": "20220731_1101"},
			Templates: map[string]*Template{
				"/etc/hostname": {
					When: []string{"create", "copy"}, CreateOnly: true, Template: "hostname.tpl",
					Properties: map[string]string{"os": "alpine", "serial": "20220731_1101"}, UID: "0", GID: "5", Mode: "0640",
				},
				"/etc/one":  {When: []string{"start"}, Template: "one.tpl", Properties: map[string]string{}},
				"/etc/none": {Properties: map[string]string{}},
			},
		},
	} {
		if want.Properties == nil {
			want.Properties = map[string]string{}
		}
		if want.Templates == nil {
			want.Templates = map[string]*Template{}
		}
		got, err := parseMetadata([]byte(text))
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
}

func TestParseMetadataRefuses(t *testing.T) {
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\narchitecture: x86_64\nproperties: {x: *c}\n"
	if m, err := parseMetadata([]byte(bomb)); err != nil || len(m.Properties) != 0 {
		t.Errorf("unused aliases: %v, %v", m, err)
	}
	for text, want := range map[string]string{
		"":                                      "empty",
		"creation_date: 1":                      "no architecture",
		"architecture: vax":                     `architecture "vax" is unknown`,
		"architecture: [x86_64]":                "not a single value",
		"[1, 2]":                                "not a mapping",
		"just text":                             "not a mapping",
		"architecture: x86_64\n\tx: 1":          "yaml",
		"architecture: x86_64\nproperties: [1]": "properties is not a mapping",
		"architecture: x86_64\ncreation_date: yesterday":                                 "not a time",
		"architecture: x86_64\ncreation_date: .inf":                                      "not a time",
		"architecture: x86_64\ntemplates: {/x: {create_only: maybe}}":                    "neither true nor false",
		"architecture: x86_64\ntemplates: {/x: {when: {a: b}}}":                          "not a list",
		"architecture: x86_64\ntemplates: {/x: [1]}":                                     "not a mapping",
		"architecture: x86_64\ntemplates: {/x: {template: \"a\\0b\"}}":                   "NUL",
		"architecture: x86_64\nproperties: {[1]: 2}":                                     "not a single value",
		"architecture: &x [*x]":                                                          "",
		"architecture: x86_64\nproperties: {" + strings.Repeat("a: b, ", maxNodes) + "}": "too large",
	} {
		if _, err := parseMetadata([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %q", text, err, want)
		}
	}
}

func FuzzParseMetadata(f *testing.F) {
	f.Add([]byte("architecture: x86_64\ntemplates: {/x: {when: [create], template: y, mode: 0644}}"))
	f.Add([]byte(`{"architecture": "x86_64", "properties": {"a": 1}}`))
	f.Add([]byte("a: &a [*a]\narchitecture: x86_64"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parseMetadata(b)
		if err != nil {
			return
		}
		if m.Architecture == "" {
			t.Fatal("no architecture")
		}
		for path, tpl := range m.Templates {
			if tpl == nil {
				t.Fatalf("template %q is nil", path)
			}
			_, _ = tpl.attributes()
		}
	})
}

func TestReadMetadataFiles(t *testing.T) {
	for name, tc := range map[string]struct {
		make func(path string) error
		want string
	}{
		"missing":  {func(string) error { return nil }, "there is no metadata.yaml"},
		"link":     {func(p string) error { return os.Symlink("/etc/hostname", p) }, "symbolic link"},
		"folder":   {func(p string) error { return os.Mkdir(p, 0o755) }, "not a plain file"},
		"too long": {func(p string) error { return os.WriteFile(p, make([]byte, MaxMetadata+1), 0o600) }, "larger than 262144 bytes"},
	} {
		dir := t.TempDir()
		if err := tc.make(filepath.Join(dir, "metadata.yaml")); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadMetadata(dir); err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: got %v, want %q and no directory", name, err, tc.want)
		}
	}
}

// tarOf builds an archive; a nil body of a name ending in "/" is a directory.
func tarOf(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for i := range headers {
		body := headers[i].Uname // a field that nothing else uses
		headers[i].Uname, headers[i].Size = "", int64(len(body))
		if err := w.WriteHeader(&headers[i]); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func plainFile(name, body string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Uname: body}
}

func symlink(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}

func directory(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}
}

// TestUnifiedLayouts: what a unified archive may look like, and what is refused.
func TestUnifiedLayouts(t *testing.T) {
	testtree.NeedRoot(t)
	meta := plainFile("metadata.yaml", "architecture: x86_64\n")
	for name, tc := range map[string]struct {
		headers []tar.Header
		want    string
	}{
		"plain":              {[]tar.Header{meta, directory("rootfs/"), plainFile("rootfs/f", "x")}, ""},
		"dot":                {[]tar.Header{directory("./"), plainFile("./metadata.yaml", "architecture: x86_64\n"), directory("./rootfs/"), plainFile("./rootfs/f", "x")}, ""},
		"root link":          {[]tar.Header{meta, symlink("rootfs", "/etc"), plainFile("rootfs/f", "x")}, `"rootfs": the top directory cannot be a symbolic link`},
		"root link, late":    {[]tar.Header{meta, plainFile("rootfs/f", "x"), symlink("rootfs", "/etc")}, "cannot be a symbolic link"},
		"root hard link":     {[]tar.Header{meta, {Name: "rootfs", Typeflag: tar.TypeLink, Linkname: "metadata.yaml"}}, "outside its tree"},
		"templates link":     {[]tar.Header{meta, directory("rootfs/"), symlink("templates", "/etc")}, `"templates": only files and directories`},
		"metadata link":      {[]tar.Header{symlink("metadata.yaml", "/etc/hostname"), directory("rootfs/")}, `"metadata.yaml": only files and directories`},
		"template link":      {[]tar.Header{meta, directory("rootfs/"), symlink("templates/x", "/etc/shadow")}, `"templates/x": only files and directories`},
		"link between trees": {[]tar.Header{meta, directory("rootfs/"), {Name: "rootfs/l", Typeflag: tar.TypeLink, Linkname: "metadata.yaml"}}, "outside its tree"},
		"link out of root":   {[]tar.Header{meta, directory("rootfs/"), {Name: "rootfs/l", Typeflag: tar.TypeLink, Linkname: "rootfs/../metadata.yaml"}}, `the name contains ".."`},
		"no root":            {[]tar.Header{meta}, "there is no root file system"},
		"no metadata":        {[]tar.Header{directory("rootfs/")}, "there is no metadata.yaml"},
		"large metadata":     {[]tar.Header{plainFile("metadata.yaml", strings.Repeat("#", MaxMetadata+1)), directory("rootfs/")}, "larger than 262144"},
		"many templates":     {[]tar.Header{meta, plainFile("templates/a", strings.Repeat("x", DefaultMetadataBytes))}, `"templates/a": it exceeds the limit`},
		"extra files":        {[]tar.Header{meta, directory("rootfs/"), plainFile("backup.yaml", "evil"), symlink("other", "/etc"), plainFile("other/x", "y")}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "volume")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			_, err := Unpack(t.Context(), Request{Unified: bytesPart("image", tarOf(t, tc.headers...), nil), Dir: dir})
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
			for rel := range testtree.Read(t, dir, testtree.Options{}) {
				if rel == "backup.yaml" || strings.HasPrefix(rel, "other") {
					t.Errorf("%s was unpacked", rel)
				}
			}
		})
	}
}

func TestUnpackNeedsEmptyDir(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Unpack(t.Context(), Request{Unified: bytesPart("image", nil, nil), Dir: dir})
	if err == nil || !strings.Contains(err.Error(), "not an empty directory") {
		t.Errorf("got %v", err)
	}
}
