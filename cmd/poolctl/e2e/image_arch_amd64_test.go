package e2e

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/fixtures"
)

// archMirror builds a mirror of busybox for i686, which this machine runs, and one that
// says it is for aarch64; none for the machine's own architecture.
func archMirror() (string, error) {
	dir, ctx := filepath.Join(suite.dir, "archs"), context.Background()
	var images []fixtures.Image
	for _, arch := range []string{"i386", "arm64"} {
		im, err := fixtures.BuildBusyboxAs(ctx, dir, arch)
		if err != nil {
			return "", err
		}
		images = append(images, im)
	}
	return dir, fixtures.BuildMirror(ctx, dir, images...)
}

// TestArchitectures: an image of another architecture is pulled by its name, and no
// instance is made of it; one of an architecture that the kernel runs as well starts,
// and its programs see that machine.
func TestArchitectures(t *testing.T) {
	m := serve(t, archMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(m)
	const refused = `its image is for aarch64, and this machine is x86_64 \(which runs i686 too\)`
	h.ok("image", "list", "m:")
	m.Requests()
	h.fails(1, refused, "launch", "m:busybox/arm64", "c")
	if sent, _ := rootBytes(m); sent != 0 || len(h.images()) != 0 {
		t.Errorf("%d bytes of an image were loaded that cannot run", sent)
	}
	h.ok("image", "pull", "m:busybox/aarch64", "--alias", "arm")
	h.matches(`aarch64`, "image", "list", "local:")
	for _, args := range [][]string{{"init", "arm", "c"}, {"launch", "arm", "c"}, {"create", "local:arm", "c"}} {
		h.fails(1, refused, args...)
	}
	h.matches(`^\[\]\n?$`, "list", "--format", "json")

	h.ok("launch", "m:busybox", "c")
	for args, want := range map[string]string{"uname -m": "i686", "cat /proc/1/personality": "00000008", "cat /proc/self/personality": "00000008"} {
		if out := strings.TrimSpace(h.ok(append([]string{"exec", "c", "--"}, strings.Fields(args)...)...)); out != want {
			t.Errorf("%s: %q, want %q", args, out, want)
		}
	}
	h.matches(`i686`, "list", "-c", "na")
	h.ok("delete", "--force", "c")
}

// TestImageNames: every way to name an image of a remote.
func TestImageNames(t *testing.T) {
	m := serve(t, smallMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(m)
	var images []struct {
		Fingerprint     string
		AltFingerprints []string `json:"alt_fingerprints"`
	}
	h.json(&images, "image", "list", "m:", "tiny/3", "--format", "json")
	if len(images) != 1 || len(images[0].AltFingerprints) != 1 {
		t.Fatalf("%+v", images)
	}
	fp, alt := images[0].Fingerprint, images[0].AltFingerprints[0]
	for _, ref := range []string{"m:tiny/3", "m:tiny/3/amd64", "m:tiny/3/x86_64", "m:tiny/3/default", "m:tiny/3/default/amd64", "m:" + fp[:14], "m:" + alt[:14], "m:" + alt} {
		r := h.run("image", "pull", ref)
		if r.code != 0 || !strings.Contains(r.stderr, fp) {
			t.Errorf("%s is not %s: %s", ref, fp, r)
		}
		h.ok("image", "delete", fp[:12])
	}
	h.fails(1, `m:default: no such alias`, "image", "pull", "m:")
	h.fails(1, `cannot find image "default"`, "init", "local:", "c")
	h.ok("image", "pull", "m:tiny/3", "--alias", "default")
	h.ok("init", "local:", "c")
	h.ok("init", fp[:9], "d")
	h.ok("init", "local:default", "e")
	for _, r := range m.Requests() {
		if agent := r.Header.Get("User-Agent"); !strings.HasPrefix(agent, "poolctl/") || len(agent) <= len("poolctl/") {
			t.Errorf("%s is asked for by %q", r.Path, agent)
		}
	}
}
