package remotes

import (
	"encoding/json"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBadDocuments gives the reason for each malformed document.
func TestBadDocuments(t *testing.T) {
	dir := filepath.Join(sharedDir(t), "multipass-bad")
	idx := func(b []byte) error { _, err := parseIndex(b); return err }
	prod := func(b []byte) error { _, err := parseProducts(b); return err }
	for _, tc := range []struct {
		parse func([]byte) error
		body  []byte
		want  string // part of the error; "" = none
	}{
		{idx, readFile(t, dir, "index", "bad_datatype_index.json"), `no entry has datatype "image-downloads"`},
		{idx, readFile(t, dir, "index", "bad_index.json"), `no "index" object`},
		{idx, readFile(t, dir, "index", "missing_index.json"), `no "index" object`},
		{idx, readFile(t, dir, "index", "no_image_downloads_in_datatype.json"), "offers no images"},
		{idx, readFile(t, dir, "index", "good_index.json"), ""},
		{prod, readFile(t, dir, "manifest", "invalid_top_level.json"), `begins with "[1, 2, 3]`},
		{prod, readFile(t, dir, "manifest", "malformed_manifest.json"), "broken JSON at byte 560"},
		{prod, readFile(t, dir, "manifest", "missing_products_manifest.json"), `no "products" object`},
		{prod, readFile(t, dir, "manifest", "missing_versions_manifest.json"), `"versions" object`},
		{idx, make([]byte, 4096), `begins with "\x00\x00`},
		{prod, make([]byte, 4096), `begins with "\x00\x00`},
		{idx, nil, "it is empty"},
		{idx, []byte(" \n"), "it is empty"},
		{idx, []byte("<html>404</html>"), `begins with "<html>404</html>`},
		{idx, []byte(`{"index":{}}`), "offers no images"},
		{idx, []byte(`{"index":{"a":{"datatype":"image-downloads","path":"a"}},"format":"index:2.0"}`), `"index:2.0"`},
		{idx, []byte(`{"index":{"a":{"datatype":"image-downloads","path":"../x","products":["p"]}}}`), `"../x" is refused`},
		{idx, []byte(`{"index":{"a":{"datatype":"image-downloads","path":"http://e/x","products":["p"]}}}`), "it is a URL"},
		{idx, []byte(`{"index":{"a":{"datatype":"image-downloads","path":"/x","products":["p"]}}}`), "it is absolute"},
		{idx, []byte(`{"index":{"a":{"datatype":"image-downloads","products":["p"]}}}`), "it is empty"},
		{idx, []byte(`{"index":{"a":{"datatype":"image-downloads"}}}`), ""},
		{idx, []byte("\xef\xbb\xbf" + `{"index":{"a":{"datatype":"image-downloads"}}}`), ""},
		{idx, []byte(`{"index":{"a":{"datatype":"image-downloads"}`), "broken JSON"},
		{prod, []byte(`{"products":{}}`), ""},
		{prod, []byte(`{"products":{},"format":"products:2.0"}`), `"products:2.0"`},
		{prod, []byte(`{"products":"x"}`), `no "products" object`},
	} {
		err := tc.parse(tc.body)
		if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%.80q: %v\nwant %s", tc.body, err, tc.want)
		}
	}
}

// TestIndexEntries: only entries that name image downloads count, also where an
// entry is no object (real indexes have "updated" there) and other data.
func TestIndexEntries(t *testing.T) {
	paths, err := parseIndex([]byte(`{"index": {
		"updated": "Thu, 18 May 2017", "format": "index:1.0", "n": 5, "l": [], "z": null,
		"ids": {"datatype": "image-ids", "path": "ids.json", "products": ["x"]},
		"b": {"datatype": "image-downloads", "path": "streams/v1/com.ubuntu.cloud:released:download.json", "products": ["x"]},
		"a": {"datatype": "image-downloads", "path": "a.json", "products": ["x"]},
		"twice": {"datatype": "image-downloads", "path": "a.json", "products": ["x"]},
		"none": {"datatype": "image-downloads", "path": "none.json", "products": []}}}`))
	if want := []string{"a.json", "streams/v1/com.ubuntu.cloud:released:download.json"}; err != nil || !slices.Equal(paths, want) {
		t.Errorf("%q %v", paths, err)
	}
	var many []string
	for i := range maxProductFiles + 1 {
		many = append(many, strings.Repeat("x", i+1))
	}
	if _, err := parseIndex(index(t, many...)); err == nil || !strings.Contains(err.Error(), "more than 64") {
		t.Errorf("%d files: %v", len(many), err)
	}
}

// TestRealDocuments reads every document of the shared catalogues: those of
// multipass-bad aside, each is an index or a products file. Open Telekom Cloud's
// index has only "image-ids".
func TestRealDocuments(t *testing.T) {
	n := 0
	err := filepath.WalkDir(sharedDir(t), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(p, ".json") || strings.HasSuffix(p, "oracle.json") || strings.Contains(p, "multipass-bad") {
			return err
		}
		n++
		body := readFile(t, p)
		if filepath.Base(p) == "index.json" {
			_, err = parseIndex(body)
		} else {
			_, err = parseProducts(body)
		}
		if ids := strings.Contains(p, "otc-signed") && filepath.Base(p) == "index.json"; (err != nil) != ids {
			t.Errorf("%s: %v", p, err)
		}
		return nil
	})
	if err != nil || n < 20 {
		t.Fatalf("%d documents, %v", n, err)
	}
}

// TestOddValues: what real servers spell otherwise is read, and what cannot be
// used is left out with a count, without harm to the rest.
func TestOddValues(t *testing.T) {
	var doc map[string]any
	if err := json.Unmarshal(products(t, spec{"amd64", "good", "20240101", squash("a1")}), &doc); err != nil {
		t.Fatal(err)
	}
	all, _ := doc["products"].(map[string]any)
	if err := json.Unmarshal([]byte(`{
		"str": "a string", "num": 1, "null": null, "list": [1],
		"noversions": {"arch": "amd64"},
		"oddversions": {"arch": "amd64", "versions": {"20240101": "x", "20240102": {"items": []}, "20240103": {"items": {"a": 5}}}},
		"dates": {"arch": "amd64", "aliases": "dates", "versions": {"2024": {}, "2024x101": {}, "latest-version": {}}},
		"odd": {"arch": "amd64", "aliases": "odd,\u001b[31mred, ,,ok", "os": "O\u0007s", "supported": "true", "support_eol": "never",
			"requirements": {"secureboot": false, "n": 5, "s": "x", "o": {}, "z": null}, "release_title": "T", "versions": {"20240101": {"label": "l", "items": {
				"m": {"ftype": "lxd.tar.xz", "path": "m", "sha256": "`+strings.ToUpper(fp("ab"))+`", "size": "12", "combined_squashfs_sha256": "`+strings.ToUpper(fp("cd"))+`"},
				"r": {"ftype": "squashfs", "path": "r", "sha256": "`+fp("ef")+`", "size": 5, "extra": {"a": [1]}}}}}},
		"path": {"arch": "amd64", "aliases": "path", "versions": {"20240101": {"items": {
				"m": {"ftype": "lxd.tar.xz", "path": "../m", "sha256": "`+fp("ab")+`", "size": 1, "combined_squashfs_sha256": "`+fp("cd")+`"},
				"r": {"ftype": "squashfs", "path": "r", "sha256": "`+fp("ef")+`", "size": 5},
				"u": {"ftype": "incus_combined.tar.gz", "path": "https://e/u", "sha256": "`+fp("ef")+`", "size": 5}}}}},
		"size": {"arch": "amd64", "aliases": "size", "versions": {"20240101": {"items": {
				"m": {"ftype": "lxd.tar.xz", "path": "m", "sha256": "`+fp("ab")+`", "size": -1, "combined_squashfs_sha256": "`+fp("cd")+`"},
				"r": {"ftype": "squashfs", "path": "r", "sha256": "`+fp("ef")+`", "size": 1e30}}}}},
		"hash": {"arch": "amd64", "aliases": "hash", "versions": {"20240101": {"items": {
				"m": {"ftype": "lxd.tar.xz", "path": "m", "sha256": "`+fp("ab")+`", "size": 1, "combined_squashfs_sha256": "abc"},
				"r": {"ftype": "squashfs", "path": "r", "sha256": "", "size": 5}}}}},
		"vm": {"arch": "amd64", "aliases": "vm", "versions": {"20240101": {"items": {
				"u": {"ftype": "incus_combined.tar.gz", "combined_type": "disk-kvm.img", "path": "u", "sha256": "`+fp("99")+`", "size": 5},
				"v": {"ftype": "lxd_combined.tar.gz", "path": "v", "sha256": "`+fp("98")+`", "size": 5}}}}}
	}`), &all); err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parseProducts(body)
	if err != nil {
		t.Fatal(err)
	}
	c := newCatalogue([]*productsFile{f}, "https://localhost", "x86_64")
	if len(c.images) != 4 {
		t.Errorf("%d images, not good, odd and vm's two", len(c.images))
	}
	if c.skip.n != 4 {
		t.Errorf("%d left out, not path's two, size and hash: %v", c.skip.n, c.skip.first)
	}
	img, err := c.find("r", "odd", Want{})
	if err != nil {
		t.Fatal(err)
	}
	if img.Fingerprint != fp("cd") || img.Size != 17 || img.Files[0].SHA256 != fp("ab") || img.OS != "O?s" {
		t.Errorf("%+v", img)
	}
	p := img.Properties
	if p["requirements.secureboot"] != "false" || p["requirements.n"] != "5" || p["requirements.s"] != "x" || p["description"] != "O?s T amd64 (l) (20240101)" {
		t.Errorf("properties %v", p)
	}
	if _, there := p["requirements.z"]; there || len(img.Aliases) != 4 {
		t.Errorf("properties %v, aliases %v", p, img.Aliases)
	}
	if vm, err := c.find("r", "vm", Want{Type: TypeVM}); err != nil || vm.Fingerprint != fp("99") {
		t.Errorf("%v %v", vm.Fingerprint, err)
	}
	if ct, err := c.find("r", "vm", Want{}); err != nil || ct.Fingerprint != fp("98") || ct.Files[0].Role != RoleUnified {
		t.Errorf("%v %v", ct.Fingerprint, err)
	}
}
