package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"

	"poolctl/fixtures"
)

// serial is the fingerprint of the version of that serial among the images of a remote, "m:", or of the pool, "".
func (h *host) serial(remote, serial string) string {
	h.t.Helper()
	var list []struct {
		Fingerprint string
		Properties  map[string]string
	}
	h.json(&list, "image", "list", remote)
	for _, im := range list {
		if im.Properties["serial"] == serial {
			return im.Fingerprint
		}
	}
	h.t.Fatalf("no image of %q has the serial %s", remote, serial)
	return ""
}

// treeSum is a checksum of all that an archive holds of a directory: names, owners, modes, times, extended attributes, links,
// content.
func treeSum(t *testing.T, dir string) string {
	t.Helper()
	return tool(t, "sh", "-ec", `tar --sort=name --xattrs '--xattrs-include=*' --acls --numeric-owner --format=posix \
		--pax-option=delete=atime,delete=ctime -C "$1" -c . | sha256sum`, "sh", dir)
}

// TestImageReuse: a new version of an image costs only what changed, and neither it nor the instances need the old one.
func TestImageReuse(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, realMirror, fixtures.ServeOptions{}))
	old, newer := h.serial("m:", "20211214_1947"), h.serial("m:", "20220731_1101")
	h.ok("image", "pull", "m:"+old, "--alias", "old")
	h.ok("init", "old", "c1")
	h.ok("image", "pull", "m:"+newer, "--alias", "new")
	h.ok("init", "new", "c2")
	h.settle()
	seen := false
	for _, o := range h.usage("--exact").Objects {
		if o.Type != "image" || o.Name != newer {
			continue
		}
		if seen = true; o.Exact.Exclusive.Data*4 > o.Exact.Referenced.Data {
			t.Errorf("%d of %d bytes of the new version are its own", o.Exact.Exclusive.Data, o.Exact.Referenced.Data)
		}
	}
	if !seen {
		t.Error("pool usage does not know the new version")
	}
	mnt := h.attached()
	places := []string{"containers/c1", "containers/c2", "images/" + newer}
	var before []string
	for _, p := range places {
		before = append(before, treeSum(t, filepath.Join(mnt, p)))
	}
	whole := func(when string) {
		t.Helper()
		h.settle()
		if out, err := exec.Command("sh", "-c", "echo 3 > /proc/sys/vm/drop_caches").CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out) // nothing is to come from memory
		}
		for i, p := range places {
			if got := treeSum(t, filepath.Join(mnt, p)); got != before[i] {
				t.Errorf("%s changed when %s was deleted", p, when)
			}
		}
	}
	h.ok("image", "delete", "old")
	whole("the old image")
	h.ok("image", "delete", "new")
	places = places[:2]
	whole("the new image")
	for _, c := range []string{"c1", "c2"} {
		works(h, c, "")
	}
	h.ok("pool", "check", "default")
}
