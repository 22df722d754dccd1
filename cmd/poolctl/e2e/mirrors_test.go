package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"poolctl/fixtures"
)

// TestMirrors pulls from a remote whose first server is dead, breaks off, or sends something else, and whose mirror is well.
func TestMirrors(t *testing.T) {
	bad, good := serve(t, smallMirror, fixtures.ServeOptions{}), serve(t, smallMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool()
	certs := filepath.Join(h.dir, "certs.pem")
	var both bytes.Buffer
	for _, s := range []*fixtures.Server{bad, good} {
		pem, err := os.ReadFile(s.CertFile)
		if err != nil {
			t.Fatal(err)
		}
		both.Write(pem)
	}
	if err := os.WriteFile(certs, both.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	h.env = append(h.env, "SSL_CERT_FILE="+certs)
	h.ok("remote", "add", "m", bad.URL, "--protocol=simplestreams", "--public")
	h.ok("remote", "add-mirror", "m", good.URL)
	for _, c := range []struct {
		name, image, path string
		fault             fixtures.Fault
	}{
		{"breaks off", "m:busybox", "rootfs.squashfs", fixtures.Truncate(100_000)},
		{"404", "m:busybox", "rootfs.squashfs", fixtures.NotFound()},
		{"wrong byte in a squashfs", "m:busybox", "rootfs.squashfs", fixtures.Corrupt(300_000)},
		{"wrong byte in the tables", "m:busybox", "rootfs.squashfs", fixtures.Corrupt(97)},
		{"wrong byte in an archive", "m:busybox/unified", "_combined.tar.gz", fixtures.Corrupt(400_000)},
		{"wrong byte in the metadata", "m:busybox", ".tar.xz", fixtures.Corrupt(60)},
		{"catalogue of NUL bytes", "m:busybox", "index.json", fixtures.Corrupt(0)},
		{"everything", "m:busybox", "", fixtures.Status(503)},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.in(t)
			image := c.image
			if image == "m:busybox/unified" {
				image = "m:" + aliasEnding(t, h.ok("image", "list", "m:", "--format", "json"), "/unified")
			}
			bad.Fault(c.path, c.fault)
			defer bad.ClearFaults()
			if c.path == "index.json" || c.path == "" {
				if err := os.RemoveAll(filepath.Join(h.state, "cache/m")); err != nil {
					t.Fatal(err)
				}
			}
			h.ok("image", "pull", image, "--alias", "x")
			h.ok("init", "x", "c")
			h.ok("delete", "c")
			h.ok("image", "delete", "x")
		})
	}
}
