package remotes

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	indexURL    = "/base/streams/v1/index.json"
	productsURL = "/base/streams/v1/images.json"
)

// smallTree is a server with one image, found as "x".
func smallTree(t testing.TB) map[string][]byte {
	t.Helper()
	return map[string][]byte{
		indexURL:    index(t, "streams/v1/images.json"),
		productsURL: products(t, spec{"amd64", "x", "20240101", squash("a1")}),
	}
}

func mustFind(t *testing.T, c *Client, ref string) {
	t.Helper()
	if _, err := c.Find(context.Background(), ref, Want{}); err != nil {
		t.Fatal(err)
	}
}

func methods(reqs []*http.Request) string {
	var s []string
	for _, r := range reqs {
		p := filepath.Base(r.URL.Path)
		if r.Header.Get("If-None-Match") != "" {
			p += "?"
		}
		s = append(s, p)
	}
	return strings.Join(s, " ")
}

// TestCache: fresh copies serve without a request, expired ones are confirmed
// by ETag, changed ones fetched, and damaged files healed.
func TestCache(t *testing.T) {
	docs := smallTree(t)
	s := serve(t, tree(docs))
	dir := filepath.Join(t.TempDir(), "cache", "test")
	var n notices
	o := Options{CacheDir: dir, UserAgent: "poolctl/9", Notice: n.add}
	expect := func(want string) {
		t.Helper()
		reqs := s.requests()
		if got := methods(reqs); got != want {
			t.Errorf("asked for %q, want %q", got, want)
		}
		for _, r := range reqs {
			if r.UserAgent() != "poolctl/9" || r.Method != http.MethodGet {
				t.Errorf("%s by %q", r.Method, r.UserAgent())
			}
		}
		if all := n.take(); len(all) > 0 {
			t.Errorf("notices %q", all)
		}
	}
	c := s.client(t, o)
	mustFind(t, c, "x")
	expect("index.json images.json")
	mustFind(t, c, "x")
	mustFind(t, s.client(t, o), "x")
	expect("")
	if err := c.Refresh(context.Background()); err != nil {
		t.Fatal(err)
	}
	expect("index.json? images.json?")
	age(t, dir, 2*time.Hour)
	mustFind(t, s.client(t, o), "x")
	expect("index.json? images.json?")
	mustFind(t, s.client(t, o), "x") // confirmed: fresh again
	expect("")
	age(t, dir, -2*time.Hour) // the clock was set back
	mustFind(t, s.client(t, o), "x")
	expect("index.json? images.json?")
	age(t, dir, 2*time.Hour)
	docs[productsURL] = products(t, spec{"amd64", "y", "20240101", squash("a1")})
	mustFind(t, s.client(t, o), "y")
	expect("index.json? images.json?")

	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { b[len(b)-5] ^= 1; return b },
		func(b []byte) []byte { return b[:len(b)/2] },
		func(b []byte) []byte { return append(b, 0) },
		func([]byte) []byte { return nil },
		func(b []byte) []byte { return make([]byte, len(b)) },
		func(b []byte) []byte { return bytes.Replace(b, []byte(`"version":1`), []byte(`"version":7`), 1) },
		func(b []byte) []byte { return bytes.Replace(b, []byte("https:"), []byte("httpx:"), 1) },
	} {
		rewrite(t, dir, damage)
		mustFind(t, s.client(t, o), "y")
		expect("index.json images.json")
		mustFind(t, s.client(t, o), "y")
		expect("")
	}
}

// age moves the cached files' times into the past.
func age(t *testing.T, dir string, d time.Duration) {
	t.Helper()
	files := cacheFiles(t, dir)
	if len(files) != 2 {
		t.Fatalf("cached: %q", files)
	}
	for _, f := range files {
		if err := os.Chtimes(f, time.Now().Add(-d), time.Now().Add(-d)); err != nil {
			t.Fatal(err)
		}
	}
}

func rewrite(t *testing.T, dir string, change func([]byte) []byte) {
	t.Helper()
	for _, f := range cacheFiles(t, dir) {
		if err := os.WriteFile(f, change(readFile(t, f)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func cacheFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestStale: when the mirror is away or answers garbage, the copy serves, with
// a notice, and is kept; without one there is a clear error.
func TestStale(t *testing.T) {
	docs := smallTree(t)
	answer := tree(docs)
	var broken atomic.Pointer[http.HandlerFunc]
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if h := broken.Load(); h != nil {
			(*h)(w, r)
			return
		}
		answer(w, r)
	})
	dir := t.TempDir()
	var n notices
	o := Options{CacheDir: dir, Notice: n.add}
	mustFind(t, s.client(t, o), "x")
	for name, tc := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"nul":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 5000)) }, "begins with"},
		"html":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>portal")) }, "<html>portal"},
		"cut json":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(docs[indexURL][:20]) }, "broken JSON"},
		"not found": {http.NotFound, "404 Not Found"},
		"busy":      {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "503 Service Unavailable"},
		"reset":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "closed the connection without an answer"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "999")
			_, _ = w.Write([]byte("{"))
		}, "the connection was cut after 1 bytes"},
		"huge":   {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Length", "99999999999") }, "larger than 24 MiB"},
		"silent": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "the server does not answer"},
		"304":    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			age(t, dir, 2*time.Hour)
			broken.Store(&tc.h)
			defer broken.Store(nil)
			s.requests()
			c := s.client(t, o)
			if name == "silent" {
				c.idle = 200 * time.Millisecond
			}
			mustFind(t, c, "x")
			all := n.take()
			reqs := len(s.requests())
			if tc.want == "" && (len(all) != 0 || reqs != 2) {
				t.Errorf("confirmed: notices %q, %d requests", all, reqs)
			}
			if tc.want != "" && (len(all) != 1 || !strings.Contains(all[0], tc.want) || !strings.Contains(all[0], "using the copy of test's catalogue from ")) {
				t.Errorf("notices %q, want %s", all, tc.want)
			}
			if name == "silent" { // without a copy, it is waited for
				return
			}
			if tc.want != "" && reqs > 2 { // net/http repeats a request on a dead connection itself
				t.Errorf("%d requests though there is a copy", reqs)
			}
			_, err := s.client(t, Options{}).Images(context.Background())
			want := tc.want
			if want == "" {
				want = "304 Not Modified"
			}
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "cannot read the catalogue of test: ") {
				t.Errorf("without a copy: %v", err)
			}
		})
	}
	s.requests()
	mustFind(t, s.client(t, Options{}), "x")
	age(t, dir, 2*time.Hour)
	s.Close()
	mustFind(t, s.client(t, o), "x")
	if all := n.take(); len(all) != 1 || !strings.Contains(all[0], "connection refused") {
		t.Errorf("notices %q", all)
	}
}

// TestRetry: what may pass is tried again when there is no copy.
func TestRetry(t *testing.T) {
	answer := tree(smallTree(t))
	var fails atomic.Int32
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if fails.Add(-1) >= 0 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		answer(w, r)
	})
	fails.Store(2)
	mustFind(t, s.client(t, Options{}), "x")
	fails.Store(100)
	_, err := s.client(t, Options{}).Images(context.Background())
	var se *StatusError
	if !errors.As(err, &se) || se.Code != http.StatusBadGateway || fails.Load() != 97 {
		t.Errorf("%v after %d tries", err, 100-fails.Load())
	}
}

// TestBombs: a document that unpacks to too much is refused at the limit.
func TestBombs(t *testing.T) {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	chunk := bytes.Repeat([]byte(" "), 1<<20)
	for range 65 {
		if _, err := z.Write(chunk); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			t.Error("gzip is not offered")
		}
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	})
	if _, err := s.client(t, Options{}).Images(context.Background()); !errors.Is(err, errTooLarge) || len(s.requests()) != 1 {
		t.Errorf("%d bytes that unpack to 65 MiB: %v", packed.Len(), err)
	}
}

// TestGzip: a compressed catalogue is read.
func TestGzip(t *testing.T) {
	answer := tree(smallTree(t))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		answer(rec, r)
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		_, _ = z.Write(rec.Body.Bytes())
		_ = z.Close()
	})
	mustFind(t, s.client(t, Options{}), "x")
}

// TestCacheUnwritable: a cache that cannot be written costs a notice only.
func TestCacheUnwritable(t *testing.T) {
	s := serve(t, tree(smallTree(t)))
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var n notices
	mustFind(t, s.client(t, Options{CacheDir: filepath.Join(file, "x"), Notice: n.add}), "x")
	if all := n.take(); len(all) != 2 || !strings.Contains(all[0], "cannot cache "+s.URL) {
		t.Errorf("notices %q", all)
	}
}

// TestCacheLeftovers: what killed writers left goes; what is young or foreign
// stays.
func TestCacheLeftovers(t *testing.T) {
	s := serve(t, tree(smallTree(t)))
	dir := t.TempDir()
	for name, days := range map[string]int{".a.cache123": 1, ".b.cache123": 0, "old.cache": 100, "young.cache": 10, "foreign": 100} {
		p := filepath.Join(dir, name)
		when := time.Now().Add(-time.Duration(days) * 24 * time.Hour)
		if err := errors.Join(os.WriteFile(p, nil, 0o600), os.Chtimes(p, when, when)); err != nil {
			t.Fatal(err)
		}
	}
	mustFind(t, s.client(t, Options{CacheDir: dir}), "x")
	for name, there := range map[string]bool{".a.cache123": false, ".b.cache123": true, "old.cache": false, "young.cache": true, "foreign": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCancel: a cancelled context ends the wait at once, and no stale copy
// hides that.
func TestCancel(t *testing.T) {
	answer := tree(smallTree(t))
	var hang atomic.Bool
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if hang.Load() {
			<-r.Context().Done()
			return
		}
		answer(w, r)
	})
	dir := t.TempDir()
	mustFind(t, s.client(t, Options{CacheDir: dir}), "x")
	age(t, dir, 2*time.Hour)
	hang.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := s.client(t, Options{CacheDir: dir}).Images(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// TestConcurrent: callers at the same time share one load, and processes at the
// same time do not harm the cache.
func TestConcurrent(t *testing.T) {
	s := serve(t, tree(smallTree(t)))
	dir := t.TempDir()
	shared := s.client(t, Options{CacheDir: dir})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := shared.Find(context.Background(), "x", Want{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := methods(s.requests()); got != "index.json images.json" {
		t.Errorf("asked for %s", got)
	}
	for range 8 {
		c := s.client(t, Options{CacheDir: dir})
		wg.Go(func() {
			for range 5 {
				if _, err := c.Find(context.Background(), "x", Want{}); err != nil {
					t.Error(err)
				}
				if err := c.Refresh(context.Background()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if files := cacheFiles(t, dir); len(files) != 2 {
		t.Errorf("cached: %q", files)
	}
}
