package remotes

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// sharedDir finds the real catalogues: $POOLCTL_SHARED, or shared/ beside the
// module's directory.
func sharedDir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("POOLCTL_SHARED")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared")
	}
	dir = filepath.Join(dir, "fixtures", "simplestreams")
	if _, err := os.Stat(dir); err != nil {
		t.Fatalf("the test needs the real catalogues (set POOLCTL_SHARED): %v", err)
	}
	return dir
}

func readFile(t testing.TB, elem ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// server is an HTTPS server on the loopback that remembers what was asked.
type server struct {
	*httptest.Server
	mu   sync.Mutex
	reqs []*http.Request
}

func serve(t testing.TB, h http.HandlerFunc) *server {
	t.Helper()
	return serveProto(t, false, h)
}

// serveProto is serve with HTTP/2, or without it.
func serveProto(t testing.TB, h2 bool, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.reqs = append(s.reqs, r)
		s.mu.Unlock()
		h(w, r)
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = h2
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// requests gives what was asked since the last call.
func (s *server) requests() []*http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reqs
	s.reqs = nil
	return r
}

// notices collects what a client reports.
type notices struct {
	mu  sync.Mutex
	all []string
}

func (n *notices) add(s string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, s)
}

func (n *notices) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := n.all
	n.all = nil
	return all
}

// client makes a client of a server, with short waits.
func (s *server) client(t testing.TB, o Options) *Client {
	t.Helper()
	if o.Transport == nil {
		o.Transport = s.Client().Transport
	}
	c, err := NewClient(Remote{Name: "test", URL: s.URL + "/base"}, o)
	if err != nil {
		t.Fatal(err)
	}
	c.backoff = time.Millisecond
	c.native = "x86_64"
	return c
}

// tree serves documents by path, below /base/, with ETags.
func tree(docs map[string][]byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, ok := docs[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("ETag", etag(body))
		if r.Header.Get("If-None-Match") == etag(body) {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write(body)
	}
}

func etag(body []byte) string { return `"` + sha(body)[:16] + `"` }

// index makes an index that names products files.
func index(t testing.TB, paths ...string) []byte {
	t.Helper()
	entries := map[string]any{}
	for _, p := range paths {
		entries[p] = map[string]any{"datatype": "image-downloads", "path": p, "products": []string{"x"}}
	}
	b, err := json.Marshal(map[string]any{"format": "index:1.0", "index": entries})
	if err != nil {
		t.Fatal(err)
	}
	return b
}
