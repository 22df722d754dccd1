package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// importedFiles copies the files of the mirror's Alpine into the host's directory, where the commands run.
func importedFiles(h *host) []string {
	dir, err := smallMirror()
	if err != nil {
		h.t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(h.dir, "imp"), 0o700); err != nil {
		h.t.Fatal(err)
	}
	var files []string
	for _, name := range []string{"incus.tar.xz", "rootfs.squashfs"} {
		found, err := filepath.Glob(dir + "/images/alpine/*/*/default/*/" + name)
		if err != nil || len(found) != 1 {
			h.t.Fatalf("%s: %v, %v", name, found, err)
		}
		b, err := os.ReadFile(found[0])
		if err != nil {
			h.t.Fatal(err)
		}
		path := filepath.Join(h.dir, "imp", name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			h.t.Fatal(err)
		}
		files = append(files, path)
	}
	return files
}

// aliasThere says whether an image has the alias.
func aliasThere(h *host, alias string) bool {
	for _, im := range h.images() {
		for _, a := range im.Aliases {
			if a.Name == alias {
				return true
			}
		}
	}
	return false
}

// imageFileOps are the commands that make images of files, and files of images.
func imageFileOps() []op {
	importArgs := []string{"image", "import", "imp/rootfs.squashfs", "imp/incus.tar.xz", "--alias", "imp"}
	there := func(alias string) func(h *host) bool { return func(h *host) bool { return aliasThere(h, alias) } }
	ensure := func(h *host) {
		importedFiles(h)
		if !aliasThere(h, "imp") {
			h.ok(importArgs...)
		}
	}
	verifyImage := func(alias string, args ...string) func(h *host) {
		return func(h *host) {
			if !aliasThere(h, alias) {
				h.ok(args...)
			}
			h.ok("init", alias, "from")
			works(h, "from", "")
			h.ok("delete", "from")
			h.ok("image", "delete", alias)
		}
	}
	publishArgs := []string{"publish", "c1/s0", "--alias", "pub"}
	forceArgs := []string{"publish", "c1", "--alias", "pub", "--force", "--format", "unified"}
	published := func(args []string) func(h *host) {
		return func(h *host) {
			verifyImage("pub", args...)(h)
			works(h, "c1", `^new\n$`)
			h.ok("delete", "c1")
		}
	}
	return []op{
		{name: "image import", args: importArgs, prepare: func(h *host) { importedFiles(h) }, verify: verifyImage("imp", importArgs...), made: there("imp")},
		{name: "image import --reuse", args: append(importArgs[:len(importArgs):len(importArgs)], "--alias", "bb2", "--reuse"), prepare: func(h *host) {
			importedFiles(h)
			h.ok("image", "pull", "m:tiny/0", "--alias", "imp")
			h.ok("image", "alias", "create", "bb2", "bb")
		}, verify: verifyReuse},
		{name: "publish", args: publishArgs, prepare: ensure1, verify: published(publishArgs), made: there("pub")},
		{name: "publish --force", args: forceArgs, prepare: func(h *host) { ensure1(h); h.ok("start", "c1") }, verify: published(forceArgs)},
		{
			name: "image export", args: []string{"image", "export", "imp", "out"}, prepare: func(h *host) {
				ensure(h)
				if err := os.MkdirAll(h.dir+"/out", 0o700); err != nil {
					h.t.Fatal(err)
				}
			},
			verify: verifyExport, made: func(h *host) bool { return len(exportedNames(h)) > 0 },
		},
		{
			name: "image export --force", args: []string{"image", "export", "imp", "out", "--force"}, prepare: func(h *host) {
				ensure(h)
				must(h.t, os.MkdirAll(h.dir+"/out", 0o700))
				for _, name := range forcedNames(h) {
					must(h.t, os.WriteFile(h.dir+"/out/"+name, []byte("old"), 0o600))
				}
			},
			verify: func(h *host) {
				olds := 0
				for _, name := range forcedNames(h) {
					if b, err := os.ReadFile(h.dir + "/out/" + name); err == nil && string(b) == "old" {
						olds++
						must(h.t, os.Remove(h.dir+"/out/"+name))
					}
				}
				if left := exportedNames(h); olds == 1 || olds == 2 && len(left) > 0 {
					h.t.Errorf("%d of 2 files are the old ones, and there are %q", olds, left)
				}
				verifyExport(h)
			},
		},
		{
			name: "image publish-mirror", args: []string{"image", "publish-mirror", "tree", "imp", "bb"}, prepare: ensure,
			verify: func(h *host) {
				checkTree(h.t, h.dir+"/tree")
				h.ok("image", "publish-mirror", "tree", "imp", "bb")
				checkPublished(h.t, h.dir+"/tree", 2)
				h.ok("image", "publish-mirror", "tree", "bb", "--keep", "1")
				checkPublished(h.t, h.dir+"/tree", 2)
				if err := os.RemoveAll(h.dir + "/tree"); err != nil {
					h.t.Error(err)
				}
				h.ok("image", "delete", "imp")
			},
		},
	}
}

// verifyReuse checks that both aliases are where they were, or both moved to the imported image and no other has any.
func verifyReuse(h *host) {
	got := strings.Join(append(append(aliasesOf(h, "Alpine"), aliasesOf(h, "Tiny")...), aliasesOf(h, "Busybox")...), ",")
	if got != "imp,bb bb2" && got != "bb2 imp,bb" {
		h.t.Errorf("aliases %q", got)
	}
	h.ok("init", "imp", "from")
	h.ok("init", "bb2", "from2")
	h.ok("delete", "from", "from2")
	h.ok("image", "delete", "imp")
	if aliasThere(h, "bb2") {
		h.ok("image", "alias", "delete", "bb2")
	}
}

// checkPublished checks a tree of so many products, in which nothing else is.
func checkPublished(t *testing.T, tree string, products int) {
	t.Helper()
	found := checkTree(t, tree)
	if len(found) != products {
		t.Errorf("products: %v", found)
	}
	versions, _ := filepath.Glob(tree + "/images/*/*/*/*/*")
	own, _ := filepath.Glob(tree + "/.poolctl/*")
	if len(versions) != products || !slices.Equal(own, []string{tree + "/.poolctl/lock"}) {
		t.Errorf("in the tree: %v, %v", versions, own)
	}
}

// forcedNames are the names of what `image export imp` writes.
func forcedNames(h *host) []string {
	h.t.Helper()
	fp := h.stored("imp")[0].Fingerprint
	return []string{fp + ".squashfs", "meta-" + fp + ".tar.xz"}
}

func exportedNames(h *host) []string {
	entries, err := os.ReadDir(h.dir + "/out")
	if err != nil {
		h.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// verifyExport checks that there is nothing, or both files whole.
func verifyExport(h *host) {
	switch names := exportedNames(h); len(names) {
	case 0:
	case 2:
		for i, want := range []string{"rootfs.squashfs", "incus.tar.xz"} {
			if sumOf(h.t, h.dir+"/out/"+names[i]) != sumOf(h.t, h.dir+"/imp/"+want) {
				h.t.Errorf("%s is not %s", names[i], want)
			}
		}
	default:
		h.t.Errorf("left by the export: %v", names)
	}
	if err := os.RemoveAll(h.dir + "/out"); err != nil {
		h.t.Fatal(err)
	}
	h.ok("image", "delete", "imp")
}
