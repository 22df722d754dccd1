package remotes

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// TestRedirectedIndex: the index may come from elsewhere, but the paths in it
// are below the remote's own URL (tuna redirects its index to another folder).
func TestRedirectedIndex(t *testing.T) {
	docs := smallTree(t)
	docs["/elsewhere/meta.json"] = docs[indexURL]
	delete(docs, indexURL)
	answer := tree(docs)
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == indexURL {
			http.Redirect(w, r, "/elsewhere/meta.json", http.StatusFound)
			return
		}
		answer(w, r)
	})
	mustFind(t, s.client(t, Options{}), "x")
	if got := methods(s.requests()); got != "index.json meta.json images.json" {
		t.Errorf("asked for %s", got)
	}
}

// TestRedirects: never from https to http, not even for a remote that may be
// http; no loops.
func TestRedirects(t *testing.T) {
	var plainHits atomic.Int32
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		plainHits.Add(1)
		tree(smallTree(t))(w, r)
	}))
	defer plain.Close()
	var to atomic.Value
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		dest, _ := to.Load().(string)
		http.Redirect(w, r, dest+r.URL.Path, http.StatusFound)
	})
	for dest, want := range map[string]string{
		plain.URL:         "that is not https",
		"":                "too many redirects",
		"ftp://localhost": "that is not https",
	} {
		to.Store(dest)
		s.requests()
		_, err := s.client(t, Options{}).Images(context.Background())
		var rr *redirectError
		if !errors.As(err, &rr) || !strings.Contains(err.Error(), want) {
			t.Errorf("to %q: %v", dest, err)
		}
		if n := len(s.requests()); n > maxRedirects {
			t.Errorf("to %q: %d requests", dest, n)
		}
	}
	if plainHits.Load() != 0 {
		t.Errorf("%d plain requests were made", plainHits.Load())
	}
	// A remote that is http itself works, and may lead to https, but not back.
	r := Remote{Name: "plain", URL: plain.URL + "/base", InsecureHTTP: true}
	c, err := NewClient(r, Options{Transport: s.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	mustFind(t, c, "x")
	hop := httptest.NewServer(http.RedirectHandler(s.URL, http.StatusFound))
	defer hop.Close()
	to.Store(plain.URL)
	plainHits.Store(0)
	r.URL = hop.URL
	if c, err = NewClient(r, Options{Transport: s.Client().Transport}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Images(context.Background()); err == nil || plainHits.Load() != 0 {
		t.Errorf("http -> https -> http: %v, %d hits", err, plainHits.Load())
	}
}

// TestCertificates runs this test binary again with SSL_CERT_FILE, as the
// system's certificates are read once per process: the default transport
// honours it, and refuses the server without it.
func TestCertificates(t *testing.T) {
	if url := os.Getenv("REMOTES_TEST_URL"); url != "" {
		c, err := NewClient(Remote{Name: "test", URL: url + "/base"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		mustFind(t, c, "x")
		return
	}
	s := serve(t, tree(smallTree(t)))
	cert := filepath.Join(t.TempDir(), "cert.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := os.WriteFile(cert, block, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, with := range []bool{true, false} {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCertificates$", "-test.v")
		cmd.Env = append(os.Environ(), "REMOTES_TEST_URL="+s.URL)
		if with {
			cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+cert)
		}
		out, err := cmd.CombinedOutput()
		if (err == nil) != with {
			t.Errorf("with SSL_CERT_FILE %v: %v\n%s", with, err, out)
		}
		if !with && !strings.Contains(string(out), "certificate signed by unknown authority") {
			t.Errorf("without SSL_CERT_FILE:\n%s", out)
		}
	}
	if n := methods(s.requests()); n != "index.json images.json" {
		t.Errorf("asked for %s", n)
	}
}
