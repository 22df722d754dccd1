package remotes

import (
	"context"
	"path/filepath"
	"testing"
)

// BenchmarkImagesCached lists the largest real catalogue (1.6 MB, 2883 images)
// from the cache directory, as each command does anew.
func BenchmarkImagesCached(b *testing.B) {
	dir := filepath.Join(sharedDir(b), "linuxcontainers-2023-04-24", "streams", "v1")
	s := serve(b, tree(map[string][]byte{
		"/base/streams/v1/index.json":  readFile(b, dir, "index.json"),
		"/base/streams/v1/images.json": readFile(b, dir, "images.json"),
	}))
	o := Options{CacheDir: b.TempDir()}
	if _, err := s.client(b, o).Images(context.Background()); err != nil {
		b.Fatal(err)
	}
	s.requests()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.client(b, o).Images(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	if n := len(s.requests()); n != 0 {
		b.Fatalf("%d requests though the cache is fresh", n)
	}
}
