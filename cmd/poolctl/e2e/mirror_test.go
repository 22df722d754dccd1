package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"poolctl/fixtures"
)

// smallMirror builds, once, a mirror of the images made here: busybox (squashfs, tar and unified), Alpine, "vm", and "big",
// whose root is more than the smallest pool holds though it is small to download.
var smallMirror = sync.OnceValues(func() (string, error) {
	dir, ctx := filepath.Join(suite.dir, "mirror"), context.Background()
	shared, err := fixtures.SharedDir()
	if err != nil {
		return "", err
	}
	busybox, err := fixtures.BuildBusybox(ctx, dir)
	if err != nil {
		return "", err
	}
	alpine, err := fixtures.BuildAlpine(ctx, dir, shared)
	if err != nil {
		return "", err
	}
	big, err := buildBig(ctx, dir)
	if err != nil {
		return "", err
	}
	disk, err := buildDisk(ctx, dir)
	if err != nil {
		return "", err
	}
	images := []fixtures.Image{busybox, alpine, big, disk}
	for i := range 14 { // so many that two fingerprints begin alike
		var tree fixtures.Tree
		tree.File("etc/number", 0o644, fmt.Sprint(i))
		tiny, err := fixtures.BuildFromTree(ctx, dir, &tree, fixtures.Properties{OS: "Tiny", Release: fmt.Sprint(i)})
		if err != nil {
			return "", err
		}
		images = append(images, tiny)
	}
	return dir, fixtures.BuildMirror(ctx, dir, images...)
})

// buildDisk makes the image of a virtual machine, which is called "vm".
func buildDisk(ctx context.Context, dir string) (fixtures.Image, error) {
	var tree fixtures.Tree
	tree.Dir(0o755, ".", "etc", "sbin")
	tree.File("etc/hostname", 0o644, "on the disk\n")
	tree.File("sbin/setid", 0o4755, "x")
	return fixtures.BuildFromTree(ctx, dir, &tree, fixtures.Properties{OS: "Machine", Release: "1", Aliases: []string{"vm"}, Roots: []string{fixtures.DiskKVM}})
}

// bigRoot is the size of the root of the image "big".
const bigRoot = 160 << 20

func buildBig(ctx context.Context, dir string) (fixtures.Image, error) {
	var tree fixtures.Tree
	tree.Dir(0o755, ".", "etc", "sbin")
	noise := rand.New(rand.NewPCG(1, 2))
	for i := range 16 {
		var b strings.Builder
		for b.Len() < bigRoot/16 { // a hundredth of each block does not compress, the rest does, and quickly
			for range 1 << 10 {
				b.WriteByte(byte(noise.Uint32()))
			}
			b.WriteString(strings.Repeat("a", 127<<10))
		}
		tree.File(fmt.Sprintf("etc/big%d", i), 0o644, b.String())
	}
	return fixtures.BuildFromTree(ctx, dir, &tree, fixtures.Properties{OS: "Big", Release: "1", Aliases: []string{"big"}, Compression: "lz4"})
}

// debianMirror builds, once, a mirror of the Debian root that scripts/debian-root prepared.
var debianMirror = sync.OnceValues(func() (string, error) {
	root := os.Getenv("POOLCTL_TEST_DEBIAN")
	if root == "" {
		root = "/var/tmp/poolctl-test-debian"
	}
	if _, err := os.Stat(filepath.Join(root, "sbin/init")); err != nil {
		return "", fmt.Errorf("no Debian root to boot (scripts/debian-root makes it): %w", err)
	}
	dir, ctx := filepath.Join(suite.dir, "debian"), context.Background()
	image, err := fixtures.BuildFromRoot(ctx, dir, root, fixtures.Properties{OS: "Debian", Release: "12", Aliases: []string{"debian"}, Compression: "lz4"})
	if err != nil {
		return "", err
	}
	return dir, fixtures.BuildMirror(ctx, dir, image)
})

// realMirror is the small server of real Alpine images among the shared fixtures.
func realMirror() (string, error) {
	shared, err := fixtures.SharedDir()
	return filepath.Join(shared, "fixtures/simplestreams/local-real"), err
}

// serve serves a mirror for one test, with a request log and faults of its own.
func serve(t *testing.T, mirror func() (string, error), o fixtures.ServeOptions) *fixtures.Server {
	t.Helper()
	dir, err := mirror()
	if err != nil {
		t.Fatal(err)
	}
	s, err := fixtures.Serve(context.Background(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// downloads counts the complete downloads of files whose path ends so.
func downloads(s *fixtures.Server, suffix string) (whole int, bytes int64) {
	for _, r := range s.Requests() {
		if strings.HasSuffix(r.Path, suffix) && r.Method == http.MethodGet {
			whole++
			bytes += r.Bytes
		}
	}
	return whole, bytes
}
