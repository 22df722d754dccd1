package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"poolctl/fixtures"
)

// TestImageOriginKept: an image that is reached by https does not come to follow a server that is not, however the same
// version has come into the pool.
func TestImageOriginKept(t *testing.T) {
	g := newGrowing(t)
	server := serve(t, g.mirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(server)
	strong := server.URL
	weak := httptest.NewServer(http.FileServer(http.Dir(g.dir)))
	t.Cleanup(weak.Close)
	h.ok("remote", "add", "weak", weak.URL, "--protocol=simplestreams", "--insecure-http")
	follows := func(alias, remote, auto string) {
		t.Helper()
		info := h.ok("image", "info", alias)
		if !strings.Contains(info, remote) || !strings.Contains(info, "Auto update: "+auto) {
			t.Errorf("%s is to follow %s, auto update %s:\n%s", alias, remote, auto, info)
		}
	}
	h.ok("image", "pull", "m:tiny", "--alias", "sure", "--auto-update")
	g.grow()
	h.ok("image", "pull", "weak:tiny", "--alias", "weak")
	follows("weak", weak.URL, "disabled")
	h.ok("image", "refresh", "--all", "--auto")
	follows("sure", strong, "enabled")
	follows("weak", strong, "enabled")
	// Pulled again from there it stays so.
	r := h.run("image", "pull", "weak:tiny", "--alias", "again")
	if r.code != 0 || !strings.Contains(r.stderr, "goes on following m:tiny: it is reached by https; weak:tiny is not as safe") {
		t.Errorf("pulled from a weaker remote: %s", r)
	}
	follows("again", strong, "enabled")
	h.ok("image", "delete", "sure")
	// What was cached for an instance is from then on as the user pulls it.
	if err := os.RemoveAll(h.state + "/cache"); err != nil {
		t.Fatal(err)
	}
	h.ok("init", "weak:tiny", "c1")
	h.ok("image", "pull", "m:tiny", "--alias", "mine")
	follows("mine", strong, "disabled")
}
