package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"poolctl/fixtures"
)

// growing is a mirror of one small image, "tiny", of which new versions come.
type growing struct {
	t   *testing.T
	dir string
	n   int
}

func newGrowing(t *testing.T) *growing {
	t.Helper()
	g := &growing{t: t, dir: t.TempDir()}
	g.grow()
	return g
}

// grow adds the next version, and returns its fingerprint, the number of which stands in its /etc/number.
func (g *growing) grow() string {
	g.t.Helper()
	g.n++
	var tree fixtures.Tree
	tree.Dir(0o755, ".", "etc", "sbin")
	tree.File("etc/number", 0o644, fmt.Sprint(g.n))
	tree.File("etc/same", 0o644, strings.Repeat("the same in all versions\n", 4000))
	image, err := fixtures.BuildFromTree(g.t.Context(), g.dir, &tree, fixtures.Properties{
		OS: "Growing", Release: "1", Aliases: []string{"tiny"}, Serial: fmt.Sprintf("202501%02d_08:32", g.n),
	})
	if err == nil {
		err = fixtures.BuildMirror(context.Background(), g.dir, image)
	}
	if err != nil {
		g.t.Fatal(err)
	}
	fingerprint, err := image.Fingerprint(fixtures.IncusMetadata, fixtures.Squashfs)
	if err != nil {
		g.t.Fatal(err)
	}
	return fingerprint
}

func (g *growing) mirror() (string, error) { return g.dir, nil }

// storedImage is an image as `image list --format json` has it.
type storedImage struct {
	Fingerprint, Pool, Type string
	AutoUpdate              bool `json:"auto_update"`
	Cached, Public          bool
	Properties              map[string]string
	Profiles                []string
	Aliases                 []struct{ Name, Description string }
	LastUsedAt              time.Time `json:"last_used_at"`
	ExpiresAt               time.Time `json:"expires_at"`
}

func (h *host) stored(filter ...string) []storedImage {
	h.t.Helper()
	var list []storedImage
	h.json(&list, append([]string{"image", "list"}, filter...)...)
	return list
}

func (im storedImage) names() string {
	var out []string
	for _, a := range im.Aliases {
		out = append(out, a.Name)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestImageAliases gives images aliases, several and with slashes, takes them away again and lists them; and finds images
// by them and by fingerprints.
func TestImageAliases(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("image", "pull", "m:busybox", "--alias", "bb")
	h.ok("image", "pull", "m:alpine")
	bb, alpine := h.stored("bb")[0].Fingerprint, h.stored("os=Alpine.*")[0].Fingerprint
	h.ok("image", "alias", "create", "web/base/12", bb[:10], "--description", "for the web")
	h.ok("image", "alias", "create", "local:al", alpine)
	if got := h.stored("web/")[0]; got.names() != "bb web/base/12" || got.Aliases[1].Description != "for the web" {
		t.Errorf("%+v", got)
	}
	h.fails(1, `alias bb: already exists, for image `+bb[:12], "image", "alias", "create", "bb", alpine)
	h.fails(1, `already exists`, "image", "alias", "rename", "al", "web/base/12")
	h.fails(1, `cannot find image "nothing"`, "image", "alias", "create", "x", "nothing")
	for _, bad := range []string{"a b", "a:b", "/a", "", strings.Repeat("x", 300)} {
		h.fails(1, `invalid name`, "image", "alias", "create", bad, bb)
	}
	h.ok("image", "alias", "rename", "web/base/12", "web/13")
	h.matches(`^al,`+alpine[:12]+`,CONTAINER,\nbb,`+bb[:12]+`,CONTAINER,\nweb/13,`+bb[:12]+`,CONTAINER,for the web\n$`, "image", "alias", "list", "-f", "csv")
	h.matches(`^web/13\n$`, "image", "alias", "list", "-f", "csv", "-c", "a", "13")
	h.matches(`^\[\{"description":"for the web","target":"`+bb+`","name":"web/13","type":"container"\}\]\n$`, "image", "alias", "list", "-f", "json", "13")
	h.matches(`alpine/.*,CONTAINER,\n`, "image", "alias", "list", "m:", "alpine", "-f", "csv")
	h.matches(`- web/13 \(for the web\)`, "image", "info", "web/13")
	r := h.fails(1, `no-alias: not found`, "image", "alias", "delete", "no-alias", "bb", "no-alias/2")
	if strings.Count(r.stderr, "error: ") != 2 || h.stored("web/13")[0].names() != "web/13" {
		t.Errorf("several: %s", r)
	}
	h.ok("init", "web/13", "c1")
	h.fails(1, `the prefix is ambiguous`, "image", "show", commonPrefix(h))
	r = h.fails(1, `cannot find image "none"`, "image", "delete", "none", "al", "web/13", "gone")
	if strings.Count(r.stderr, "error: ") != 2 || len(h.stored()) != len(h.stored("os=Tiny")) {
		t.Errorf("delete of several: %s", r)
	}
	works(h, "c1", "") // its image is gone
	h.matches(`^c1,STOPPED`, "list", "-f", "csv")
}

// commonPrefix pulls images until the fingerprints of two begin alike, and returns that beginning.
func commonPrefix(h *host) string {
	h.t.Helper()
	for i := range 14 {
		h.ok("image", "pull", fmt.Sprintf("m:tiny/%d", i))
		seen := map[byte]bool{}
		for _, im := range h.stored() {
			if seen[im.Fingerprint[0]] {
				return im.Fingerprint[:1]
			}
			seen[im.Fingerprint[0]] = true
		}
	}
	h.t.Fatal("no two fingerprints begin alike")
	return ""
}

// TestImageSettings changes what can be changed of an image, in every way there is.
func TestImageSettings(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("image", "pull", "m:busybox", "--alias", "bb", "--public")
	h.ok("image", "set-property", "bb", "description", "a new one")
	h.ok("image", "set-property", "bb", "my.key", "a=b c")
	h.ok("image", "unset-property", "bb", "variant")
	h.matches(`^a new one\n$`, "image", "get-property", "bb", "description")
	h.fails(1, `cannot show property variant of image bb: not found`, "image", "get-property", "bb", "variant")
	h.fails(1, `a property cannot be called "a b"`, "image", "set-property", "bb", "a b", "x")
	h.fails(1, `control characters`, "image", "set-property", "bb", "a", "x\x1by")
	h.matches(`^bb,`, "image", "list", "my.k=a=b.*", "public=true", "-f", "csv")
	shown := h.ok("image", "show", "bb")
	edited := regexp.MustCompile(`(?m)^expires_at: .*$`).ReplaceAllString(shown, "expires_at: 2031-02-03T04:05:06Z")
	edited = strings.NewReplacer("public: true", "public: false", "auto_update: false", "auto_update: true", "a new one", "an edited one").Replace(edited)
	h.okStdin(edited, "image", "edit", "bb")
	im := h.stored("bb")[0]
	if im.Public || !im.AutoUpdate || im.ExpiresAt.Year() != 2031 || im.Properties["description"] != "an edited one" || im.Properties["my.key"] != "a=b c" {
		t.Errorf("edited: %+v", im)
	}
	for text, want := range map[string]string{
		"publik: true": `unknown field "publik"`, "properties: {a: b}\nprofiles: [nothing]": `cannot find profile "nothing"`, "": "empty", "properties: [": "cannot change image bb: ",
	} {
		h.failed(h.runStdin(text, "image", "edit", "bb"), 1, want)
	}
	if got := h.ok("image", "show", "bb"); got != edited {
		t.Errorf("after edits that were refused:\n%s\nwant\n%s", got, edited)
	}
	h.matches(`Expires: 2031/02/03 04:05 UTC`, "image", "info", "bb")
	h.ok("init", "bb", "c1")
	if used := h.stored("bb")[0].LastUsedAt; time.Since(used) > time.Minute {
		t.Errorf("last used %s", used)
	}
	// All of it is in the pool: another state directory that adopts it finds it.
	file := filepath.Join(h.dir, "moved.img")
	before := h.stored()
	h.ok("delete", "c1")
	h.ok("pool", "detach", "default")
	if err := os.Rename(filepath.Join(h.state, "disks/default.img"), file); err != nil {
		t.Fatal(err)
	}
	other := newHost(t)
	other.ok("pool", "adopt", file)
	after := other.stored()
	if was, is := asJSON(t, before), asJSON(t, after); was != is {
		t.Errorf("adopted:\n%s\nwant\n%s", is, was)
	}
	other.ok("pool", "detach", "default")
	if err := os.Rename(file, filepath.Join(h.state, "disks/default.img")); err != nil {
		t.Fatal(err)
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestImageRefresh follows an image through its versions.
func TestImageRefresh(t *testing.T) {
	g := newGrowing(t)
	server := serve(t, g.mirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(server)
	h.ok("image", "pull", "m:tiny", "--alias", "t1", "--copy-aliases", "--auto-update")
	h.ok("image", "alias", "create", "t2", "t1", "--description", "two")
	h.ok("image", "set-property", "t1", "description", "mine")
	h.ok("image", "set-property", "t1", "os", "mine too")
	h.ok("image", "unset-property", "t1", "variant")
	old := h.stored()[0]
	h.ok("init", "t1", "c1")
	if r := h.run("image", "refresh", "t1"); r.code != 0 || !strings.Contains(r.stderr, "Image growing/1 is up to date") && !strings.Contains(r.stderr, "Image t1 is up to date") {
		t.Errorf("nothing new: %s", r)
	}
	next := g.grow()
	// A server that is away is no news; lists have the copy of its catalogue.
	server.Fault("", fixtures.Status(503))
	for _, what := range []string{"t1", "--all"} {
		r := h.fails(1, "cannot refresh image .*: its server could not be asked: .*503", "image", "refresh", what)
		if strings.Contains(r.stderr, "up to date") {
			t.Errorf("it was not asked: %s", r)
		}
	}
	h.ok("image", "list", "m:", "tiny")
	server.ClearFaults()
	h.ok("image", "refresh", "t2")
	im := h.stored()
	if len(im) != 1 || im[0].Fingerprint != next || im[0].names() != old.names()+" t2" && im[0].names() != h.stored("t2")[0].names() {
		t.Fatalf("refreshed: %+v, want %s", im, next)
	}
	p := im[0].Properties
	if _, has := p["variant"]; has || p["description"] != "mine" || p["os"] != "mine too" || p["serial"] != "20250102_08:32" || !im[0].AutoUpdate || im[0].Cached {
		t.Errorf("kept: %+v", im[0])
	}
	h.matches(`t2 \(two\)`, "image", "info", "t1")
	h.wantNumber("c1", "1")
	h.ok("init", "t1", "c2")
	h.wantNumber("c2", "2")

	// One that is there already takes the place.
	third := g.grow()
	h.ok("image", "pull", "m:tiny", "--alias", "three") // the catalogue is an hour old at most: it is asked for anew by refresh only
	h.ok("image", "refresh", "--all")
	if im = h.stored(); len(im) != 1 || im[0].Fingerprint != third || !strings.Contains(im[0].names(), "t1") || !strings.Contains(im[0].names(), "three") {
		t.Fatalf("the third: %+v, want %s", im, third)
	}
	// --auto leaves out what is not to be kept up to date; what is cached for instances is, unless its pool says otherwise.
	h.okStdin(strings.Replace(h.ok("image", "show", "t1"), "auto_update: true", "auto_update: false", 1), "image", "edit", "t1")
	fourth := g.grow()
	h.ok("image", "refresh", "--all", "--auto")
	if im = h.stored(); im[0].Fingerprint != third {
		t.Errorf("--auto: %+v", im)
	}
	h.ok("image", "refresh", "--all")
	h.ok("image", "delete", "t1")
	h.ok("init", "m:tiny", "c4")
	if im = h.stored(); len(im) != 1 || im[0].Fingerprint != fourth || !im[0].Cached || !im[0].AutoUpdate {
		t.Errorf("cached: %+v", im)
	}
	fifth := g.grow()
	h.ok("remote", "remove", "m") // with the keys that its catalogue may have to be signed by
	h.fails(1, "there is no remote m any more, which it came from, and none with the URL https://", "image", "refresh", "--all", "--auto")
	if im = h.stored(); len(im) != 1 || im[0].Fingerprint != fourth {
		t.Errorf("refreshed from a remote that was removed: %+v", im)
	}
	h.withRemote(server)
	// It is found when its remote has another name, and then another URL.
	h.ok("remote", "rename", "m", "m2")
	h.ok("remote", "set-url", "m2", strings.Replace(server.URL, "localhost", "127.0.0.1", 1))
	h.ok("image", "refresh", "--all", "--auto")
	if im = h.stored(); len(im) != 1 || im[0].Fingerprint != fifth || !im[0].Cached {
		t.Errorf("cached and refreshed: %+v", im)
	}
	h.wantNumber("c4", "4")
	h.fails(2, "either images or --all", "image", "refresh")
	h.fails(2, "only the first word can name a remote", "image", "list", "m2:", "m2:")
	h.fails(2, "names no column", "image", "list", "-c", "")
	h.fails(2, "--format is for --plan", "image", "pull", "m2:tiny", "--format", "json")
	h.fails(1, `cannot find image "x"`, "image", "refresh", "x")
	// An empty name is no image, even where there is one called default.
	h.ok("image", "alias", "create", "default", fifth[:12])
	for _, args := range [][]string{
		{"delete", ""},
		{"delete", "local:"},
		{"set-property", "", "a", "b"},
		{"unset-property", "", "a"},
		{"get-property", "", "os"},
		{"edit", ""},
		{"show", ""},
		{"info", ""},
		{"info", "m:"},
		{"export", "", t.TempDir()},
		{"export", "m:", t.TempDir()},
		{"refresh", ""},
		{"alias", "create", "y", ""},
	} {
		h.fails(1, `cannot find image "": it has no name`, append([]string{"image"}, args...)...)
	}
	if im = h.stored(); len(im) != 1 || im[0].Properties["a"] != "" {
		t.Errorf("changed by an empty name: %+v", im)
	}
	h.ok("init", "local:", "c5")
	h.wantNumber("c5", "5")
}

// wantNumber looks into an instance of a version of "tiny".
func (h *host) wantNumber(name, want string) {
	h.t.Helper()
	raw, err := os.ReadFile(filepath.Join(h.state, "storage-pools/default/containers", name, "rootfs/etc/number"))
	if err != nil || string(raw) != want {
		h.t.Errorf("%s has number %q, %v; want %s", name, raw, err, want)
	}
}

// TestImageExpiry lets cached images that are not used go after the days that the pool says, and no others.
func TestImageExpiry(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("init", "m:busybox", "c1")
	h.ok("init", "m:tiny/1", "c2")
	h.ok("image", "pull", "m:tiny/2", "--alias", "kept")
	age := func(days int) {
		records, err := filepath.Glob(filepath.Join(h.state, "storage-pools/default/.poolctl/images/*.json"))
		if err != nil || len(records) == 0 {
			t.Fatal(records, err)
		}
		for _, r := range records {
			raw, err := os.ReadFile(r)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Now().Add(-time.Duration(days)*24*time.Hour - time.Minute).UTC().Format(time.RFC3339)
			text := regexp.MustCompile(`"(last_used_at|uploaded_at)": "[^"]*"`).ReplaceAllString(string(raw), `"$1": "`+at+`"`)
			if err := os.WriteFile(r, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	age(9)
	h.ok("admin", "expire")
	if n := len(h.stored()); n != 3 {
		t.Fatalf("after 9 days: %d images", n)
	}
	age(10)
	h.ok("pool", "set", "default", "images.remote_cache_expiry=0")
	h.ok("admin", "expire")
	if n := len(h.stored()); n != 3 {
		t.Fatalf("with no expiry: %d images", n)
	}
	h.fails(1, "not a number of days", "pool", "set", "default", "images.remote_cache_expiry=soon")
	h.ok("pool", "set", "default", "images.remote_cache_expiry=11")
	h.ok("admin", "expire")
	h.ok("pool", "unset", "default", "images.remote_cache_expiry")
	if n := len(h.stored()); n != 3 {
		t.Fatalf("with 11 days: %d images", n)
	}
	h.ok("init", "m:busybox", "c3") // is used now, and caches: what is stale goes
	if im := h.stored(); len(im) != 2 || len(h.stored("os=Busybox")) != 1 || len(h.stored("kept")) != 1 {
		t.Errorf("after 10 days: %+v", im)
	}
	age(400)
	r := h.run("admin", "expire")
	if im := h.stored(); len(im) != 1 || im[0].names() != "kept" || !strings.Contains(r.stderr, "default/") {
		t.Errorf("%+v, %s", im, r)
	}
	works(h, "c1", "")
}

// TestImageAliasRaces gives one alias to several images at the same time: one of them gets it, or, with --reuse, each in turn,
// and what has none in the end is deleted.
func TestImageAliasRaces(t *testing.T) {
	h := newHost(t).withPool()
	var dirs []string
	for i := range 4 {
		dir := filepath.Join(t.TempDir(), "image")
		for path, text := range map[string]string{
			"metadata.yaml": fmt.Sprintf("architecture: x86_64\ncreation_date: %d\n", 1_700_000_000+i), "rootfs/etc/number": fmt.Sprint(i),
		} {
			if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(path)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		dirs = append(dirs, dir)
	}
	imports := func(flags ...string) (done int) {
		var wg sync.WaitGroup
		results := make([]result, len(dirs))
		for i, dir := range dirs {
			wg.Go(func() { results[i] = h.run(append([]string{"image", "import", dir, "--alias", "x"}, flags...)...) })
		}
		wg.Wait()
		for _, r := range results {
			if r.code == 0 {
				done++
			} else if !strings.Contains(r.stderr, "already exists") {
				t.Errorf("%s", r)
			}
		}
		return done
	}
	if n := imports(); n != 1 || len(h.stored()) != 1 {
		t.Errorf("%d imports succeeded, and there are the images %+v", n, h.stored())
	}
	for range 3 {
		if n := imports("--reuse"); n != len(dirs) {
			t.Errorf("%d imports succeeded", n)
		}
		if got := h.stored(); len(got) != 1 || got[0].names() != "x" {
			t.Errorf("images %+v", got)
		}
	}
}
