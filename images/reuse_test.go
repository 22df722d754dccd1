package images

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/images/internal/testtree"
)

// debianRoot is the Debian root that scripts/debian-root prepared.
func debianRoot(t testing.TB) string {
	t.Helper()
	root := os.Getenv("POOLCTL_TEST_DEBIAN")
	if root == "" {
		root = "/var/tmp/poolctl-test-debian"
	}
	if _, err := os.Stat(filepath.Join(root, "sbin/init")); err != nil {
		t.Fatalf("no Debian root (scripts/debian-root makes it): %v", err)
	}
	return root
}

// used is how many bytes a file system has given out, once all is written.
func used(t testing.TB, place string) int64 {
	t.Helper()
	f, err := os.Open(place)
	if err != nil {
		t.Fatal(err)
	}
	var fs unix.Statfs_t
	err = errors.Join(unix.Syncfs(int(f.Fd())), unix.Fstatfs(int(f.Fd()), &fs), f.Close())
	if err != nil {
		t.Fatal(err)
	}
	return int64(fs.Blocks-fs.Bfree) * fs.Bsize
}

// unpackAt unpacks a root file beside others, with one of them as the base ("" for
// none), and gives the tree and how many bytes it took.
func unpackAt(t testing.TB, place, name, base, root string) (dir string, res Result, took int64) {
	t.Helper()
	meta, _ := splitFiles(t)
	dir = volume(t, place, name)
	req := Request{Metadata: bytesPart("meta", meta, nil), Rootfs: filePart(root), Dir: dir}
	if base != "" {
		req.Base = func(m *Metadata) string {
			if m == nil {
				t.Error("the base is chosen without the metadata")
			}
			return filepath.Join(place, base)
		}
	}
	before := used(t, place)
	res, err := Unpack(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, rootfsDir), res, used(t, place) - before
}

// sameTree fails where two trees differ in anything, naming the first few.
func sameTree(t testing.TB, what string, want, got map[string]testtree.Node) {
	t.Helper()
	names := slices.Collect(maps.Keys(want))
	for name := range got {
		if _, ok := want[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	wrong := 0
	for _, name := range names {
		diff := cmp.Diff(want[name], got[name])
		if diff == "" {
			continue
		}
		if wrong++; wrong > 10 {
			t.Errorf("%s: and more", what)
			return
		}
		t.Errorf("%s: %.100q of %d bytes: want (-), got (+):\n%.1500s", what, name, len(name), diff)
	}
}

func readTree(t testing.TB, dir string) map[string]testtree.Node {
	t.Helper()
	return testtree.Read(t, dir, testtree.Options{})
}

// TestReuseReal unpacks the newer of two real versions of an image over the older.
func TestReuseReal(t *testing.T) {
	server, _ := oracle(t)
	place := btrfsPool(t)
	file := func(version string) string {
		return filepath.Join(server, "images/alpinelinux/3.8/amd64/default", version, "rootfs.squashfs")
	}
	_, _, _ = unpackAt(t, place, "old", "", file("20211214_1947"))
	fresh, _, full := unpackAt(t, place, "fresh", "", file("20220731_1101"))
	want := readTree(t, fresh)
	got, res, took := unpackAt(t, place, "new", "old", file("20220731_1101"))
	sameTree(t, "the new version", want, readTree(t, got))
	t.Logf("the new version took %d of %d bytes, sharing %d", took, full, res.Shared)
	if took > full/2 {
		t.Errorf("the new version took %d bytes, afresh it takes %d", took, full)
	}
	got, res, took = unpackAt(t, place, "same", "fresh", file("20220731_1101"))
	sameTree(t, "the same version", want, readTree(t, got))
	t.Logf("the same version took %d of %d bytes, sharing %d", took, full, res.Shared)
	if took > full/5 {
		t.Errorf("the same version took %d bytes, afresh it takes %d", took, full)
	}
}

// TestReuseDebian: of a Debian in which one file in a hundred is another, a new
// version costs less than a twentieth: counted as quotas do, each extent and each
// tree block once.
func TestReuseDebian(t *testing.T) {
	place, work := btrfsPool(t), t.TempDir()
	run(t, "btrfs", "quota", "enable", place)
	squash := func(tree, name string) string {
		file := filepath.Join(work, name)
		run(t, "mksquashfs", tree, file, "-quiet", "-no-progress", "-comp", "lz4")
		return file
	}
	old, _, _ := unpackAt(t, place, "old", "", squash(debianRoot(t), "old"))
	run(t, "btrfs", "-q", "subvolume", "snapshot", filepath.Dir(old), place+"/changed")
	changed := filepath.Join(place, "changed", rootfsDir)
	changeOneIn(t, changed, 100)
	testtree.WholeSeconds(t, changed)
	file := squash(changed, "new")
	got, res, took := unpackAt(t, place, "new", "old", file)
	want := readTree(t, changed)
	sameTree(t, "the new version", want, readTree(t, got))
	run(t, "btrfs", "quota", "rescan", "-w", place)
	own, all := qgroup(t, filepath.Dir(got))
	t.Logf("of %d bytes the new version has %d of its own, and shares %d bytes of content; the pool has %d less", all, own, res.Shared, took)
	if own > all/20 {
		t.Errorf("%d of %d bytes are the new version's own", own, all)
	}
	run(t, "btrfs", "-q", "subvolume", "delete", "--commit-after", place+"/old", place+"/changed")
	run(t, "btrfs", "subvolume", "sync", place)
	run(t, "sh", "-c", "echo 3 > /proc/sys/vm/drop_caches") // nothing is to come from memory
	sameTree(t, "the new version after the old one was deleted", want, readTree(t, got))
}

// changeOneIn changes one file in n, in the middle.
func changeOneIn(t testing.TB, dir string, n int) {
	t.Helper()
	i := 0
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
			return err
		}
		if i++; i%n != 0 {
			return nil
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte("another version"), info.Size()/2)
		return errors.Join(err, f.Close())
	})
	if err != nil || i < 1000 {
		t.Fatalf("%d files: %v", i, err)
	}
}

// qgroup says what the quotas count for a subvolume: alone its, and all, in bytes.
func qgroup(t testing.TB, dir string) (own, all int64) {
	t.Helper()
	out, err := exec.Command("btrfs", "qgroup", "show", "--raw", "-f", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	var id string
	if _, err := fmt.Sscan(lines[len(lines)-1], &id, &all, &own); err != nil || !strings.HasPrefix(id, "0/") {
		t.Fatalf("%v\n%s", err, out)
	}
	return own, all
}

// TestReuseRandom: whatever changed from one version to the next, the new one is
// what was packed, the old one stays as it was, and neither needs the other.
func TestReuseRandom(t *testing.T) {
	testtree.NeedRoot(t)
	for i, tc := range []struct{ name, prepare, pack string }{
		{"squashfs", "", "mksquashfs $tree $file -quiet -no-progress -comp zstd -b 4096"},
		{"squashfs large blocks", "", "mksquashfs $tree $file -quiet -no-progress -comp lz4 -b 1M"},
		{"tar", "", "tar --xattrs --xattrs-include=* --sparse -C $tree -cf $file ."},
		{"compressed base", "mount -o remount,compress-force=zstd $place", "mksquashfs $tree $file -quiet -no-progress -comp zstd -b 65536"},
		{"nodatacow base", "chattr +C $old", "mksquashfs $tree $file -quiet -no-progress -comp lz4 -b 4096"},
		{"base elsewhere", "mount -t tmpfs none $old", "tar --xattrs --xattrs-include=* -C $tree -cf $file ."},
	} {
		t.Run(tc.name, func(t *testing.T) {
			place, work := btrfsPool(t), t.TempDir()
			run(t, "btrfs", "-q", "subvolume", "create", place+"/source")
			tree := place + "/source/tree"
			old := place + "/old"
			run(t, "mkdir", tree, old)
			sh := func(script string) {
				run(t, "sh", "-ec", strings.NewReplacer("$tree", tree, "$old", old, "$place", place, "$file", work+"/file").Replace(script))
			}
			sh(tc.prepare)
			if tc.name == "base elsewhere" {
				t.Cleanup(func() { run(t, "umount", old) })
			}
			seed := uint64(100 + i)
			t.Logf("seed %d", seed)
			testtree.Random(t, tree, seed, 200, 32<<10)
			run(t, "cp", "-a", "--reflink=never", tree, filepath.Join(old, rootfsDir))
			sh("sync -f $old; mount -o remount,compress=no $place")
			base := readTree(t, old)
			testtree.Mutate(t, tree, seed)
			testtree.WholeSeconds(t, tree)
			sh(tc.pack)
			want := readTree(t, tree)
			for name := range want { // tar has none
				if want[name].Mode&unix.S_IFMT == unix.S_IFSOCK && strings.HasPrefix(tc.pack, "tar") {
					delete(want, name)
				}
			}
			got, res, _ := unpackAt(t, place, "new", "old", work+"/file")
			sameTree(t, "the new version", want, readTree(t, got))
			sameTree(t, "the old version", base, readTree(t, old))
			if none := strings.HasPrefix(tc.prepare, "chattr") || strings.HasPrefix(tc.prepare, "mount -t"); none != (res.Shared == 0) {
				t.Errorf("%d bytes are shared", res.Shared)
			}
			t.Logf("shared %d bytes", res.Shared)
		})
	}
}

// TestReuseBaseDeleted: a base that is deleted while it is used, or is not there, is
// as none.
func TestReuseBaseDeleted(t *testing.T) {
	server, _ := oracle(t)
	place := btrfsPool(t)
	root := filepath.Join(server, "images/alpinelinux/3.8/amd64/default/20220731_1101/rootfs.squashfs")
	fresh, _, _ := unpackAt(t, place, "fresh", "", root)
	want := readTree(t, fresh)
	got, res, _ := unpackAt(t, place, "none", "nothing", root)
	sameTree(t, "without a base", want, readTree(t, got))
	if res.Shared != 0 {
		t.Errorf("%d bytes are shared with nothing", res.Shared)
	}
	meta, _ := splitFiles(t)
	dir := volume(t, place, "new")
	deleted := false
	req := Request{Metadata: bytesPart("meta", meta, nil), Rootfs: filePart(root), Dir: dir}
	req.Base = func(*Metadata) string { return filepath.Join(place, "fresh") }
	req.Progress = func(p Progress) {
		if p.Name == req.Rootfs.Name && !deleted {
			deleted = true
			run(t, "btrfs", "-q", "subvolume", "delete", filepath.Join(place, "fresh"))
		}
	}
	res, err := Unpack(t.Context(), req)
	if err != nil || !deleted {
		t.Fatalf("deleted %v: %v", deleted, err)
	}
	t.Logf("shared %d bytes", res.Shared)
	sameTree(t, "with a base that is deleted", want, readTree(t, filepath.Join(dir, rootfsDir)))
}
