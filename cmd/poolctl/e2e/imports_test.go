package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

// importRule says what the packages at and below From may import of this module: only what is at or below one of May.
// The linter's depguard rules in .golangci.yml hold the same directions while the source is written; this test holds
// them for whoever runs no linter, and for the imports of build tags that are off.
type importRule struct {
	From string
	May  []string
	Why  string
}

var importRules = []importRule{
	{"poolctl/btrfs", []string{"poolctl/btrfs"}, "a leaf: it knows nothing of containers"},
	{"poolctl/loopdev", []string{"poolctl/loopdev"}, "a leaf: it knows nothing of what the file holds"},
	{"poolctl/remotes", []string{"poolctl/remotes"}, "a leaf: catalogues and downloads, no disks"},
	{"poolctl/runtime", []string{"poolctl/runtime"}, "it runs a root directory, wherever that is from"},
	{"poolctl/images", []string{"poolctl/images"}, "it works on streams and directories, not on pools"},
	{"poolctl/pool/crash", []string{"poolctl/pool/crash"}, "a leaf: every layer of pool may name its crash points"},
	{"poolctl/pool/journal", []string{"poolctl/pool/journal", "poolctl/pool/crash"}, "intents know nothing of what they are about"},
	{"poolctl/pool/state", []string{"poolctl/pool/state", "poolctl/pool/crash", "poolctl/pool/journal"}, "records and locks, no kernel work"},
	{"poolctl/pool/holders", []string{"poolctl/pool/holders"}, "mounts and processes, whoever's they are"},
	{
		"poolctl/pool/tree",
		[]string{"poolctl/pool/tree", "poolctl/pool/bytesize", "poolctl/pool/cloudinit", "poolctl/pool/crash", "poolctl/pool/journal", "poolctl/btrfs", "poolctl/images"},
		"the objects of a mounted pool know nothing of runtime, networks and the state directory",
	},
	{
		"poolctl/pool",
		[]string{"poolctl/pool", "poolctl/btrfs", "poolctl/loopdev", "poolctl/remotes", "poolctl/images", "poolctl/runtime"},
		"it composes all below, and is not called back by the command",
	},
	{
		"poolctl/fixtures",
		[]string{"poolctl/fixtures", "poolctl/btrfs", "poolctl/loopdev", "poolctl/remotes", "poolctl/images", "poolctl/runtime"},
		"the tests of pool use it, so it stays below pool",
	},
	{
		"poolctl/cmd/poolctl",
		[]string{"poolctl/cmd/poolctl", "poolctl/pool", "poolctl/btrfs", "poolctl/loopdev", "poolctl/remotes", "poolctl/images", "poolctl/runtime"},
		"production code does not carry fixtures",
	},
}

// goPackage is the part of `go list -json` that the rules are about.
type goPackage struct {
	ImportPath   string
	Imports      []string
	GoFiles      []string
	TestGoFiles  []string
	XTestGoFiles []string
}

// TestImportDirections checks the imports of every package of the module, in the normal build and in the one with crash
// points, and that every package has a rule at all.
func TestImportDirections(t *testing.T) {
	for _, tags := range []string{"", "crashpoints"} {
		packages := listPackages(t, tags)
		if len(packages) < 8 {
			t.Errorf("only %d packages found with tags %q: is this the whole module?", len(packages), tags)
		}
		for _, p := range packages {
			if len(p.GoFiles) == 0 {
				continue // only tests: they may import what they test
			}
			rule := ruleOf(p.ImportPath)
			if rule == nil {
				t.Errorf("%s: no rule says what it may import (and no new top-level package was agreed on)", p.ImportPath)
				continue
			}
			for _, imported := range p.Imports {
				if below(imported, "poolctl") && !belowAny(imported, rule.May) {
					t.Errorf("%s imports %s: %s", p.ImportPath, imported, rule.Why)
				}
			}
		}
	}
}

// TestImportRulesBite checks the matcher itself: a rule that allows everything would pass the test above.
func TestImportRulesBite(t *testing.T) {
	for _, test := range []struct {
		from, imported string
		ok             bool
	}{
		{"poolctl/btrfs", "poolctl/loopdev", false},
		{"poolctl/btrfs", "poolctl/btrfs/ioctl", true},
		{"poolctl/runtime/network", "poolctl/runtime", true},
		{"poolctl/runtime/network", "poolctl/images", false},
		{"poolctl/pool/tree", "poolctl/pool", false},
		{"poolctl/pool/tree", "poolctl/pool/state", false},
		{"poolctl/pool", "poolctl/pool/tree", true},
		{"poolctl/pool", "poolctl/fixtures", false},
		{"poolctl/cmd/poolctl", "poolctl/fixtures", false},
		{"poolctl/fixtures", "poolctl/pool", false},
	} {
		rule := ruleOf(test.from)
		if rule == nil {
			t.Fatalf("no rule for %s", test.from)
		}
		if got := belowAny(test.imported, rule.May); got != test.ok {
			t.Errorf("%s -> %s: allowed = %v, want %v", test.from, test.imported, got, test.ok)
		}
	}
}

// ruleOf returns the most specific rule for a package, or nil.
func ruleOf(path string) *importRule {
	var best *importRule
	for i := range importRules {
		r := &importRules[i]
		if below(path, r.From) && (best == nil || len(r.From) > len(best.From)) {
			best = r
		}
	}
	return best
}

// below reports whether path is at or below parent.
func below(path, parent string) bool {
	return path == parent || strings.HasPrefix(path, parent+"/")
}

// belowAny reports whether path is at or below one of parents; "poolctl/pool" itself does not allow what is below it to
// the packages below it, because their own rules come first (ruleOf takes the most specific one).
func belowAny(path string, parents []string) bool {
	for _, p := range parents {
		if below(path, p) {
			return true
		}
	}
	return false
}

// listPackages asks the go command for every package of the module.
func listPackages(t *testing.T, tags string) []goPackage {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-tags", tags, "-json=ImportPath,Imports,GoFiles,TestGoFiles,XTestGoFiles", "./...")
	cmd.Dir = moduleRoot(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot list the packages: %v\n%s", err, stderr.Bytes())
	}
	var packages []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("cannot read the package list: %v", err)
		}
		packages = append(packages, p)
	}
}
