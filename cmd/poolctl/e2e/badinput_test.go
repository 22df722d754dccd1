package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"poolctl/fixtures"
)

// TestBadNames checks that a bad or taken name is refused with its reason, with nothing made.
func TestBadNames(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("image", "pull", "m:busybox", "--alias", "bb")
	h.ok("init", "bb", "taken")
	h.ok("snapshot", "create", "taken", "s0")
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		// Incus's rules for instance names: 1 to 63 characters, letters, digits and dashes, no digit or dash first, no dash last.
		{1, `taken.*exists`, []string{"init", "bb", "taken"}},
		{1, `taken.*exists`, []string{"launch", "bb", "taken"}},
		{1, `_bad|under|invalid|letters`, []string{"init", "bb", "_bad"}},
		{1, `1st`, []string{"init", "bb", "1st"}},
		{1, `end-`, []string{"init", "bb", "end-"}},
		{1, `a\.b`, []string{"init", "bb", "a.b"}},
		{1, `\.\.`, []string{"init", "bb", "../up"}},
		{1, `63|long`, []string{"init", "bb", strings.Repeat("a", 64)}},
		{1, `c1`, []string{"init", "bb", "c1\n"}},
		{1, `s0.*exists`, []string{"snapshot", "create", "taken", "s0"}},
		{1, `a/b`, []string{"snapshot", "create", "taken", "a/b"}},
		{1, `\.\.`, []string{"snapshot", "create", "taken", ".."}},
		{1, `default.*exists`, []string{"pool", "create", "default"}},
		{1, `\.\.`, []string{"pool", "create", "../x"}},
		{1, `a/b`, []string{"pool", "create", "a/b"}},
		{1, `exists`, []string{"network", "create", h.bridge}},
		{1, `longer|15`, []string{"network", "create", "a-name-that-is-too-long"}},
		{1, `exists`, []string{"remote", "add", "m", "https://localhost:1", "--protocol=simplestreams"}},
		{1, `https`, []string{"remote", "add", "plain", "http://localhost:1", "--protocol=simplestreams"}},
		{1, `nobody.*not found`, []string{"start", "nobody"}},
		{1, `nobody.*not found`, []string{"exec", "nobody", "--", "true"}},
		{1, `nobody.*not found`, []string{"delete", "nobody"}},
		{1, `nobody.*not found`, []string{"snapshot", "create", "nobody", "s"}},
		{1, `nope.*not found`, []string{"snapshot", "restore", "taken", "nope"}},
		{1, `nope.*not found`, []string{"mount", "taken/nope"}},
		{1, `nope.*not found`, []string{"pool", "show", "nope"}},
		{1, `nope.*not found`, []string{"init", "nope", "x"}},
		{1, `nope.*not found`, []string{"init", "nope:alpine", "x"}},
		{1, `nope`, []string{"init", "bb", "x", "--storage", "nope"}},
		{1, `nope`, []string{"init", "bb", "x", "--network", "nope"}},
		{2, `nosuchcommand`, []string{"nosuchcommand"}},
		{2, `nosuchflag`, []string{"list", "--nosuchflag"}},
		{2, ``, []string{"start"}},
		{2, ``, []string{"snapshot", "restore", "taken"}},
	} {
		h.leavesNothing(t, func() { h.fails(c.code, c.want, c.args...) })
	}
}

// TestBadImages asks for images that are not there, not unique or not as the catalogue says.
func TestBadImages(t *testing.T) {
	m := serve(t, smallMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(m)
	h.ok("image", "list", "m:") // the catalogue is cached from here on
	prefix := ambiguousPrefix(t, h)
	for _, c := range []struct {
		name, want, image string
		path              string
		fault             fixtures.Fault
		slow              bool // it is tried again for some time, so once is enough here
	}{
		{name: "unknown image", want: `plan9.*not found|cannot find.*plan9`, image: "m:plan9/4"},
		{name: "unknown remote", want: `nope`, image: "nope:busybox"},
		{name: "ambiguous prefix", want: `ambiguous|fingerprints begin`, image: "m:" + prefix},
		{name: "404", want: `404`, image: "m:busybox", path: "rootfs.squashfs", fault: fixtures.NotFound()},
		{name: "404 of the metadata", want: `404`, image: "m:busybox", path: "lxd.tar.xz", fault: fixtures.NotFound()},
		{name: "500", want: `500`, image: "m:busybox", path: "rootfs.squashfs", fault: fixtures.Status(500), slow: true},
		// Whatever the decompressor says of it: that another file came is the cause.
		{name: "wrong byte in the middle", want: `sha256`, image: "m:busybox", path: "rootfs.squashfs", fault: fixtures.Corrupt(300_000)},
		{name: "wrong byte in an archive", want: `sha256`, image: "m:busybox/unified", path: "lxd_combined.tar.gz", fault: fixtures.Corrupt(400_000)},
		{name: "metadata that is no archive", want: `sha256`, image: "m:busybox", path: "lxd.tar.xz", fault: fixtures.Corrupt(0)},
		{name: "truncated", want: `EOF|size|truncated|bytes|short|ended`, image: "m:busybox", path: "rootfs.squashfs", fault: fixtures.Shorten(200_000)},
		{name: "connection breaks off", want: `EOF|size|truncated|bytes|short|ended|reset|closed`, image: "m:busybox", path: "rootfs.squashfs", fault: fixtures.Truncate(0), slow: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.in(t)
			m.ClearFaults()
			if c.path != "" {
				m.Fault(c.path, c.fault)
				m.Fault("incus.tar.xz", c.fault) // the same root has two
				defer m.ClearFaults()
			}
			alias := c.image
			if strings.HasSuffix(alias, "/unified") {
				alias = "m:" + aliasEnding(t, h.ok("image", "list", "m:", "--format", "json"), "/unified")
			}
			h.leavesNothing(t, func() { h.fails(1, c.want, "image", "pull", alias, "--alias", "x") })
			if !c.slow {
				h.leavesNothing(t, func() { h.fails(1, c.want, "launch", alias, "x") })
			}
		})
	}
	m.ClearFaults()
	h.ok("image", "pull", "m:busybox", "--alias", "x") // and nothing of all that stands in the way
}

// ambiguousPrefix finds a fingerprint prefix that two images of the mirror share: with more than 16, two share a digit.
func ambiguousPrefix(t *testing.T, h *host) string {
	t.Helper()
	var images []struct{ Fingerprint string }
	h.json(&images, "image", "list", "m:")
	for n := 1; n < 8; n++ {
		seen := map[string]bool{}
		found := ""
		for _, im := range images {
			if p := im.Fingerprint[:n]; seen[p] {
				found = p
			} else {
				seen[p] = true
			}
		}
		if found != "" {
			return found
		}
	}
	t.Fatalf("no two of the %d images share a prefix: add images to the mirror", len(images))
	return ""
}

// TestPoolTooSmall pulls an image whose root does not fit, and one that is said to be larger than the pool.
func TestPoolTooSmall(t *testing.T) {
	m := serve(t, smallMirror, fixtures.ServeOptions{})
	h := newHost(t).withRemote(m)
	h.ok("pool", "create", "tiny", "size=120MiB")
	h.leavesNothing(t, func() { h.fails(1, `full|space|free`, "image", "pull", "m:big") })
	if whole, _ := downloads(m, "rootfs.squashfs"); whole == 0 {
		t.Error("this image should have been tried: its download would fit")
	}
	h.ok("image", "pull", "m:busybox") // it still takes what fits, at once
	h.fails(1, `too small|smallest`, "pool", "create", "mini", "size=10MiB")
	h.fails(1, `size`, "pool", "create", "odd", "size=lots")
	h.fails(1, `size`, "pool", "create", "odd", "size=-1GiB")
}

// TestNotEnoughForDownload lets a catalogue name an image that is larger than the pool: refused before any download.
func TestNotEnoughForDownload(t *testing.T) {
	src, err := smallMirror()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "mirror")
	if err := os.CopyFS(dir, os.DirFS(src)); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "streams/v1/images.json")
	data, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	huge := regexp.MustCompile(`("ftype": "squashfs",(?s:.*?)"size": )\d+`).ReplaceAll(data, []byte("${1}9000000000000"))
	if !json.Valid(huge) || string(huge) == string(data) {
		t.Fatal("cannot change the size in the catalogue")
	}
	if err := os.WriteFile(list, huge, 0o600); err != nil {
		t.Fatal(err)
	}
	m := serve(t, func() (string, error) { return dir, nil }, fixtures.ServeOptions{})
	h := newHost(t).withRemote(m)
	h.ok("pool", "create", "p", "size=200MiB")
	h.leavesNothing(t, func() { h.fails(1, `free`, "image", "pull", "m:busybox") })
	if whole, _ := downloads(m, "rootfs.squashfs"); whole != 0 {
		t.Error("it was downloaded though it cannot fit")
	}
}

// TestExistingFileStays checks that creating a pool never touches what is there.
func TestExistingFileStays(t *testing.T) {
	h := newHost(t)
	h.ok("list")
	mine := filepath.Join(h.dir, "mine.img")
	orphan := filepath.Join(h.state, "disks", "orphan.img")
	for _, path := range []string{mine, orphan} {
		if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(h.dir, "link.img")
	if err := os.Symlink(mine, link); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"pool", "create", "p", "source=" + mine},
		{"pool", "create", "p", "source=" + link},
		{"pool", "create", "p", "source=" + h.dir},
		{"pool", "create", "orphan"},
		{"pool", "create", "p", "source=" + filepath.Join(h.dir, "no/such/dir/x.img")},
	} {
		h.leavesNothing(t, func() { h.fails(1, `exists|directory`, args...) })
	}
	for _, path := range []string{mine, orphan} {
		if got, err := os.ReadFile(path); string(got) != "precious" {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
	if err := os.Remove(orphan); err != nil { // it is this test's, not the host's
		t.Error(err)
	}
}

// TestNeeds runs the program where something is missing: root, mkfs.btrfs. One clear line must name it and how to get it.
func TestNeeds(t *testing.T) {
	h := newHost(t)
	h.ok("list")
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	if err := os.Chmod(filepath.Dir(suite.program), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"list"}, {"pool", "create", "p"}} {
		nobody := exec.CommandContext(ctx, "setpriv", append([]string{"--reuid=65534", "--regid=65534", "--clear-groups", h.program}, args...)...)
		nobody.Env = h.env
		r := h.finish(nobody, "")
		h.failed(r, 1, `root`)
		if !strings.Contains(r.stderr, "sudo") {
			t.Errorf("want a hint: %s", r)
		}
	}

	// A machine that lacks something, by hiding it in a mount namespace of the command's own.
	mkfs, err := exec.LookPath("mkfs.btrfs")
	if err != nil {
		t.Fatal(err)
	}
	if mkfs, err = filepath.EvalSymlinks(mkfs); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		hide       []string
		want, hint string
	}{
		{[]string{filepath.Dir(mkfs)}, `mkfs\.btrfs`, `btrfs-progs`},
		{[]string{"/dev", "/sys/devices/virtual/misc"}, `loop`, `modprobe loop`},
	} {
		args := []string{"--mount", "sh", "-c", `for dir; do [ "$dir" != -- ] || break; mount -t tmpfs none "$dir"; shift; done; shift; exec "$@"`, "sh"}
		args = append(append(args, c.hide...), "--", h.program, "pool", "create", "p", "size=200MiB")
		cmd := exec.CommandContext(ctx, "unshare", args...)
		cmd.Env = h.env
		h.leavesNothing(t, func() {
			r := h.finish(cmd, "")
			h.failed(r, 1, c.want)
			if !strings.Contains(r.stderr, c.hint) {
				t.Errorf("want how to get it (%s): %s", c.hint, r)
			}
		})
	}
}
