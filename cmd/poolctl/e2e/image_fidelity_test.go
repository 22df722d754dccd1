package e2e

import (
	"path/filepath"
	"regexp"
	"testing"
)

// specialTree makes, with a shell in the tree, one of everything that is easily lost.
const specialTree = `umask 022; mkdir -p sbin etc sticky setgid/sub; chmod 1777 sticky; chmod 2755 setgid; echo a > sbin/init; chmod 4755 sbin/init
cp /bin/true cap; chown 12:34 cap; ln cap 'hard link'; mkfifo -m 640 fifo; mknod null c 1 3
ln -s /etc/shadow 'symbolic link'; chown -h 7:8 'symbolic link'; chown 4000000000:4000000001 etc
truncate -s 20M hole; printf x | dd of=hole bs=1 seek=9000000 conv=notrunc status=none
: > -rf; : > '
newline'; : > 'back\slash'; : > "$(printf 'not \377 utf-8')"; : > 'ü 漢字'; : > "$(printf '%0255d' 1)"
d=.; for i in 1 2 3 4 5 6 7 8; do d=$d/$(printf '%0150d' $i); mkdir $d; echo $i > $d/file; done
find . -exec touch -h -d '2001-02-03 04:05:06' {} +`

// TestImageImportFidelity: what is packed of everything is in the image, and in an instance of it, when the files are
// imported, and still so when what was exported of it is imported again.
func TestImageImportFidelity(t *testing.T) {
	h := newHost(t).withPool()
	dir := t.TempDir()
	tool(t, "sh", "-ec", `cd "$1"; mkdir tree meta; printf 'architecture: x86_64\ncreation_date: 1\nproperties: {os: Special}\n' > meta/metadata.yaml
		tar -C meta -cJf meta.tar.xz .; cd tree; `+specialTree+`
		tar --xattrs '--xattrs-include=*' --acls --numeric-owner --format=posix -c . | zstd -q > ../root.tar.zst
		mksquashfs . ../root.squashfs -quiet -no-progress`, "sh", dir)
	want := treeSum(t, filepath.Join(dir, "tree"))
	mnt := h.attached()
	for _, root := range []string{"root.tar.zst", "root.squashfs"} {
		r := h.run("image", "import", filepath.Join(dir, "meta.tar.xz"), filepath.Join(dir, root), "--alias", root)
		fp := regexp.MustCompile(`[0-9a-f]{64}`).FindString(r.stdout + r.stderr)
		if r.code != 0 || fp == "" {
			t.Fatal(r)
		}
		if got := treeSum(t, filepath.Join(mnt, "images", fp, "rootfs")); got != want {
			t.Errorf("the image of %s is another than what was packed", root)
		}
		h.ok("init", root, "c1")
		if got := treeSum(t, filepath.Join(mnt, "containers/c1/rootfs")); got != want {
			t.Errorf("the instance of %s is another than what was packed", root)
		}
		h.ok("publish", "c1", "--alias", "again")
		h.ok("image", "delete", root)
		if got := treeSum(t, filepath.Join(mnt, "containers/c1/rootfs")); got != want {
			t.Errorf("the instance of %s is another since the image was deleted", root)
		}
		h.ok("delete", "c1")
		h.ok("init", "again", "c2")
		if got := treeSum(t, filepath.Join(mnt, "containers/c2/rootfs")); got != want {
			t.Errorf("the instance of what was published of %s is another", root)
		}
		h.ok("delete", "c2")
		h.ok("image", "delete", "again")
	}
}
