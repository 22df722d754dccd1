package e2e

import (
	"archive/tar"
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"poolctl/fixtures/testfs"
)

// bombs are images of which much more comes out than they are: 1.5 GiB.
func bombs(t *testing.T) []hostileImage {
	t.Helper()
	const part = 64 << 20
	meta := archive(t, false, file("metadata.yaml", goodMetadata+strings.Repeat("#", 511-len(goodMetadata))+"\n")) // one block: there is no padding
	head := func(name string) []byte {
		var b bytes.Buffer
		if err := tar.NewWriter(&b).WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: 24 * part}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	words := bytes.Repeat([]byte("it grows and grows and grows; \n\n"), part/32)
	xz := func(b []byte) []byte { return through(t, b, "xz", "-0", "-c") }
	much := bytes.Repeat(xz(words), 24)
	end := xz(make([]byte, 1024))
	dir := t.TempDir()
	pseudo := []string{dir, filepath.Join(dir, "bomb.squashfs"), "-quiet", "-no-progress", "-comp", "zstd", "-Xcompression-level", "1", "-p", "big d 755 0 0"}
	for _, c := range "abcdefghijklmnopqrstuvwx" { // the same 24 times, which is packed once
		pseudo = append(pseudo, "-p", "big/"+string(c)+" f 644 0 0 yes it grows and grows | head -c 64M")
	}
	tool(t, "mksquashfs", pseudo...)
	squashfs, err := os.ReadFile(filepath.Join(dir, "bomb.squashfs"))
	if err != nil {
		t.Fatal(err)
	}
	return []hostileImage{
		{name: "tar", root: slices.Concat(xz(head("big")), much, end)},
		{name: "squashfs", root: squashfs},
		{name: "unified", unified: slices.Concat(xz(slices.Concat(meta, head("rootfs/big"))), much, end)},
	}
}

// TestBombs pulls and imports images that would fill the pool, with the right hashes: each is given up while there is room,
// and told so; nothing of it is left, and who writes to the pool at the same time does not notice.
func TestBombs(t *testing.T) {
	h := newHost(t)
	images := bombs(t)
	for _, im := range images {
		if n := len(im.root) + len(im.unified); n > 8<<20 {
			t.Fatalf("%s has %d bytes: that is no bomb", im.name, n)
		}
	}
	h.withRemote(serveHostile(t, h, images))
	// A server that does not say how much will come, and one that never ends.
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodHead {
			return
		}
		chunk := images[2].unified
		if r.URL.Path == "/endless" {
			chunk = bytes.Repeat([]byte("endless "), 32<<10)
		}
		for {
			if _, err := w.Write(chunk); err != nil || http.NewResponseController(w).Flush() != nil || r.URL.Path != "/endless" {
				return
			}
		}
	}))
	defer srv.Close()
	certs, err := os.ReadFile(certOf(t, srv))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range h.env {
		if path, ok := strings.CutPrefix(e, "SSL_CERT_FILE="); ok {
			mirror, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			h.env[i] = "SSL_CERT_FILE=" + filepath.Join(h.dir, "certs.pem")
			if err := os.WriteFile(filepath.Join(h.dir, "certs.pem"), append(mirror, certs...), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	h.ok("pool", "create", "small", "size=400MiB")
	h.ok("image", "list", "m:") // the catalogue is cached from here on
	mnt := filepath.Join(h.state, "storage-pools/small")
	for _, args := range [][]string{
		{"image", "pull", "m:tar"},
		{"image", "pull", "m:squashfs"},
		{"image", "pull", "m:hostile/2/unified"},
		{"image", "import", srv.URL + "/bomb.tar.xz"},
		{"image", "import", srv.URL + "/endless"},
	} {
		t.Run(strings.ReplaceAll(args[1]+" "+filepath.Base(args[2]), ":", " "), func(t *testing.T) {
			h.in(t)
			end := testfs.Bystander(t, filepath.Join(mnt, "bystander"))
			defer end()
			h.leavesNothing(t, func() {
				r, peak := h.measured(args...)
				h.failed(r, 1, `(?s)error: cannot .*pool small is full: less than .* is left.*it was given up.*\nhint: poolctl pool resize small`)
				if peak > maxMemory || r.took > time.Minute {
					t.Errorf("%d MiB, %s", peak>>10, r)
				}
				for _, where := range []string{"images", ".poolctl/images", ".poolctl/staging"} {
					if left, err := os.ReadDir(filepath.Join(mnt, where)); err != nil || len(left) > 0 {
						t.Errorf("left in %s: %v, %v", where, left, err)
					}
				}
			})
			end()
			if err := os.Remove(filepath.Join(mnt, "bystander")); err != nil {
				t.Error(err)
			}
			tool(t, "btrfs", "filesystem", "sync", mnt)
			if left, err := os.ReadDir(filepath.Join(h.state, "downloads")); err != nil || len(left) > 0 {
				t.Errorf("left of the download: %v, %v", left, err)
			}
		})
	}
}
