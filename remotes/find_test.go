package remotes

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spec is a product for made-up catalogues.
type spec struct {
	arch, aliases, serial string
	items                 map[string]map[string]any
}

// fp makes a fingerprint that begins with s.
func fp(s string) string { return s + strings.Repeat("0", 64-len(s)) }

// meta and root are items; hashes are given as beginnings.
func meta(ftype, combinedKey, hash string) map[string]any {
	return map[string]any{"ftype": ftype, "path": "p/" + ftype, "sha256": fp("aa"), "size": 10, combinedKey: fp(hash)}
}

func root(ftype string) map[string]any {
	return map[string]any{"ftype": ftype, "path": "p/" + ftype, "sha256": fp("bb"), "size": 100}
}

func products(t testing.TB, specs ...spec) []byte {
	t.Helper()
	all := map[string]any{}
	for i, s := range specs {
		all[fmt.Sprintf("os:%d", i)] = map[string]any{
			"arch": s.arch, "aliases": s.aliases, "os": "Os", "release": "1", "release_title": "1",
			"versions": map[string]any{s.serial: map[string]any{"items": s.items}},
		}
	}
	b, err := json.Marshal(map[string]any{"format": "products:1.0", "products": all})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func makeCatalogue(t testing.TB, url string, specs ...spec) *catalogue {
	t.Helper()
	f, err := parseProducts(products(t, specs...))
	if err != nil {
		t.Fatal(err)
	}
	return newCatalogue([]*productsFile{f}, url, "x86_64")
}

// squash is an image with one squashfs.
func squash(hash string) map[string]map[string]any {
	return map[string]map[string]any{"m": meta("lxd.tar.xz", "combined_squashfs_sha256", hash), "r": root("squashfs")}
}

func disk(hash string) map[string]map[string]any {
	return map[string]map[string]any{"m": meta("lxd.tar.xz", "combined_disk-kvm-img_sha256", hash), "r": root("disk-kvm.img")}
}

func TestFind(t *testing.T) {
	c := makeCatalogue(
		t, "https://localhost",
		spec{"amd64", "os/1, os/1/default,default", "20240101_00:00", squash("a1")},
		spec{"amd64", "os/1,old", "20230101_00:00", squash("a2")},
		spec{"i386", "os/1,os/32", "20240101_00:00", squash("b1")},
		spec{"arm64", "os/1,os/arm", "20240101_00:00", squash("c1")},
		spec{"amd64", "os/1,os/vm,os/32", "20240101_00:00", disk("d1")},
		spec{"amd64", "feed", "20240101_00:00", squash("e1")},
		spec{"riscv128", "os/1", "20240101_00:00", squash("f1")},
	)
	for _, tc := range []struct {
		ref  string
		want Want
		fp   string // beginning of the fingerprint; "" = *NotFoundError
	}{
		{"os/1", Want{}, "a1"},
		{"os/1/default", Want{}, "a1"},
		{"", Want{}, "a1"},
		{"old", Want{}, "a2"},
		{"os/1/amd64", Want{}, "a1"},
		{"os/1/x86_64", Want{}, "a1"},
		{"os/1/i386", Want{}, "b1"},
		{"os/1/arm64", Want{}, "c1"},
		{"os/1/aarch64", Want{}, "c1"},
		{"os/1", Want{Arch: "arm64"}, "c1"},
		{"os/1", Want{Arch: "aarch64"}, "c1"},
		{"os/1", Want{Arch: "i386"}, "b1"},
		{"os/1/arm64", Want{Arch: "amd64"}, ""},
		{"os/1/arm64", Want{Type: TypeVM}, ""},
		{"os/32", Want{}, "b1"}, // a container that runs here, before a VM
		{"os/1", Want{Type: TypeVM}, "d1"},
		{"os/vm", Want{}, "d1"},
		{"os/vm", Want{Type: TypeContainer}, ""},
		{"os/arm", Want{}, ""},
		{"os/arm/arm64", Want{}, "c1"},
		{"a1", Want{}, "a1"},
		{"A10", Want{}, "a1"},
		{"c", Want{}, "c1"},
		{fp("d1"), Want{}, "d1"},
		{fp("d1"), Want{Type: TypeContainer}, ""},
		{fp("c1"), Want{Arch: "x86_64"}, ""},
		{"feed", Want{}, "e1"}, // hex, but an alias
		{"f1", Want{}, ""},     // of an unknown architecture
		{"OS/1", Want{}, ""},
		{"os", Want{}, ""},
		{"os/1/", Want{}, "a1"},
		{"/", Want{}, "a1"},
		{"..", Want{}, ""},
		{"zz", Want{}, ""},
	} {
		img, err := c.find("r", tc.ref, tc.want)
		if tc.fp != "" && (err != nil || img.Fingerprint != fp(tc.fp)) {
			t.Errorf("%q %+v: %.8s, %v; want %s", tc.ref, tc.want, img.Fingerprint, err, tc.fp)
		}
		var nf *NotFoundError
		if tc.fp == "" && !errors.As(err, &nf) {
			t.Errorf("%q %+v: %.8s, %v; want a NotFoundError", tc.ref, tc.want, img.Fingerprint, err)
		}
	}
	for _, w := range []Want{{Arch: "pdp11"}, {Type: "vm"}} {
		if _, err := c.find("r", "os/1", w); err == nil || !strings.Contains(err.Error(), "unknown") {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

func TestFindErrors(t *testing.T) {
	c := makeCatalogue(
		t, "https://localhost",
		spec{"amd64", "alpine/3.18", "20240101", squash("a1")},
		spec{"amd64", "alpine/3.19", "20240101", squash("a2")},
		spec{"arm64", "debian/12", "20240101", squash("a3")},
		spec{"s390x", "debian/12", "20240101", squash("a4")},
		spec{"amd64", "debian/12", "20240101", disk("b1")},
	)
	for _, tc := range []struct{ ref, typ, msg, hint string }{
		{"alpine/3.20", "", "cannot find image r:alpine/3.20: no such alias or fingerprint", "similar: alpine/3.19, alpine/3.18"},
		{"Alpine/3.18", "", "cannot find image r:Alpine/3.18: no such alias or fingerprint", "similar: alpine/3.18, alpine/3.19"},
		{"nothing-like-it-at-all", "", "cannot find image r:nothing-like-it-at-all: no such alias or fingerprint", "poolctl image list r: shows what there is"},
		{"debian/12", TypeContainer, "cannot find image r:debian/12: it exists only for aarch64, s390x, x86_64 (virtual machine)", "r:debian/12/aarch64 is the one for aarch64"},
		{"a", "", "cannot find image r:a: 4 fingerprints begin so: a10000000000 (alpine/3.18), a20000000000 (alpine/3.19), a30000000000 (debian/12/arm64), a40000000000 (debian/12/s390x)", "give more digits of the fingerprint"},
	} {
		_, err := c.find("r", tc.ref, Want{Type: tc.typ})
		if err == nil || err.Error() != tc.msg {
			t.Errorf("%s: %v\nwant %s", tc.ref, err, tc.msg)
		}
		var h interface{ Hint() string }
		if !errors.As(err, &h) || h.Hint() != tc.hint {
			t.Errorf("%s: hint %v\nwant %s", tc.ref, h, tc.hint)
		}
	}
	var amb *AmbiguousError
	if _, err := c.find("r", "", Want{}); errors.As(err, &amb) || err == nil {
		t.Errorf("default: %v", err)
	}
	if _, err := c.find("r", "a", Want{}); !errors.As(err, &amb) || len(amb.Candidates) != 4 {
		t.Errorf("a: %v", err)
	}
}

// TestUbuntuNames: on cloud-images.ubuntu.com "ubuntu/" may be there or not, in
// the catalogue and in the reference; elsewhere it is a name as any other.
func TestUbuntuNames(t *testing.T) {
	specs := []spec{{"amd64", "ubuntu/22.04,jammy", "20240101", squash("a1")}}
	ubuntu := makeCatalogue(t, "https://cloud-images.ubuntu.com/releases", specs...)
	other := makeCatalogue(t, "https://cloud-images.ubuntu.com.example.org", specs...)
	for ref, there := range map[string][2]bool{
		"22.04": {true, false}, "ubuntu/22.04": {true, true}, "jammy": {true, true}, "ubuntu/jammy": {true, false},
		"22.04/amd64": {true, false}, "ubuntu/22.04/amd64": {true, true}, "ubuntu/": {false, false},
	} {
		for i, c := range []*catalogue{ubuntu, other} {
			if _, err := c.find("r", ref, Want{}); (err == nil) != there[i] {
				t.Errorf("%s on %q: %v", ref, c.defaultOS, err)
			}
		}
	}
}

// TestBothMetadata: a root file with two metadata files is one image, with
// Incus's fingerprint; LXD's leads to it too.
func TestBothMetadata(t *testing.T) {
	items := map[string]map[string]any{
		"a": meta("lxd.tar.xz", "combined_squashfs_sha256", "11"),
		"b": meta("incus.tar.xz", "combined_squashfs_sha256", "22"),
		"c": root("squashfs"),
		"d": root("disk-kvm.img"),
	}
	items["a"]["combined_disk-kvm-img_sha256"] = fp("33")
	c := makeCatalogue(t, "https://localhost", spec{"amd64", "x", "20240101", items})
	if len(c.images) != 2 {
		t.Fatalf("%d images", len(c.images))
	}
	for ref, want := range map[string]string{"x": "22", "11": "22", "22": "22", fp("11"): "22", "33": "33"} {
		img, err := c.find("r", ref, Want{})
		if err != nil || img.Fingerprint != fp(want) {
			t.Errorf("%s: %s %v", ref, img.Fingerprint, err)
		}
	}
	img, err := c.find("r", "x", Want{})
	if err != nil {
		t.Fatal(err)
	}
	want := []File{
		{Role: RoleMetadata, FType: "incus.tar.xz", Path: "p/incus.tar.xz", SHA256: fp("aa"), Size: 10},
		{Role: RoleRootfs, FType: "squashfs", Path: "p/squashfs", SHA256: fp("bb"), Size: 100},
	}
	if d := cmp.Diff(want, img.Files); d != "" || img.Size != 110 {
		t.Errorf("size %d, files (-want +got):\n%s", img.Size, d)
	}
	if d := cmp.Diff([]string{fp("11")}, img.AltFingerprints); d != "" {
		t.Errorf("alternatives (-want +got):\n%s", d)
	}
	vm, err := c.find("r", "x", Want{Type: TypeVM})
	if f, ok := vm.File(RoleMetadata); err != nil || !ok || f.FType != "lxd.tar.xz" {
		t.Errorf("the disk has only LXD's metadata: %+v %v", f, err)
	}
}
