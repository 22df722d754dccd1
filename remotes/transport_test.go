package remotes

import (
	"bytes"
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestProxy runs this test binary again with a proxy in the environment: plain
// requests go to it as they are, https by a tunnel (CONNECT), and what NO_PROXY
// names directly. The file of an image comes the same way.
func TestProxy(t *testing.T) {
	if url := os.Getenv("REMOTES_TEST_PROXIED"); url != "" {
		proxied(t, url)
		return
	}
	b := payload(1000)
	docs := smallTree(t)
	docs["/base/images/a:b/rootfs.squashfs"] = b
	s := serve(t, tree(docs))
	cert := filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &proxy{to: s.Listener.Addr().String(), docs: tree(docs)}
	server := httptest.NewServer(p)
	defer server.Close()
	// The test server's certificate is for example.com; nobody of that name is asked.
	for _, c := range []struct{ name, url, none, want string }{
		{"https", "https://example.com/base", "", "CONNECT example.com:443 for poolctl/9"},
		{"http", "http://example.com/base", "", "GET http://example.com/base/streams/v1/index.json for poolctl/9"},
		{"not for this one", "https://example.com:1/base", "example.com", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p.take()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestProxy$", "-test.v")
			cmd.Env = append(os.Environ(), "REMOTES_TEST_PROXIED="+c.url, "SSL_CERT_FILE="+cert,
				"HTTPS_PROXY="+server.URL, "HTTP_PROXY="+server.URL, "NO_PROXY="+c.none, "https_proxy=", "http_proxy=", "no_proxy=")
			out, err := cmd.CombinedOutput()
			if (err == nil) != (c.none == "") {
				t.Errorf("%v: %s", err, out)
			}
			got := p.take()
			if c.want == "" && len(got) > 0 || c.want != "" && (len(got) == 0 || got[0] != c.want) {
				t.Errorf("the proxy was asked %q, want %q", got, c.want)
			}
		})
	}
}

// proxied reads a catalogue and a file.
func proxied(t *testing.T, url string) {
	c, err := NewClient(Remote{Name: "test", URL: url, InsecureHTTP: true}, Options{UserAgent: "poolctl/9"})
	if err != nil {
		t.Fatal(err)
	}
	mustFind(t, c, "x")
	r, err := c.Open(context.Background(), fileOf(payload(1000)))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, payload(1000)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// proxy is an HTTP proxy (RFC 9110, 9.3.6) that leads everything to one server.
type proxy struct {
	to   string
	docs http.HandlerFunc

	mu    sync.Mutex
	asked []string
}

func (p *proxy) take() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	all := p.asked
	p.asked = nil
	return all
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.RequestURI+" for "+r.UserAgent())
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		p.docs(w, r)
		return
	}
	up, err := new(net.Dialer).DialContext(r.Context(), "tcp", p.to)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer up.Close()
	w.WriteHeader(http.StatusOK)
	down, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer down.Close()
	go func() { _, _ = io.Copy(up, down) }() // ends with the connections
	_, _ = io.Copy(down, up)
}

// TestSilentServer: a server that takes connections and says nothing does not hold
// anybody up for ever, before and after the handshake.
func TestSilentServer(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // and the kernel goes on to take connections
	hold := make(chan struct{})
	s := serve(t, func(http.ResponseWriter, *http.Request) { <-hold })
	defer close(hold)
	for _, c := range []struct{ name, url, want string }{
		{"no handshake", "https://" + l.Addr().String(), "TLS handshake timeout"},
		{"no answer", s.URL + "/base", "timeout awaiting response headers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := newTransport("poolctl")
			if tr.TLSHandshakeTimeout <= 0 || tr.ResponseHeaderTimeout <= 0 {
				t.Fatalf("no timeouts: %+v", tr)
			}
			if c.name == "no handshake" {
				tr.TLSHandshakeTimeout /= 15
			} else {
				tr.ResponseHeaderTimeout /= 60
			}
			tr.TLSClientConfig.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs //nolint:errcheck,forcetypeassert // httptest's
			defer tr.CloseIdleConnections()
			client, err := NewClient(Remote{Name: "x", URL: c.url}, Options{Transport: tr})
			if err != nil {
				t.Fatal(err)
			}
			client.backoff = time.Millisecond
			if _, err := client.Images(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("want %q: %v", c.want, err)
			}
		})
	}
}

// TestSilentServerInAll: several tries at a server that says nothing take no longer together than one may.
func TestSilentServerInAll(t *testing.T) {
	hold := make(chan struct{})
	var asked atomic.Int32
	s := serve(t, func(http.ResponseWriter, *http.Request) {
		asked.Add(1)
		<-hold
	})
	defer close(hold)
	client, err := NewClient(Remote{Name: "x", URL: s.URL}, Options{Transport: s.Client().Transport})
	if err != nil {
		t.Fatal(err)
	}
	if client.answer > 30*time.Second {
		t.Errorf("it is waited for %s", client.answer)
	}
	client.answer = 300 * time.Millisecond
	_, err = client.Images(t.Context())
	if err == nil || !strings.Contains(err.Error(), "cannot read the catalogue of x: ") || !strings.Contains(err.Error(), errSilent.Error()) {
		t.Errorf("got %v", err)
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("it was asked %d times", n)
	}
}

// TestHugeHeaders: what a server says before its answer is bounded too.
func TestHugeHeaders(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		s := serveProto(t, h2, func(w http.ResponseWriter, _ *http.Request) {
			for i := range 64 {
				w.Header().Set(fmt.Sprintf("X-Huge-%d", i), strings.Repeat("x", 32<<10))
			}
		})
		tr := newTransport("poolctl")
		tr.TLSClientConfig.RootCAs = s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs //nolint:errcheck,forcetypeassert // httptest's
		client, err := NewClient(Remote{Name: "x", URL: s.URL + "/base"}, Options{Transport: tr})
		if err != nil {
			t.Fatal(err)
		}
		client.backoff = time.Millisecond
		if _, err := client.Images(t.Context()); err == nil || !h2 && !strings.Contains(err.Error(), "headers exceeded") {
			t.Errorf("HTTP/2 %v: %v", h2, err)
		}
		tr.CloseIdleConnections()
	}
}
