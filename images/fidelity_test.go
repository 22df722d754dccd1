package images

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/images/compress"
	"poolctl/images/internal/testtree"
)

// packing is a way to make the root file of an image.
type packing struct {
	name    string
	command string // of a shell, with $tree and $file
	// what the format, or the program that makes it, has not
	noSockets, noXattrs, noACLs, noNanoseconds, noFarTimes bool
	// single are the types of files (S_IF...) of which further hard links may become files of their own.
	single []uint32
}

// packings are all formats in all compressions, made by the real programs.
func packings() []packing {
	const posix = "tar --format=posix --numeric-owner --xattrs '--xattrs-include=*' --acls --sparse -C $tree -c ."
	nodes := []uint32{unix.S_IFIFO, unix.S_IFCHR} // GNU tar
	var all []packing
	for _, c := range []string{"cat", "gzip -1", "xz -0", "zstd -1", "bzip2 -1", "lz4 -q", "lzma -0"} {
		all = append(all, packing{name: "tar " + c, command: posix + " | " + c + " > $file", noSockets: true, single: nodes})
	}
	all = append(all,
		packing{name: "tar not sparse", command: strings.Replace(posix, " --sparse", "", 1) + " > $file", noSockets: true, single: nodes},
		packing{name: "tar sparse 0.0", command: strings.Replace(posix, "--sparse", "--sparse-version=0.0 --sparse", 1) + " > $file", noSockets: true, single: nodes},
		packing{name: "tar sparse 0.1", command: strings.Replace(posix, "--sparse", "--sparse-version=0.1 --sparse", 1) + " > $file", noSockets: true, single: nodes},
		packing{
			name: "tar gnu", command: "tar --format=gnu --numeric-owner --sparse -C $tree -c . | gzip -1 > $file",
			noSockets: true, single: nodes, noXattrs: true, noACLs: true, noNanoseconds: true,
		},
	)
	for _, c := range []string{"gzip", "xz", "zstd", "lz4", "lzo", "lzma"} {
		all = append(all, packing{
			name: "squashfs " + c, command: "mksquashfs $tree $file -quiet -no-progress -b 32768 -comp " + c,
			noACLs: true, noNanoseconds: true, noFarTimes: true, single: []uint32{unix.S_IFLNK},
		})
	}
	return all
}

// adapt takes what the format has not from a tree.
func (p packing) adapt(tree map[string]testtree.Node) map[string]testtree.Node {
	out := map[string]testtree.Node{}
	for name, n := range tree {
		if p.noSockets && n.Mode&unix.S_IFMT == unix.S_IFSOCK {
			continue
		}
		if slices.Contains(p.single, n.Mode&unix.S_IFMT) {
			n.Same = ""
		}
		xattrs := map[string]string{}
		for key, value := range n.Xattrs {
			acl := strings.HasPrefix(key, "system.posix_acl_")
			if acl && !p.noACLs || !acl && !p.noXattrs {
				xattrs[key] = value
			}
		}
		n.Xattrs = xattrs
		sec, nsec, _ := strings.Cut(n.Mtime, ".")
		if p.noNanoseconds {
			nsec = "000000000"
		}
		if s, err := strconv.ParseInt(sec, 10, 64); err == nil && p.noFarTimes {
			sec = fmt.Sprint(uint32(s)) // what mksquashfs makes of it
		}
		n.Mtime = sec + "." + nsec
		out[name] = n
	}
	return out
}

// seeds are those of TestFidelity: the same each time, or the one that
// POOLCTL_TEST_SEED says.
func seeds(t *testing.T) []uint64 {
	t.Helper()
	text := os.Getenv("POOLCTL_TEST_SEED")
	if text == "" {
		return []uint64{1}
	}
	seed, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return []uint64{seed}
}

// TestFidelity: what is packed, of everything that a tree can hold, by the real
// programs in all formats, is there when it is unpacked.
func TestFidelity(t *testing.T) {
	testtree.NeedRoot(t)
	place := btrfsPool(t)
	for _, seed := range seeds(t) {
		tree := filepath.Join(place, fmt.Sprintf("tree%d", seed))
		if err := os.Mkdir(tree, 0o755); err != nil {
			t.Fatal(err)
		}
		testtree.Everything(t, tree, seed, 100)
		all := readTree(t, tree)
		for i, p := range packings() {
			t.Run(fmt.Sprintf("seed %d %s", seed, p.name), func(t *testing.T) {
				file := filepath.Join(t.TempDir(), "root")
				run(t, "sh", "-ec", strings.NewReplacer("$tree", tree, "$file", file).Replace(p.command))
				got, _, _ := unpackAt(t, place, fmt.Sprintf("%d-%d", seed, i), "", file)
				sameTree(t, "what came out", p.adapt(all), p.adapt(readTree(t, got)))
				sameHoles(t, tree, got)
			})
		}
	}
}

// sameHoles fails where a large file takes much more than the one that was packed.
func sameHoles(t testing.TB, want, got string) {
	t.Helper()
	compared := 0
	err := filepath.Walk(want, func(path string, info os.FileInfo, err error) error {
		if err != nil || !info.Mode().IsRegular() || info.Size() < 1<<20 {
			return err
		}
		rel, err := filepath.Rel(want, path)
		if err != nil {
			return err
		}
		var a, b unix.Stat_t
		if err := unix.Lstat(path, &a); err != nil {
			return err
		}
		if err := unix.Lstat(filepath.Join(got, rel), &b); err != nil {
			return err
		}
		if compared++; b.Blocks > a.Blocks+1<<20/512 {
			t.Errorf("%q takes %d blocks, %d before it was packed", rel, b.Blocks, a.Blocks)
		}
		return nil
	})
	if err != nil || compared == 0 {
		t.Errorf("%d files compared: %v", compared, err)
	}
}

// TestFidelityOfPacking: an archive that is made here of everything that a tree
// can hold gives the same tree here, and to GNU tar, which LXD and Incus unpack
// with.
func TestFidelityOfPacking(t *testing.T) {
	testtree.NeedRoot(t)
	place := btrfsPool(t)
	for _, seed := range seeds(t) {
		t.Logf("seed %d", seed)
		tree, cross := filepath.Join(place, fmt.Sprintf("tree%d", seed)), filepath.Join(place, fmt.Sprintf("cross%d", seed))
		run(t, "mkdir", tree, cross)
		testtree.Everything(t, tree, seed, 100)
		root, err := os.Open(tree)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "root.tar")
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		s := &Source{Metadata: &Metadata{}, Root: root}
		if err := errors.Join(s.PackRoot(t.Context(), compress.Method{Format: compress.Tar}, out), out.Close(), root.Close()); err != nil {
			t.Fatal(err)
		}
		want := packing{noSockets: true}.adapt(readTree(t, tree))
		got, _, _ := unpackAt(t, place, fmt.Sprintf("out%d", seed), "", file)
		sameTree(t, "what came out", want, readTree(t, got))
		sameHoles(t, tree, got)
		run(t, "tar", "-C", cross, "--numeric-owner", "--xattrs-include=*", "-xpf", file) // LXD's options
		sameTree(t, "what GNU tar makes of it", want, readTree(t, cross))
	}
}
