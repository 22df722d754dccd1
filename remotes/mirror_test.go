package remotes

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// mirrored makes a client of a remote whose URL is the first server's and whose mirrors are the others.
func mirrored(t *testing.T, n *notices, dir string, all ...*server) *Client {
	t.Helper()
	pool := x509.NewCertPool()
	r := Remote{Name: "test"}
	for i, s := range all {
		pool.AddCert(s.Certificate())
		if url := s.URL + "/base"; i == 0 {
			r.URL = url
		} else {
			r.Mirrors = append(r.Mirrors, url)
		}
	}
	o := Options{CacheDir: dir, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
	if n != nil {
		o.Notice = n.add
	}
	c, err := NewClient(r, o)
	if err != nil {
		t.Fatal(err)
	}
	c.backoff, c.native, c.idle, c.grace = time.Millisecond, "x86_64", time.Second, 300*time.Millisecond
	c.pace = pace{window: 200 * time.Millisecond, least: 1 << 20}
	return c
}

func stream(t *testing.T, serial string) map[string][]byte {
	t.Helper()
	return map[string][]byte{
		"/base/streams/v1/index.json":  index(t, "streams/v1/images.json"),
		"/base/streams/v1/images.json": products(t, spec{"amd64", "x", serial, squash("a1")}),
	}
}

// TestMirrorsCatalogue: the freshest valid catalogue counts, the order decides between equals, and what is dead, hangs,
// or sends something else is left.
func TestMirrorsCatalogue(t *testing.T) {
	hang := func(w http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	nul := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 4096)) }
	old, fresh := tree(stream(t, "20240101")), tree(stream(t, "20250101"))
	for name, c := range map[string]struct {
		handlers []http.HandlerFunc
		serial   string
		asked    int    // which one is asked again
		notice   string // a part of the only one; "" for none
	}{
		"first of equals":     {[]http.HandlerFunc{fresh, fresh}, "20250101", 0, ""},
		"stale":               {[]http.HandlerFunc{old, fresh}, "20250101", 1, "is stale"},
		"stale second":        {[]http.HandlerFunc{fresh, old}, "20250101", 0, ""},
		"404":                 {[]http.HandlerFunc{status(404), old}, "20240101", 1, "404"},
		"hangs":               {[]http.HandlerFunc{hang, old}, "20240101", 1, "did not answer"},
		"NUL bytes":           {[]http.HandlerFunc{nul, old}, "20240101", 1, "no JSON object"},
		"only the last works": {[]http.HandlerFunc{status(503), nul, fresh}, "20250101", 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var all []*server
			for _, h := range c.handlers {
				all = append(all, serve(t, h))
			}
			n, dir := &notices{}, t.TempDir()
			images, err := mirrored(t, n, dir, all...).Images(context.Background())
			if err != nil || len(images) != 1 || images[0].Serial != c.serial {
				t.Fatalf("%v, %v", images, err)
			}
			got := n.take()
			if name != "only the last works" && (c.notice == "") != (len(got) == 0) || c.notice != "" && !strings.Contains(got[0], c.notice) {
				t.Errorf("notices: %q", got)
			}
			for _, s := range all {
				s.requests()
			}
			// Another process, within the expiry: from the cache, asking nobody.
			images, err = mirrored(t, n, dir, all...).Images(context.Background())
			if err != nil || images[0].Serial != c.serial || len(n.take()) > 0 {
				t.Errorf("from the cache: %v, %v", images, err)
			}
			for i, s := range all {
				if r := s.requests(); len(r) > 0 {
					t.Errorf("server %d was asked for %s", i, r[0].URL)
				}
			}
		})
	}
}

// TestMirrorsAway: when none answers, the freshest copy is used with a notice, and without one the error names each.
func TestMirrorsAway(t *testing.T) {
	a, b := serve(t, tree(stream(t, "20240101"))), serve(t, tree(stream(t, "20250101")))
	n, dir := &notices{}, t.TempDir()
	if _, err := mirrored(t, n, dir, a, b).Images(context.Background()); err != nil {
		t.Fatal(err)
	}
	n.take()
	a.Close()
	b.Close()
	c := mirrored(t, n, dir, a, b)
	if err := c.Refresh(context.Background()); err == nil || !strings.Contains(err.Error(), a.URL) || !strings.Contains(err.Error(), b.URL) {
		t.Errorf("asked: %v", err)
	}
	n.take()
	c.expiry = 1
	images, err := c.Images(context.Background())
	if got := n.take(); err != nil || images[0].Serial != "20250101" || len(got) != 1 || !strings.Contains(got[0], "no mirror answers") {
		t.Errorf("%v %v %q", images, err, got)
	}
	if _, err := mirrored(t, n, t.TempDir(), a, b).Images(context.Background()); err == nil || !strings.Contains(err.Error(), a.URL) || !strings.Contains(err.Error(), b.URL) {
		t.Errorf("without a copy: %v", err)
	}
}

// drip sends a file at some 20 KiB/s.
func drip(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"slow"`)
		rest := b
		for len(rest) > 0 && r.Context().Err() == nil {
			part := rest[:min(1024, len(rest))]
			if _, err := w.Write(part); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			rest = rest[len(part):]
			time.Sleep(50 * time.Millisecond)
		}
	}
}

// TestMirrorsDownload: a mirror that is dead, cuts, stalls, drips or has another file is left for the next where it broke,
// and the whole file arrives.
func TestMirrorsDownload(t *testing.T) {
	b := payload(300_000)
	f := fileOf(b)
	half := len(b) / 2
	stall := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "300000")
		_, _ = w.Write(b[:half])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, c := range map[string]struct {
		first http.HandlerFunc
		// resumed says that the second mirror is asked for the rest only.
		resumed bool
	}{
		"404":          {status(404), false},
		"500":          {status(500), false},
		"cut":          {cutAfter(b, half, `"t"`, true), true},
		"stall":        {stall, true},
		"no answer":    {silent, false},
		"drip":         {drip(b), true},
		"other length": {whole(b[:half]), false},
	} {
		t.Run(name, func(t *testing.T) {
			one, two := serve(t, c.first), serve(t, whole(b))
			n := &notices{}
			got, err := get(t, mirrored(t, n, "", one, two), f)
			if err != nil || !bytes.Equal(got, b) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			last := two.requests()
			if len(last) != 1 || (last[0].Header.Get("Range") != "") != c.resumed {
				t.Errorf("the second mirror got %d requests, the first with %q", len(last), last[0].Header.Get("Range"))
			}
			if last[0].Header.Get("If-Range") != "" {
				t.Error("the second mirror was asked with the first one's validator")
			}
			if len(n.take()) != 1 {
				t.Error("no notice of the change")
			}
		})
	}
}

// TestMirrorsAllSlow: when no mirror is quick the file arrives all the same.
func TestMirrorsAllSlow(t *testing.T) {
	b := payload(30_000)
	got, err := get(t, mirrored(t, nil, "", serve(t, drip(b)), serve(t, drip(b))), fileOf(b))
	if err != nil || !bytes.Equal(got, b) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// TestMirrorsNone: the error says of each mirror why it was left, and that the file is nowhere.
func TestMirrorsNone(t *testing.T) {
	one, two := serve(t, status(404)), serve(t, status(403))
	f := fileOf(payload(10))
	_, err := get(t, mirrored(t, nil, "", one, two), f)
	var status *StatusError
	if !errors.As(err, &status) || !strings.Contains(err.Error(), one.URL) || !strings.Contains(err.Error(), two.URL) {
		t.Fatal(err)
	}
	for _, s := range []*server{one, two} {
		asked := 0
		for _, r := range s.requests() {
			if strings.HasSuffix(r.URL.Path, f.Path) {
				asked++
			}
		}
		if asked != 1 {
			t.Errorf("what is not there was asked for %d times", asked)
		}
	}
}

// TestMirrorsLie: a mirror that sends other bytes of the right number is found out by the hash, and not asked again.
func TestMirrorsLie(t *testing.T) {
	b := payload(100_000)
	f := fileOf(b)
	lie := bytes.Clone(b)
	lie[77] ^= 1
	for name, servers := range map[string][]http.HandlerFunc{
		"first lies":     {whole(lie), whole(b)},
		"cut, then lies": {cutAfter(b, 50_000, `"t"`, true), whole(append(bytes.Clone(b[:60_000]), lie[:40_000]...)), whole(b)},
	} {
		t.Run(name, func(t *testing.T) {
			var all []*server
			for _, h := range servers {
				all = append(all, serve(t, h))
			}
			c := mirrored(t, nil, "", all...)
			var got []byte
			var err error
			for range len(all) + 1 {
				if got, err = get(t, c, f); err == nil || !c.CanRetry(err) {
					break
				}
			}
			if err != nil || !bytes.Equal(got, b) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		})
	}
	c := mirrored(t, nil, "", serve(t, whole(lie)), serve(t, whole(lie)))
	tries := 0
	for {
		_, err := get(t, c, f)
		if tries++; !c.CanRetry(err) {
			break
		}
	}
	if tries != 2 {
		t.Errorf("two liars were tried %d times", tries)
	}
}

// TestMirrorsOtherPath: a mirror that keeps the file elsewhere is asked for it there, by its own catalogue.
func TestMirrorsOtherPath(t *testing.T) {
	b := payload(1000)
	f := fileOf(b)
	docs := stream(t, "20240101")
	at := "images/elsewhere/rootfs.squashfs"
	list := bytes.ReplaceAll(docs["/base/streams/v1/images.json"], []byte(fp("bb")), []byte(f.SHA256))
	docs["/base/streams/v1/images.json"] = bytes.ReplaceAll(list, []byte("p/squashfs"), []byte(at))
	docs["/base/"+at] = b
	got, err := get(t, mirrored(t, nil, "", serve(t, status(404)), serve(t, tree(docs))), f)
	if err != nil || !bytes.Equal(got, b) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// keyFor makes an OpenPGP key, with a change, and its public half, armored not.
func keyFor(t *testing.T, name string, config *packet.Config, change func(*openpgp.Entity) error) (*openpgp.Entity, []byte) {
	t.Helper()
	e, err := openpgp.NewEntity(name, "", name+"@example.org", config)
	if err == nil && change != nil {
		err = change(e)
	}
	if err != nil {
		t.Fatal(err)
	}
	var public bytes.Buffer
	if err := e.Serialize(&public); err != nil {
		t.Fatal(err)
	}
	return e, public.Bytes()
}

// sign gives the text with a cleartext signature.
func sign(t *testing.T, by *openpgp.Entity, config *packet.Config, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := clearsign.Encode(&out, by.PrivateKey, config)
	if err == nil {
		_, err = w.Write(text)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestKeyring: a remote with a keyring reads signed documents only, and of them only the signed text.
func TestKeyring(t *testing.T) {
	key, public := keyFor(t, "us", nil, nil)
	stranger, _ := keyFor(t, "them", nil, nil)
	ago := func(d time.Duration) *packet.Config {
		return &packet.Config{Time: func() time.Time { return time.Now().Add(-d) }, KeyLifetimeSecs: 24 * 60 * 60}
	}
	expired, expiredPublic := keyFor(t, "yesterday", ago(48*time.Hour), nil)
	revoked, revokedPublic := keyFor(t, "lost", ago(2*time.Hour), func(e *openpgp.Entity) error {
		return e.RevokeKey(packet.KeyCompromised, "stolen", nil)
	})
	plain := stream(t, "20240101")
	idx, prod := plain["/base/streams/v1/index.json"], plain["/base/streams/v1/images.json"]
	signedWith := func(by *openpgp.Entity, config *packet.Config) map[string][]byte {
		return map[string][]byte{"/base/streams/v1/index.sjson": sign(t, by, config, idx), "/base/streams/v1/images.sjson": sign(t, by, config, prod)}
	}
	signed := func(by *openpgp.Entity) map[string][]byte { return signedWith(by, nil) }
	altered := signed(key)
	altered["/base/streams/v1/images.sjson"] = bytes.Replace(altered["/base/streams/v1/images.sjson"], []byte("20240101"), []byte("20250101"), 1)
	unsigned := map[string][]byte{"/base/streams/v1/index.sjson": idx, "/base/streams/v1/images.sjson": prod}
	around := signed(key)
	around["/base/streams/v1/images.sjson"] = append([]byte(`{"products":{}}`+"\n"), around["/base/streams/v1/images.sjson"]...)
	half := signed(key)
	half["/base/streams/v1/images.sjson"] = prod
	for name, c := range map[string]struct {
		docs map[string][]byte
		keys []byte // nil = public
		ok   bool
	}{
		"signed": {signed(key), nil, true}, "text around it": {around, nil, true}, "by another": {signed(stranger), nil, false},
		"altered": {altered, nil, false}, "unsigned": {unsigned, nil, false}, "only .json": {plain, nil, false},
		"only the index":               {half, nil, false},
		"one of two keys":              {signed(key), append(bytes.Clone(expiredPublic), public...), true},
		"an expired key":               {signed(expired), expiredPublic, false},
		"a key that has expired since": {signedWith(expired, ago(47*time.Hour)), expiredPublic, false},
		"a revoked key":                {signedWith(revoked, ago(time.Hour)), revokedPublic, false},
		"an expired signature":         {signedWith(key, &packet.Config{Time: ago(time.Hour).Time, SigLifetimeSecs: 60}), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, tree(c.docs))
			if c.keys == nil {
				c.keys = public
			}
			client, err := NewClient(Remote{Name: "test", URL: s.URL + "/base", Keyring: c.keys}, Options{Transport: s.Client().Transport})
			if err != nil {
				t.Fatal(err)
			}
			client.backoff = time.Millisecond
			images, err := client.Images(context.Background())
			if (err == nil) != c.ok || c.ok && (len(images) != 1 || images[0].Serial != "20240101") {
				t.Errorf("%d images, %v", len(images), err)
			}
		})
	}
	many := Remote{Name: "x", URL: "https://x"}
	for i := range maxMirrors {
		many.Mirrors = append(many.Mirrors, fmt.Sprintf("https://m%d", i))
	}
	if _, err := many.Normalize(); err == nil {
		t.Errorf("%d mirrors are taken", len(many.Mirrors))
	}
	for _, bad := range []string{"no key", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n"} {
		if _, err := (Remote{Name: "x", URL: "https://x", Keyring: []byte(bad)}).Normalize(); err == nil {
			t.Errorf("the keyring %q is taken", bad)
		}
	}
}

// FuzzSigned: whatever a server sends, an unsigned text is never taken for a signed one, and nothing panics.
func FuzzSigned(f *testing.F) {
	f.Add([]byte("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{}\n-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"))
	f.Add([]byte(`{"index":{}}`))
	e, err := openpgp.NewEntity("x", "", "x@example.org", nil)
	if err != nil {
		f.Fatal(err)
	}
	c := &Client{keys: openpgp.EntityList{e}}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := c.verified(b); err == nil {
			t.Error("taken")
		}
	})
}

// FuzzKeyring: a keyring that a user names may be any file.
func FuzzKeyring(f *testing.F) {
	f.Add([]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"))
	f.Add([]byte{0x99, 0, 1})
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseKeyring(b) })
}

// FuzzMeter: no sequence of reads divides by nothing.
func FuzzMeter(f *testing.F) {
	f.Add(10, int64(1))
	f.Fuzz(func(_ *testing.T, n int, d int64) {
		m := meter{pace: defaultPace}
		m.add(n, time.Duration(d))
		m.add(n, time.Duration(d))
	})
}

var _ io.ReadCloser = (*download)(nil)

// TestMirrorsDeadToldOnce: each mirror fails for each file and each try; that one is left for another is told once.
func TestMirrorsDeadToldOnce(t *testing.T) {
	only := tree(stream(t, "20250101"))
	dead := func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/streams/") {
			only(w, r)
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	n := &notices{}
	c := mirrored(t, n, t.TempDir(), serve(t, dead), serve(t, dead), serve(t, dead))
	all, err := c.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, f := range all[0].Files {
			if rc, err := c.Open(t.Context(), f); err == nil {
				_, err = io.Copy(io.Discard, rc)
				if err = errors.Join(err, rc.Close()); err == nil {
					t.Fatal("a dead mirror sent a file")
				}
			}
		}
	}
	got := n.take()
	pairs := map[string]bool{}
	for _, line := range got {
		pair, _, _ := strings.Cut(line, ": ")
		if pairs[pair] {
			t.Errorf("told again: %s", line)
		}
		pairs[pair] = true
	}
	if len(got) < 2 {
		t.Errorf("notices: %q", got)
	}
}
