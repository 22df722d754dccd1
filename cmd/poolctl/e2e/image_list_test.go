package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/fixtures"
)

// catalogues are the complete real servers among the shared fixtures whose images LXD 5.0 knows (those that have only
// incus.tar.xz it does not list).
var catalogues = map[string]int{ // with the number of images
	"linuxcontainers-2023-04-24": 2883, "linuxcontainers-2023-07-03": 1722, "ubuntu-minimal-2023-11-15": 1282, "local-real": 3,
	"meigma-lxd-2026-05": 2,
}

// TestListAsLXC lists complete catalogues in every format, with every column and with filters, and compares with what the
// lxc client of LXD 5.0.2 prints of the same server: byte for byte.
func TestListAsLXC(t *testing.T) {
	if _, err := exec.LookPath("lxc"); err != nil {
		t.Fatalf("lxc is required (Debian: lxd-client; scripts/setup installs it): %v", err)
	}
	for name, images := range catalogues {
		t.Run(name, func(t *testing.T) {
			m := serve(t, func() (string, error) { return catalogueTree(t, name) }, fixtures.ServeOptions{})
			h := newHost(t).withRemote(m)
			lxc := func(args ...string) string {
				cmd := h.command(t.Context(), args...)
				cmd.Path, cmd.Args[0], cmd.Env = "/usr/bin/lxc", "lxc", append(h.env, "LXD_CONF="+h.dir)
				r := h.finish(cmd, "")
				if r.code != 0 {
					t.Fatalf("lxc: %s", r)
				}
				return r.stdout
			}
			lxc("remote", "add", "m", m.URL, "--protocol=simplestreams", "--public")
			if n := strings.Count(h.ok("image", "list", "m:", "-f", "csv"), "\n"); n != images {
				t.Errorf("%d rows, want %d", n, images)
			}
			for _, args := range lists(name) {
				args = slices.Concat([]string{"image", "list", "m:"}, args)
				if d := cmp.Diff(strings.Split(lxc(args...), "\n"), strings.Split(h.ok(args...), "\n")); d != "" {
					t.Errorf("%q (-lxc +poolctl):\n%.4000s", args, d)
				}
			}
		})
	}
}

// lists are the options to list a catalogue with: every format and column, and for one of them filters.
func lists(name string) [][]string {
	all := [][]string{{"-f", "table"}, {"-f", "csv", "-c", "LfFpdatsu"}}
	switch name {
	case "meigma-lxd-2026-05": // its lxd_requirements LXD 5.0 does not know
		return all
	case "linuxcontainers-2023-07-03":
		for _, filter := range []string{"os=[A-D].*", "type=virtual-machine", "type=squashfs", "architecture=x86_64", "rel=^2", "public=false", "0a"} {
			all = append(all, []string{"-f", "csv", filter})
		}
		all = append(all, []string{"-f", "csv", "amd64", "os=.*n.*", "type=container"})
	}
	return append(all, []string{"-f", "csv"}, []string{"-f", "json"}, []string{"-f", "yaml"}, []string{"-f", "compact"})
}

// catalogueTree is a directory to serve with the catalogue of that name. One without an index gets one.
func catalogueTree(t *testing.T, name string) (string, error) {
	t.Helper()
	shared, err := fixtures.SharedDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(shared, "fixtures/simplestreams", name)
	if _, err := os.Stat(filepath.Join(dir, "streams/v1/index.json")); err == nil {
		return dir, nil
	}
	raw, err := os.ReadFile(filepath.Join(dir, "streams/v1/images.json"))
	if err != nil {
		return "", err
	}
	var file struct{ Products map[string]any }
	if err := json.Unmarshal(raw, &file); err != nil {
		return "", err
	}
	var products []string
	for id := range file.Products {
		products = append(products, id)
	}
	entry := map[string]any{"datatype": "image-downloads", "format": "products:1.0", "path": "streams/v1/images.json", "products": products}
	index, err := json.Marshal(map[string]any{"format": "index:1.0", "index": map[string]any{"images": entry}})
	if err != nil {
		return "", err
	}
	tree := filepath.Join(t.TempDir(), "tree")
	if err := os.MkdirAll(filepath.Join(tree, "streams/v1"), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(tree, "streams/v1/images.json"), raw, 0o644); err != nil {
		return "", err
	}
	return tree, os.WriteFile(filepath.Join(tree, "streams/v1/index.json"), index, 0o644)
}
