package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"poolctl/fixtures"
)

// serveDir serves a directory by https for one test.
func serveDir(t *testing.T, dir string) *fixtures.Server {
	t.Helper()
	return serve(t, func() (string, error) { return dir, nil }, fixtures.ServeOptions{})
}

// TestPublishedTree publishes an instance and writes it, with what was pulled and imported, into a tree: real LXD and poolctl
// itself pull and launch from it. What is exported, LXD imports and launches.
func TestPublishedTree(t *testing.T) {
	m := serve(t, realMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(m)
	h.publishSomething()
	tree := filepath.Join(h.dir, "tree")
	h.ok("image", "publish-mirror", tree, "--public") // web/1 is the only one that is so
	if products := checkTree(t, tree); len(products) != 1 {
		t.Errorf("public ones: %v", products)
	}
	h.fails(2, "exclude each other", "image", "publish-mirror", tree, "web/1", "--public")
	if r := h.run("image", "publish-mirror", tree); r.code != 0 || !strings.Contains(r.stderr, "\n4 of them are not marked public") {
		t.Errorf("without names: %s", r)
	}
	products := checkTree(t, tree)
	if len(products) != 5 {
		t.Errorf("products: %v", products)
	}
	before := modified(t, tree)
	h.ok("image", "publish-mirror", tree)
	if after := modified(t, tree); after != before {
		t.Errorf("written again:\n%s\n%s", before, after)
	}
	served := serveDir(t, tree)
	h.launchPublished(served)
	l := newLXD(t, filepath.Join(h.dir, "l"), served)
	l.run("storage_pools:\n- {name: default, driver: btrfs, config: {size: 1GiB}}\nprofiles:\n- name: default\n  devices: {root: {path: /, pool: default, type: disk}}\n",
		"lxd", "init", "--preseed")
	l.lxc("remote", "add", "pm", served.URL, "--protocol=simplestreams", "--public")
	for i, image := range []string{"pm:web/1", "pm:uni"} {
		l.launches(fmt.Sprintf("l%d", i), image)
	}
	if out := l.lxc("image", "list", "pm:", "-c", "L", "--format", "csv"); !strings.Contains(out, "web/1") {
		t.Errorf("LXD lists %s", out)
	}
	l.lxc("image", "copy", "pm:vm", "local:", "--vm", "--quiet") // LXD checks the hashes
	l.lxc("image", "copy", "pm:tarred", "local:", "--quiet")
	if out := l.lxc("image", "list", "local:", "-c", "Ft", "--format", "csv"); !strings.Contains(out, h.fingerprint("vm")+",VIRTUAL-MACHINE") || !strings.Contains(out, h.fingerprint("tarred")+",CONTAINER") {
		t.Errorf("LXD has %s", out)
	}
	for _, alias := range []string{"web/1", "uni"} { // it has them cached
		l.lxc("image", "delete", h.fingerprint(alias))
	}
	files := h.exported("web/1")
	l.lxc("image", "import", files[0], files[1], "--alias", "imported")
	l.launches("l8", "imported")
	l.lxc("image", "import", h.exported("uni")[0], "--alias", "imported-uni")
	l.launches("l9", "imported-uni")
	l.stop()
}

// publishSomething makes the images web/1, split, of a snapshot, and uni, unified, of a running instance.
func (h *host) publishSomething() {
	h.t.Helper()
	h.ok("launch", "m:alpinelinux/3.8", "c1")
	h.ok("exec", "c1", "--", "sh", "-c", "echo of-1000 > /root/of-1000; chown 1000:1001 /root/of-1000; ln /root/of-1000 /root/again; "+
		"mkfifo /root/fifo; dd if=/dev/zero of=/root/sparse bs=1 count=1 seek=20M 2>/dev/null; chmod 4755 /root/again; sync")
	h.ok("snapshot", "create", "c1", "s0")
	h.fails(1, `c1: it is running\nhint: .*--force`, "publish", "c1", "--alias", "no")
	h.ok("publish", "c1/s0", "--alias", "web/1", "--public")
	first := h.fingerprint("web/1")
	h.ok("publish", "c1/s0", "--alias", "web/1", "--reuse")
	if again := h.fingerprint("web/1"); again != first {
		h.t.Errorf("published twice: %s, then %s", first, again)
	}
	h.ok("publish", "c1", "--force", "--alias", "uni", "--format", "unified", "--compression", "gzip", "--expire", "2099-01-02T03:04:05Z", "os=Mine", "release=7")
	if in := h.instances()["c1"]; in.Status != "Running" {
		h.t.Errorf("after --force: %+v", in)
	}
	h.matches(`(?s)properties:\s+os: Mine\s+release: "7"\npublic: false\nexpires_at: 2099-01-02T03:04:05Z`, "image", "show", "uni")
	h.matches(`(?s)os: .*public: true`, "image", "show", "web/1")
	h.ok("image", "pull", "m:alpine", "--alias", "bb")
	h.importMachine("vm")
	h.ok("publish", "c1/s0", "--alias", "tarred", "--compression", "zstd", "os=Mine", "release=8")
	for _, alias := range []string{"web/1", "uni"} {
		h.ok("init", alias, "p1")
		h.sameInside("p1")
		works(h, "p1", "")
		h.ok("delete", "p1")
	}
}

// insideCommand tells of the files that publishSomething made.
const insideCommand = "cd /root; stat -c '%n %u:%g %a %h %s' of-1000 again fifo sparse; du -k sparse | awk '{print ($1 < 100)}'; cat of-1000"

const insideWant = "of-1000 1000:1001 4755 2 8\nagain 1000:1001 4755 2 8\nfifo 0:0 644 1 0\nsparse 0:0 644 1 20971521\n1\nof-1000\n"

// sameInside checks them in an instance.
func (h *host) sameInside(name string) {
	h.t.Helper()
	h.ok("start", name)
	if got := h.ok("exec", name, "--", "sh", "-c", insideCommand); got != insideWant {
		h.t.Errorf("%s has\n%s\nwant\n%s", name, got, insideWant)
	}
}

// launches launches an image in LXD, and looks into it.
func (l *lxd) launches(name, image string) {
	l.t.Helper()
	l.lxc("launch", image, name)
	got := l.lxc("exec", name, "--", "sh", "-c", insideCommand)
	if strings.Contains(image, "uni") { // LXD unpacks archives by GNU tar, which makes no holes of zeros
		got = strings.Replace(got, "\n0\nof-1000", "\n1\nof-1000", 1)
	}
	if got != insideWant {
		l.t.Errorf("%s in LXD has\n%s\nwant\n%s", image, got, insideWant)
	}
	l.lxc("delete", "--force", name)
}

// launchPublished takes the images from the tree into another state directory, where they have the same fingerprints.
func (h *host) launchPublished(served *fixtures.Server) {
	h.t.Helper()
	h2 := newHost(h.t)
	h2.env = append(h2.env, "SSL_CERT_FILE="+served.CertFile)
	h2.withPool()
	h2.ok("remote", "add", "pm", served.URL, "--protocol=simplestreams", "--public")
	for _, alias := range []string{"web/1", "uni"} {
		h2.ok("launch", "pm:"+alias, "n1")
		h2.ok("stop", "--force", "n1")
		h2.sameInside("n1")
		h2.ok("delete", "--force", "n1")
		h2.ok("image", "pull", "pm:"+alias, "--alias", alias)
		if got, want := h2.fingerprint(alias), h.fingerprint(alias); got != want {
			h.t.Errorf("%s has the fingerprint %s there, %s here", alias, got, want)
		}
	}
	h2.ok("init", "pm:bb", "n2")
	h2.ok("delete", "n2")
}

// fingerprint is that of the image of an alias.
func (h *host) fingerprint(alias string) string {
	h.t.Helper()
	for fp, im := range h.images() {
		for _, a := range im.Aliases {
			if a.Name == alias {
				return fp
			}
		}
	}
	h.t.Fatalf("there is no image %s", alias)
	return ""
}

// exported exports an image and returns its files.
func (h *host) exported(alias string) []string {
	h.t.Helper()
	dir, err := os.MkdirTemp(h.dir, "exported")
	if err != nil {
		h.t.Fatal(err)
	}
	h.ok("image", "export", alias, dir)
	files, err := filepath.Glob(dir + "/*")
	if err != nil {
		h.t.Fatal(err)
	}
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(filepath.Base(b), filepath.Base(a)) }) // meta- first
	sum := sha256.New()
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			h.t.Fatal(err)
		}
		sum.Write(b)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != h.fingerprint(alias) {
		h.t.Errorf("%s exported has the fingerprint %s", alias, got)
	}
	return files
}

// modified lists the files of a tree with their inodes and times, without what is poolctl's own.
func modified(t *testing.T, tree string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "sh", "-c", "cd "+tree+" && find images streams -type f -exec stat -c '%n %i %y' {} + | sort").Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// combinedKeys are, by the type of a root, where its hash with the metadata stands.
var combinedKeys = map[string][]string{
	"squashfs": {"combined_squashfs_sha256"}, "root.tar.xz": {"combined_rootxz_sha256", "combined_sha256"}, "disk-kvm.img": {"combined_disk-kvm-img_sha256"},
}

// importMachine imports the image of a virtual machine, with an empty disk.
func (h *host) importMachine(alias string, properties ...string) {
	h.t.Helper()
	cmd := exec.CommandContext(h.t.Context(), "sh", "-c", "printf 'architecture: x86_64\ncreation_date: 1700000000\n' > metadata.yaml && tar -cJf meta.tar.xz metadata.yaml && qemu-img create -q -f qcow2 disk.qcow2 4M")
	cmd.Dir = h.t.TempDir()
	if out, err := cmd.CombinedOutput(); err != nil {
		h.t.Fatalf("%v: %s", err, out)
	}
	h.ok(append([]string{"image", "import", cmd.Dir + "/meta.tar.xz", cmd.Dir + "/disk.qcow2", "--alias", alias}, properties...)...)
}

// checkTree checks that a published tree is valid: every file that the catalogue names is there, with its size and hash,
// and the combined hashes are right. It returns the products with their versions; none when there is no tree yet.
func checkTree(t *testing.T, tree string) map[string][]string {
	t.Helper()
	var index struct {
		Index map[string]struct{ Path string }
	}
	raw, err := os.ReadFile(filepath.Join(tree, "streams/v1/index.json"))
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	var list struct {
		Products map[string]struct {
			Versions map[string]struct{ Items map[string]map[string]any }
		}
	}
	if raw, err = os.ReadFile(filepath.Join(tree, index.Index["images"].Path)); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	out := map[string][]string{}
	for id, p := range list.Products {
		for serial, v := range p.Versions {
			out[id] = append(out[id], serial)
			byType := map[string][]byte{}
			for _, it := range v.Items {
				b, err := os.ReadFile(filepath.Join(tree, fmt.Sprint(it["path"])))
				sum := sha256.Sum256(b)
				if err != nil || it["sha256"] != hex.EncodeToString(sum[:]) || it["size"] != float64(len(b)) {
					t.Errorf("%s %s: %v: %v", id, serial, it, err)
				}
				byType[fmt.Sprint(it["ftype"])] = b
			}
			for root, keys := range combinedKeys {
				if byType[root] == nil {
					continue
				}
				for _, meta := range []string{"lxd.tar.xz", "incus.tar.xz"} {
					sum := sha256.Sum256(append(slices.Clone(byType[meta]), byType[root]...))
					for _, key := range keys {
						if got := v.Items[meta][key]; got != hex.EncodeToString(sum[:]) {
							t.Errorf("%s %s: %s: %s is %v", id, serial, meta, key, got)
						}
					}
				}
			}
		}
	}
	return out
}

// TestPublishMirrorKeep: newer versions join the older ones, the newest has the aliases, and --keep takes the oldest out
// with their files. A virtual machine of the product is no newer or older version of a container.
func TestPublishMirrorKeep(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, realMirror, fixtures.ServeOptions{}))
	tree := filepath.Join(h.dir, "tree")
	h.ok("init", "m:alpinelinux/3.8", "c1")
	var fingerprints []string
	for i := range 3 {
		h.ok("publish", "c1", "--alias", "web", "--reuse", fmt.Sprintf("serial=2025010%d_00:00", i+1), "os=Mine", "release=1", "variant=web", "--compression", "gzip")
		fingerprints = append(fingerprints, h.fingerprint("web"))
		h.ok("image", "publish-mirror", tree, "web")
	}
	h.importMachine("webvm", "serial=20240101_00:00", "os=Mine", "release=1", "variant=web")
	h.ok("image", "publish-mirror", tree, "webvm")
	products := checkTree(t, tree)
	if got := products["mine:1:amd64:web"]; len(products) != 1 || len(got) != 4 {
		t.Errorf("products: %v", products)
	}
	h.ok("image", "publish-mirror", tree, "web", "--keep", "2")
	got := checkTree(t, tree)["mine:1:amd64:web"]
	slices.Sort(got)
	if !slices.Equal(got, []string{"20240101_00:00", "20250102_00:00", "20250103_00:00"}) {
		t.Errorf("kept: %v", got)
	}
	if dirs, _ := filepath.Glob(tree + "/images/mine/1/amd64/web/*"); len(dirs) != 3 {
		t.Errorf("left on disk: %v", dirs)
	}
	served := serveDir(t, tree)
	h.env = append(h.env, "SSL_CERT_FILE="+served.CertFile)
	h.ok("remote", "add", "pm", served.URL, "--protocol=simplestreams", "--public")
	h.matches(fingerprints[2][:12], "image", "list", "pm:", "web")
	h.matches(fingerprints[2], "image", "info", "pm:mine/1/web")
	h.matches(h.fingerprint("webvm")+",VIRTUAL-MACHINE,(?s).*webvm", "image", "list", "pm:", "webvm", "type=virtual-machine", "-c", "FtL", "--format", "csv")
	h.fails(2, `positive`, "image", "publish-mirror", tree, "--keep", "0")
	// Published without a name it is no version of what it was made of.
	published := regexp.MustCompile(`[0-9a-f]{64}`).FindString(h.run("publish", "c1", "--compression", "gzip").stderr)
	h.ok("image", "publish-mirror", tree, published)
	if products := checkTree(t, tree); len(products) != 2 || len(products["alpinelinux:3.8:amd64:"+published[:12]]) != 1 {
		t.Errorf("published without a name: %v", products)
	}
	h.fails(1, `cannot find image "none"`, "image", "publish-mirror", tree, "none")
}

// TestExportPulled: the files of an image that was pulled are fetched again; when nobody has them, the image is packed anew,
// and told so.
func TestExportPulled(t *testing.T) {
	m := serve(t, realMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(m)
	h.ok("image", "pull", "m:alpinelinux/3.8", "--alias", "al")
	h.exported("al")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	r := h.run("image", "export", "al", h.dir+"/anew")
	if r.code != 0 || !strings.Contains(r.stderr, "is packed anew, which gives it another fingerprint") {
		t.Errorf("%s", r)
	}
	h.ok("image", "import", h.dir+"/anew.root", h.dir+"/anew", "--alias", "anew")
	if h.fingerprint("anew") == h.fingerprint("al") {
		t.Error("it has the same fingerprint")
	}
	h.ok("init", "anew", "c1")
	works(h, "c1", "")
	h.ok("delete", "c1")
	h.ok("image", "export", "al", h.dir+"/again")
	for _, name := range []string{"", ".root"} {
		a, err := os.ReadFile(h.dir + "/anew" + name)
		b, berr := os.ReadFile(h.dir + "/again" + name)
		if err != nil || berr != nil || string(a) != string(b) {
			t.Errorf("packed twice, the files differ: %v, %v", err, berr)
		}
	}
}

// TestImportURL: a URL with the image, one that says where it is, and one that lies about it.
func TestImportURL(t *testing.T) {
	dir, err := realMirror()
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(dir + "/images/alpine/*/*/*/*/lxd_combined.tar.gz")
	if err != nil || len(found) != 1 {
		t.Fatalf("%v, %v", found, err)
	}
	image, err := os.ReadFile(found[0])
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(image)
	hash := hex.EncodeToString(sum[:])
	var srv *httptest.Server
	srv = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/there", "/lies":
			if r.Header.Get("Incus-Server-Architectures") == "" {
				w.WriteHeader(http.StatusBadRequest)
			}
			w.Header().Set("Incus-Image-URL", srv.URL+"/image.tar.gz")
			w.Header().Set("Incus-Image-Hash", map[string]string{"/there": hash, "/lies": strings.Repeat("0", 64)}[r.URL.Path])
		case "/plain":
			w.Header().Set("Incus-Image-URL", "http"+strings.TrimPrefix(srv.URL, "https")+"/image.tar.gz")
			w.Header().Set("Incus-Image-Hash", hash)
		case "/image.tar.gz":
			_, _ = w.Write(image) // the client may be gone
		case "/cut":
			w.Header().Set("Content-Length", fmt.Sprint(len(image)))
			_, _ = w.Write(image[:len(image)/2])
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	defer srv.Close()
	h := newHost(t).withPool()
	h.env = append(h.env, "SSL_CERT_FILE="+certOf(t, srv))
	for _, path := range []string{"/image.tar.gz", "/there"} {
		h.ok("image", "import", srv.URL+path, "--alias", "u")
		if got := h.fingerprint("u"); got != hash {
			t.Errorf("%s: %s", path, got)
		}
		h.ok("image", "delete", "u")
	}
	for path, want := range map[string]string{"/lies": "the image's fingerprint is " + hash[:12], "/plain": "only https is allowed", "/none": "404", "/cut": "EOF"} {
		h.fails(1, want, "image", "import", srv.URL+path)
	}
	if len(h.images()) != 0 {
		t.Errorf("images: %v", h.images())
	}
}

// certOf writes the certificate of a test server to a file.
func certOf(t *testing.T, srv *httptest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
