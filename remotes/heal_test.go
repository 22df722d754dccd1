package remotes

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestCacheInTheWay: what is where the cache has to be, and is none, is replaced.
func TestCacheInTheWay(t *testing.T) {
	s := serve(t, tree(smallTree(t)))
	for name, spoil := range map[string]func(dir string) error{
		"a link that leads nowhere": func(dir string) error { return os.Symlink(filepath.Join(dir, "..", "gone"), dir) },
		"a file":                    func(dir string) error { return os.WriteFile(dir, []byte("x"), 0o600) },
		"directories for files": func(dir string) error {
			if _, err := s.client(t, Options{CacheDir: dir}).Images(context.Background()); err != nil {
				return err
			}
			for _, f := range cacheFiles(t, dir) {
				if err := errors.Join(os.Remove(f), os.MkdirAll(filepath.Join(f, "x"), 0o700)); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			if err := spoil(dir); err != nil {
				t.Fatal(err)
			}
			var n notices
			mustFind(t, s.client(t, Options{CacheDir: dir, Notice: n.add}), "x")
			s.requests()
			mustFind(t, s.client(t, Options{CacheDir: dir, Notice: n.add}), "x")
			if got := methods(s.requests()); got != "" {
				t.Errorf("not cached: asked for %s", got)
			}
			if all := n.take(); len(all) > 0 {
				t.Errorf("told %q", all)
			}
		})
	}
}

// TestUnknownAuthority: who meets a certificate that nobody vouches for is told of SSL_CERT_FILE.
func TestUnknownAuthority(t *testing.T) {
	s := serve(t, tree(smallTree(t)))
	c, err := NewClient(Remote{Name: "test", URL: s.URL + "/base"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Images(context.Background())
	var hinted interface{ Hint() string }
	if !errors.As(err, &hinted) || !strings.Contains(hinted.Hint(), "SSL_CERT_FILE") || transient(err) {
		t.Errorf("%v", err)
	}
	if n := len(s.requests()); n > 0 {
		t.Errorf("%d requests", n)
	}
}

// TestAllMirrorsNamed: when no mirror gives a file the error names each, whatever is wrong with it.
func TestAllMirrorsNamed(t *testing.T) {
	b := payload(1000)
	lie := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, len(b))) }
	for name, answers := range map[string][2]http.HandlerFunc{
		"not there":   {status(404), status(404)},
		"wrong bytes": {lie, lie},
		"mixed":       {lie, status(404)},
	} {
		t.Run(name, func(t *testing.T) {
			first, second := serve(t, answers[0]), serve(t, answers[1])
			c := mirrored(t, nil, "", first, second)
			var err error
			for range 3 {
				if _, err = get(t, c, fileOf(b)); !c.CanRetry(err) {
					break
				}
			}
			if err == nil || !strings.Contains(err.Error(), first.URL) || !strings.Contains(err.Error(), second.URL) {
				t.Errorf("%v", err)
			}
		})
	}
}
