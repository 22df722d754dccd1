package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"sync"

	"poolctl/fixtures"
)

// aliasesOf are the aliases of the images whose property os matches, sorted, one image after the other.
func aliasesOf(h *host, system string) []string {
	h.t.Helper()
	out := []string{}
	for _, im := range h.stored("os=" + system) {
		out = append(out, im.names())
	}
	return out
}

// aliasOps give the image "bb" further aliases and take them away.
func aliasOps() []op {
	has := func(h *host, name string) bool {
		for _, names := range aliasesOf(h, "Busybox") {
			if strings.Contains(" "+names+" ", " "+name+" ") {
				return true
			}
		}
		return false
	}
	ensure := func(h *host) {
		if !has(h, "b/1") {
			h.ok("image", "alias", "create", "b/1", "bb", "--description", "one")
		}
	}
	verify := func(h *host) {
		for _, name := range []string{"b/1", "b/2"} {
			if has(h, name) {
				h.matches(name+",.*,one\n", "image", "alias", "list", "-f", "csv", name)
				h.ok("image", "alias", "delete", name)
			}
		}
		if got := aliasesOf(h, "Busybox"); len(got) != 1 || got[0] != "bb" {
			h.t.Errorf("aliases %q", got)
		}
	}
	return []op{
		{
			name: "image alias create", args: []string{"image", "alias", "create", "b/1", "bb", "--description", "one"}, prepare: func(*host) {}, verify: verify,
			made: func(h *host) bool { return has(h, "b/1") },
		},
		{name: "image alias rename", args: []string{"image", "alias", "rename", "b/1", "b/2"}, prepare: ensure, verify: verify},
		{name: "image alias delete", args: []string{"image", "alias", "delete", "b/1"}, prepare: ensure, verify: verify},
		{name: "image set-property", args: []string{"image", "set-property", "bb", "k", "v"}, prepare: func(*host) {}, verify: func(h *host) {
			h.ok("image", "unset-property", "bb", "k")
			verify(h)
		}},
	}
}

// deltaServers are the tests that have a remote "d" already.
var deltaServers sync.Map

// withDeltas gives the host the remote "d" for as long as its test runs: two versions of an image, and the delta between them.
func withDeltas(h *host) {
	h.t.Helper()
	if _, there := deltaServers.LoadOrStore(h.t, nil); there {
		return
	}
	dir := h.t.TempDir()
	addChanging(h.t, dir, 0, 1)
	s := serve(h.t, func() (string, error) { return dir, nil }, fixtures.ServeOptions{})
	trusted := "" // withRemote's: the last counts, and the machine may have one too
	for _, e := range h.env {
		if path, ok := strings.CutPrefix(e, "SSL_CERT_FILE="); ok {
			trusted = path
		}
	}
	certs, err := os.ReadFile(trusted)
	must(h.t, err)
	more, err := os.ReadFile(s.CertFile)
	must(h.t, err)
	certs = append(certs, more...)
	path := filepath.Join(h.dir, "certs.pem")
	must(h.t, os.WriteFile(path, certs, 0o600))
	h.env = append(h.env, "SSL_CERT_FILE="+path)
	h.run("remote", "remove", "d") // that of a test before
	h.ok("remote", "add", "d", s.URL, "--protocol=simplestreams", "--public")
}

// deltaOp pulls a new version of an image by its delta.
func deltaOp() op {
	verify := func(h *host) {
		if !aliasThere(h, "ch") {
			h.ok("image", "pull", "d:changing/1", "--alias", "ch")
		}
		h.ok("init", "ch", "from-ch")
		raw, err := os.ReadFile(filepath.Join(h.attached(), "containers/from-ch/rootfs/etc/version"))
		if err != nil || string(raw) != serials[1] {
			h.t.Errorf("version %q, %v", raw, err)
		}
		h.ok("delete", "from-ch")
		h.ok("image", "delete", "ch", "ch0")
	}
	return op{
		name: "image pull by delta", args: []string{"image", "pull", "d:changing/1", "--alias", "ch"}, verify: verify, every: 3,
		prepare: func(h *host) {
			withDeltas(h)
			h.ok("image", "pull", "d:"+h.serial("d:", serials[0]), "--alias", "ch0")
		},
		made: func(h *host) bool { return aliasThere(h, "ch") },
	}
}

// refreshOps bring an image up to date, and delete several.
func refreshOps() []op {
	// older makes m:tiny/1 the new version of an image "t", by what its record says of where it comes from.
	older := func(h *host) {
		h.ok("image", "pull", "m:tiny/0", "--alias", "t")
		im := h.stored("t")[0]
		path := filepath.Join(h.state, "storage-pools/default/.poolctl/images", im.Fingerprint+".json")
		raw, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.Replace(string(raw), `"alias": "tiny/0"`, `"alias": "tiny/1"`, 1)), 0o600)
		}
		if err != nil {
			h.t.Fatal(err)
		}
	}
	verify := func(h *host) {
		if got := strings.Join(aliasesOf(h, "Tiny"), ","); got != "t" && got != "t," && got != ",t" {
			h.t.Errorf("aliases %q", got)
		}
		h.ok("init", "t", "from-t")
		raw, err := os.ReadFile(filepath.Join(h.state, "storage-pools/default/containers/from-t/rootfs/etc/number"))
		if number := string(raw); err != nil || number != "0" && number != "1" {
			h.t.Errorf("number %q, %v", number, err)
		}
		h.ok("image", "refresh", "t")
		if got := aliasesOf(h, "Tiny"); len(got) != 1 || got[0] != "t" {
			h.t.Errorf("aliases %q after one more refresh", got)
		}
		h.ok("delete", "from-t")
		h.ok("image", "delete", "t")
	}
	return []op{
		{name: "image refresh", args: []string{"image", "refresh", "t"}, prepare: older, verify: verify},
		{name: "image refresh to one that is there", args: []string{"image", "refresh", "--all"}, prepare: func(h *host) {
			older(h)
			h.ok("image", "pull", "m:tiny/1")
		}, verify: verify},
		deltaOp(),
		{name: "image delete of several", args: []string{"image", "delete", "t0", "t1"}, prepare: func(h *host) {
			h.ok("image", "pull", "m:tiny/0", "--alias", "t0")
			h.ok("image", "pull", "m:tiny/1", "--alias", "t1")
		}, verify: func(h *host) {
			for _, name := range aliasesOf(h, "Tiny") {
				h.ok("init", name, "from-t")
				h.ok("delete", "from-t")
				h.ok("image", "delete", name)
			}
		}},
	}
}
