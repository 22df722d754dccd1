package remotes

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// openTree opens the tree in dir, or fails.
func openTree(t *testing.T, dir string) *Publication {
	t.Helper()
	p, err := OpenPublication(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// addTo adds an image, a virtual machine's or a container's, with a root of that content, and returns its product and version.
func addTo(t *testing.T, p *Publication, im PublishedImage, content string) (product, serial string) {
	t.Helper()
	dir, err := p.Stage()
	if err != nil {
		t.Fatal(err)
	}
	root := "squashfs"
	if im.Type == TypeVM {
		root = "disk-kvm.img"
	}
	for name, ftype := range map[string]string{"a-meta": "", "b-root": root} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name+content), 0o600); err != nil {
			t.Fatal(err)
		}
		im.Files = append(im.Files, PublishedFile{Path: filepath.Join(dir, name), FType: ftype})
	}
	slices.SortFunc(im.Files, func(a, b PublishedFile) int { return strings.Compare(a.Path, b.Path) })
	product, serial, err = p.Add(t.Context(), im)
	if err != nil {
		t.Fatal(err)
	}
	return product, serial
}

// filesBelow lists the files in a tree but its lock.
func filesBelow(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != lockFile {
			rel, rerr := filepath.Rel(dir, path)
			out, err = append(out, rel), rerr
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func sample() PublishedImage {
	return PublishedImage{OS: "Te st", Release: "1.10", Arch: "x86_64", Serial: "20250102_03:04", Requirements: map[string]string{"secureboot": "false"}}
}

// TestPublication: what is added is in the catalogue as our own client reads it; the same version again gets a number; what
// others wrote stays.
func TestPublication(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "tree")
	if err := os.MkdirAll(dir+"/streams/v1", 0o755); err != nil {
		t.Fatal(err)
	}
	foreign := `{"format":"index:1.0","extra":1,"index":{"theirs":{"datatype":"image-ids","path":"streams/v1/theirs.json","products":["x"],"format":"products:1.0"}}}`
	if err := os.WriteFile(dir+"/streams/v1/index.json", []byte(foreign), 0o644); err != nil {
		t.Fatal(err)
	}
	p := openTree(t, dir)
	product, serial := addTo(t, p, sample(), "1")
	_, second := addTo(t, p, sample(), "2")
	if product != "te-st:1.10:amd64:default" || serial != "20250102_03:04" || second != "20250102_03:04_2" || p.Newest(product, TypeContainer) != second {
		t.Errorf("%s %s %s", product, serial, second)
	}
	if err := errors.Join(p.SetAliases(product, append(sample().BaseAliases(), "mine", "mine", "a,b")), p.Commit(t.Context()), p.Close()); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(dir + "/" + publishedPath)
	if err != nil {
		t.Fatal(err)
	}
	file, err := parseProducts(raw)
	if err != nil {
		t.Fatal(err)
	}
	images := newCatalogue([]*productsFile{file}, "https://localhost", "x86_64").images
	if len(images) != 2 || images[0].Serial != second || images[0].Properties["requirements.secureboot"] != "false" || images[0].Files[1].Size != 7 {
		t.Fatalf("%+v", images)
	}
	var names []string
	for _, a := range images[0].Aliases {
		names = append(names, a.Name)
	}
	for _, want := range []string{"te-st/1.10/default", "te-st/1.10", "mine", "mine/amd64"} {
		if !slices.Contains(names, want) {
			t.Errorf("alias %s is not among %v", want, names)
		}
	}
	if raw, err = os.ReadFile(dir + "/" + indexPath); err != nil || !strings.Contains(string(raw), "theirs.json") || !strings.Contains(string(raw), `"extra"`) {
		t.Errorf("%s, %v", raw, err)
	}
	p = openTree(t, dir)
	if got, _, found := p.Find(images[1].Fingerprint); !found || got != product {
		t.Errorf("%q, %v", got, found)
	}
	other := sample()
	other.Variant = "cloud"
	third, _ := addTo(t, p, other, "3")
	if err := p.SetAliases(third, []string{"mine"}); err != nil {
		t.Fatal(err)
	}
	var list string
	if err := json.Unmarshal(p.products[product].fields["aliases"], &list); err != nil || list != "te-st/1.10/default,te-st/1.10" {
		t.Errorf("the first product keeps %q, %v", list, err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPublicationUndone: without a commit, by a kill at any step, and by pruning, nothing is left that the catalogue does
// not name, and nothing is missing that it does.
func TestPublicationUndone(t *testing.T) {
	dir := t.TempDir()
	p := openTree(t, dir)
	addTo(t, p, sample(), "1")
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if left := filesBelow(t, dir); len(left) != 0 {
		t.Errorf("left without a commit: %v", left)
	}
	p = openTree(t, dir)
	addTo(t, p, sample(), "1")
	if err := p.unlock(); err != nil { // as a kill does
		t.Fatal(err)
	}
	if left := filesBelow(t, dir); len(left) != 4 {
		t.Errorf("after a kill: %v", left)
	}
	p = openTree(t, dir)
	if left := filesBelow(t, dir); len(left) != 0 {
		t.Errorf("left after a kill: %v", left)
	}
	for i := range 3 {
		im := sample()
		im.Serial = []string{"20250101", "20250102", "20250103"}[i]
		addTo(t, p, im, im.Serial)
	}
	if err := p.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := p.Prune(2); n != 1 {
		t.Errorf("%d pruned", n)
	}
	if err := p.Close(); err != nil { // without a commit
		t.Fatal(err)
	}
	if left := filesBelow(t, dir); len(left) != 3*3+2 {
		t.Errorf("after a prune that was not committed: %v", left)
	}
	p = openTree(t, dir)
	p.Prune(1)
	if err := errors.Join(p.Commit(t.Context()), p.Close()); err != nil {
		t.Fatal(err)
	}
	if left := filesBelow(t, dir); len(left) != 3+2 || !strings.Contains(left[0], "20250103") {
		t.Errorf("after the prune: %v", left)
	}
}

// TestPublicationTypes: a virtual machine and a container of the same product are no versions of each other.
func TestPublicationTypes(t *testing.T) {
	dir := t.TempDir()
	p := openTree(t, dir)
	vm := sample()
	vm.Type, vm.Serial = TypeVM, "20240101"
	for _, im := range []PublishedImage{vm, sample(), sample()} {
		addTo(t, p, im, im.Serial)
	}
	product := vm.Product()
	if got, want := p.Newest(product, TypeVM)+" "+p.Newest(product, TypeContainer), "20240101 20250102_03:04_2"; got != want {
		t.Errorf("the newest are %s, want %s", got, want)
	}
	if n := p.Prune(1); n != 1 {
		t.Errorf("%d pruned, want the older container", n)
	}
	if err := errors.Join(p.Commit(t.Context()), p.Close()); err != nil {
		t.Fatal(err)
	}
	if left := filesBelow(t, dir); len(left) != 2*3+2 || !slices.Contains(left, "images/te-st/1.10/amd64/default/20240101/disk.qcow2") {
		t.Errorf("left: %v", left)
	}
	both := json.RawMessage(`{"items":{"a":{"ftype":"squashfs"},"b":{"ftype":"disk-kvm.img"},"c":{"ftype":"lxd.tar.xz"}}}`)
	unified := json.RawMessage(`{"items":{"a":{"ftype":"lxd_combined.tar.gz","combined_type":"virtual-machine"}}}`)
	if a, b := typesIn(both), typesIn(unified); !slices.Equal(a, []string{TypeContainer, TypeVM}) || !slices.Equal(b, []string{TypeVM}) {
		t.Errorf("types: %v, %v", a, b)
	}
}

// TestPublicationBad: what is no catalogue is left alone, and a note of what is pending names nothing but versions.
func TestPublicationBad(t *testing.T) {
	for _, pending := range []string{`["../../etc"]`, `["images/a/b/c/d/../../../../.."]`, `["streams/v1/x/y/z/w"]`, `["images/a"]`, `{`} {
		dir := t.TempDir()
		if err := errors.Join(os.Mkdir(dir+"/"+ownDir, 0o700), os.WriteFile(dir+"/"+ownDir+"/"+pendingFile, []byte(pending), 0o600)); err != nil {
			t.Fatal(err)
		}
		if p, err := OpenPublication(t.Context(), dir, nil); err == nil {
			t.Errorf("%s: opened", pending)
			_ = p.Close()
		}
	}
	dir := t.TempDir()
	if err := errors.Join(os.MkdirAll(dir+"/streams/v1", 0o755), os.WriteFile(dir+"/streams/v1/images.json", []byte("<html>"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenPublication(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "streams/v1/images.json") {
		t.Errorf("got %v", err)
	}
	if raw, err := os.ReadFile(dir + "/streams/v1/images.json"); err != nil || string(raw) != "<html>" {
		t.Errorf("%s, %v", raw, err)
	}
}

func TestPlain(t *testing.T) {
	for in, want := range map[string]string{"a b/c": "a-b-c", "..": "none", "": "none", "Ubuntu-22.04": "Ubuntu-22.04", "x:y": "x-y"} {
		if got := plain(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
}
