package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/fixtures"
)

// TestImageRequirements: what an image says that it needs is looked at before anything is downloaded or made, and again
// whenever an instance of it starts.
func TestImageRequirements(t *testing.T) {
	have, lack := "v2", "v1"
	if _, err := os.Stat("/sys/fs/cgroup/systemd"); err == nil {
		have, lack = lack, have
	}
	dir := t.TempDir()
	for os, required := range map[string]map[string]string{"Lacks": {"cgroup": lack}, "Nests": {"nesting": "true"}, "Has": {"cgroup": have, "secureboot": "false", "privileged": "false"}} {
		var tree fixtures.Tree
		tree.Dir(0o755, ".", "etc", "sbin")
		tree.File("etc/number", 0o644, os)
		image, err := fixtures.BuildFromTree(t.Context(), dir, &tree, fixtures.Properties{OS: os, Release: "1", Requirements: required})
		must(t, err)
		must(t, fixtures.BuildMirror(t.Context(), dir, image))
	}
	s := serve(t, func() (string, error) { return dir, nil }, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(s)
	refused := map[string]string{
		"lacks/1": `cannot create instance c1: its image says requirements.cgroup=` + lack + `: this host has cgroups`,
		"nests/1": `cannot create instance c1: its image says requirements.nesting=true: .*security.nesting`,
	}
	h.ok("image", "list", "m:")
	for ref, want := range refused {
		imageBytes(s)
		h.fails(1, want, "create", "m:"+ref, "c1")
		if sent := imageBytes(s); sent > 0 || len(h.images()) > 0 {
			t.Errorf("%s: %d bytes were loaded of an image that cannot be used", ref, sent)
		}
	}
	for ref, want := range refused {
		h.ok("image", "pull", "m:"+ref, "--alias", ref)
		h.fails(1, want, "launch", ref, "c1")
	}
	h.matches(`^\[\]\n?$`, "list", "--format", "json")
	h.ok("image", "unset-property", "nests/1", "requirements.nesting")
	h.ok("create", "nests/1", "c0")

	h.ok("create", "m:has/1", "c1")
	h.ok("snapshot", "create", "c1", "s0")
	h.ok("copy", "c1/s0", "c2")
	record := filepath.Join(h.attached(), "containers/c2/backup.yaml")
	raw, err := os.ReadFile(record)
	must(t, err)
	// As on a host with the other cgroups.
	moved := strings.ReplaceAll(string(raw), `"image.requirements.cgroup":"`+have, `"image.requirements.cgroup":"`+lack)
	if moved == string(raw) {
		t.Fatalf("the copy does not say what it needs:\n%s", raw)
	}
	must(t, os.WriteFile(record, []byte(moved), 0o400))
	h.fails(1, `cannot start c2: its image says requirements.cgroup=`+lack, "start", "c2")
}
