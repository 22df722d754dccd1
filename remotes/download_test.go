package remotes

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// payload is a file of n random bytes.
func payload(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func fileOf(b []byte) File {
	return File{Role: RoleRootfs, FType: "squashfs", Path: "images/a:b/rootfs.squashfs", SHA256: sha(b), Size: int64(len(b))}
}

// flaky serves a file as a list of scripted answers, one per request; the last
// one repeats. Requests come one after the other.
func flaky(t testing.TB, h2 bool, answers ...http.HandlerFunc) *server {
	var n atomic.Int32
	return serveProto(t, h2, func(w http.ResponseWriter, r *http.Request) {
		h := answers[min(int(n.Add(1)), len(answers))-1]
		h(w, r)
	})
}

// cutAfter sends a file (from the asked-for byte on, if it may do ranges) and
// drops the connection after n bytes of it.
func cutAfter(b []byte, n int, tag string, ranges bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from := 0
		if v, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok && ranges {
			if ir := r.Header.Get("If-Range"); ir == "" || ir == tag {
				from, _ = strconv.Atoi(strings.TrimSuffix(v, "-"))
			}
		}
		if tag != "" {
			w.Header().Set("ETag", tag)
		}
		w.Header().Set("Content-Length", strconv.Itoa(len(b)-from))
		if from > 0 {
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(b)-1, len(b)))
			w.WriteHeader(http.StatusPartialContent)
		}
		part := b[from:]
		_, _ = w.Write(part[:min(n, len(part))])
		if n < len(part) {
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	}
}

// rangeOf sends the part of a file that is asked for, whatever If-Range says.
func rangeOf(b []byte, tag string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("If-Range")
		cutAfter(b, len(b), tag, true)(w, r)
	}
}

func whole(b []byte) http.HandlerFunc { return cutAfter(b, len(b), `"t"`, true) }

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

// download reads a file to its end or error.
func get(t *testing.T, c *Client, f File) ([]byte, error) {
	t.Helper()
	r, err := c.Open(context.Background(), f)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(r)
	if _, again := r.Read(make([]byte, 10)); again == nil || (err != nil && again.Error() != err.Error()) {
		t.Errorf("after the end Read gives %v, not %v", again, err)
	}
	if cerr := r.Close(); cerr != nil {
		t.Errorf("close: %v", cerr)
	}
	return got, err
}

// TestOpen: the file arrives, whatever happens to its connections.
func TestOpen(t *testing.T) {
	b := payload(3<<20 + 17)
	for name, tc := range map[string]struct {
		answers []http.HandlerFunc
		ranges  string // from which byte each request asks; "" = any
	}{
		"at once":             {[]http.HandlerFunc{whole(b)}, "-"},
		"cut twice":           {[]http.HandlerFunc{cutAfter(b, 100000, `"t"`, true), cutAfter(b, 5000, `"t"`, true), whole(b)}, "- 100000 105000"},
		"cut, no validator":   {[]http.HandlerFunc{cutAfter(b, 100000, "", true), whole(b)}, "- 100000"},
		"weak validator":      {[]http.HandlerFunc{cutAfter(b, 100000, `W/"t"`, true), whole(b)}, "- 100000"},
		"no ranges":           {[]http.HandlerFunc{cutAfter(b, 100000, `"t"`, false), cutAfter(b, 200000, `"t"`, false), cutAfter(b, len(b), `"t"`, false)}, "- 100000 200000"},
		"cut while skipping":  {[]http.HandlerFunc{cutAfter(b, 100000, `"t"`, false), cutAfter(b, 50, `"t"`, false), cutAfter(b, len(b), `"t"`, false)}, "- 100000 100000"},
		"other ETag, 206":     {[]http.HandlerFunc{cutAfter(b, 100000, `"old"`, true), rangeOf(b, `"new"`)}, "- 100000"},
		"other ETag":          {[]http.HandlerFunc{cutAfter(b, 100000, `"old"`, true), whole(b)}, "- 100000"},
		"busy at first":       {[]http.HandlerFunc{status(503), status(429), whole(b)}, "- - -"},
		"busy in between":     {[]http.HandlerFunc{cutAfter(b, 100000, `"t"`, true), status(502), whole(b)}, "- 100000 100000"},
		"cut before any byte": {[]http.HandlerFunc{cutAfter(b, 0, `"t"`, true), whole(b)}, "- -"},
		"cut before the last": {[]http.HandlerFunc{cutAfter(b, len(b)-1, `"t"`, true), whole(b)}, fmt.Sprintf("- %d", len(b)-1)},
		"chunked":             {[]http.HandlerFunc{func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(b) }}, "-"},
		"many cuts": {func() (h []http.HandlerFunc) {
			for range 3 {
				h = append(h, cutAfter(b, 1<<20, `"t"`, true), status(500), status(500), status(500))
			}
			return append(h, whole(b))
		}(), ""},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, HTTP/2 %v", name, h2), func(t *testing.T) {
				s := flaky(t, h2, tc.answers...)
				got, err := get(t, s.client(t, Options{}), fileOf(b))
				if err != nil || !bytes.Equal(got, b) {
					t.Fatalf("%d bytes, %v", len(got), err)
				}
				if got := ranges(t, s.requests(), h2); tc.ranges != "" && got != tc.ranges {
					t.Errorf("asked for the bytes from %s, want %s", got, tc.ranges)
				}
			})
		}
	}
}

// ranges spells from which byte on each request asked for the file.
func ranges(t *testing.T, reqs []*http.Request, h2 bool) string {
	t.Helper()
	var all []string
	for _, r := range reqs {
		if r.URL.Path != "/base/images/a:b/rootfs.squashfs" || r.Header.Get("Accept-Encoding") != "identity" || (r.ProtoMajor == 2) != h2 {
			t.Errorf("asked for %s by %s, %v", r.URL.Path, r.Proto, r.Header)
		}
		if ir := r.Header.Get("If-Range"); ir != "" && !strings.HasPrefix(ir, `"`) {
			t.Errorf("If-Range: %s", ir)
		}
		from := "-"
		if v, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
			from = strings.TrimSuffix(v, "-")
		}
		all = append(all, from)
	}
	return strings.Join(all, " ")
}

// TestOpenRefuses: what is not the file of the catalogue never ends in io.EOF.
func TestOpenRefuses(t *testing.T) {
	b := payload(1 << 20)
	f := fileOf(b)
	wrong := bytes.Clone(b)
	wrong[len(b)/2] ^= 1
	stream := func(b []byte) http.HandlerFunc { // no Content-Length
		return func(w http.ResponseWriter, _ *http.Request) {
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(b)
		}
	}
	badRange := func(h string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", h)
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(b[500:])
		}
	}
	gzipped := func(b []byte) http.HandlerFunc { // although the request says identity
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_ = http.NewResponseController(w).Flush()
			z := gzip.NewWriter(w)
			_, _ = z.Write(b)
			_ = z.Close() // the client may be gone
		}
	}
	var (
		he *HashError
		se *SizeError
		st *StatusError
	)
	first := cutAfter(b, 1000, `"t"`, true)
	for name, tc := range map[string]struct {
		answers []http.HandlerFunc
		as      any
		msg     string
		atOnce  bool // Open itself fails
		reqs    int  // requests; 0 = any
	}{
		"wrong bytes":          {[]http.HandlerFunc{whole(wrong)}, &he, "where the catalogue says", false, 1},
		"wrong after a cut":    {[]http.HandlerFunc{first, whole(wrong)}, &he, "", false, 2},
		"wrong, with a 206":    {[]http.HandlerFunc{first, rangeOf(wrong, `"other"`)}, &he, "", false, 2},
		"gzipped":              {[]http.HandlerFunc{gzipped(b)}, &se, "is longer", false, 1},
		"longer":               {[]http.HandlerFunc{whole(append(bytes.Clone(b), 1))}, &se, "is longer (1048577 bytes) than", true, 1},
		"shorter":              {[]http.HandlerFunc{whole(b[:1000])}, &se, "is shorter (1000 bytes) than", true, 1},
		"longer stream":        {[]http.HandlerFunc{stream(append(bytes.Clone(b), 1))}, &se, "is longer", false, 1},
		"shorter stream":       {[]http.HandlerFunc{stream(b[:1000])}, nil, "the connection broke at byte 1000 of 1048576: unexpected EOF", false, downloadTries},
		"empty":                {[]http.HandlerFunc{status(200)}, &se, "is shorter (0 bytes)", true, 1},
		"404":                  {[]http.HandlerFunc{status(404)}, &st, "the server answered 404 Not Found", true, 1},
		"403":                  {[]http.HandlerFunc{status(403)}, &st, "403", true, 1},
		"503 for ever":         {[]http.HandlerFunc{status(503)}, &st, "503", true, downloadTries},
		"204":                  {[]http.HandlerFunc{status(204)}, &st, "204", true, 1},
		"206 unasked":          {[]http.HandlerFunc{badRange("bytes 0-9/10")}, &st, "206", true, 1},
		"404 after a cut":      {[]http.HandlerFunc{first, status(404)}, &st, "at byte 1000 of", false, 2},
		"416 after a cut":      {[]http.HandlerFunc{first, status(416)}, &st, "", false, 2},
		"other range":          {[]http.HandlerFunc{first, badRange("bytes 500-1048575/1048576")}, nil, "bytes from 500 instead of 1000", false, downloadTries},
		"no range":             {[]http.HandlerFunc{first, badRange("")}, nil, "bad Content-Range", false, downloadTries},
		"other total":          {[]http.HandlerFunc{first, badRange("bytes 1000-2000/2001")}, &se, "2001", false, 2},
		"longer range":         {[]http.HandlerFunc{first, badRange("bytes 1000-1048575/*")}, &se, "longer", false, 2},
		"cut again at once":    {[]http.HandlerFunc{first, cutAfter(b, 0, `"t"`, true)}, nil, "broke at byte 1000", false, downloadTries},
		"always only little":   {[]http.HandlerFunc{cutAfter(b, 1000, `"t"`, true)}, nil, "broke at byte 6000", false, downloadTries},
		"no ranges, cut again": {[]http.HandlerFunc{cutAfter(b, 1000, `"t"`, false)}, nil, "broke at byte 1000", false, downloadTries},
	} {
		t.Run(name, func(t *testing.T) {
			s := flaky(t, false, tc.answers...)
			got, err := get(t, s.client(t, Options{}), f)
			if err == nil {
				t.Fatalf("%d bytes without an error", len(got))
			}
			if tc.as != nil && !errors.As(err, tc.as) {
				t.Errorf("%v is no %T", err, tc.as)
			}
			if !strings.Contains(err.Error(), tc.msg) || !strings.HasPrefix(err.Error(), "cannot download "+s.URL+"/base/images/a:b/rootfs.squashfs: ") {
				t.Errorf("%v\nwant %s", err, tc.msg)
			}
			if tc.atOnce != (got == nil) {
				t.Errorf("%d bytes were read", len(got))
			}
			if n := len(s.requests()); tc.reqs != 0 && n != tc.reqs {
				t.Errorf("%d requests, want %d", n, tc.reqs)
			}
		})
	}
}

// TestOpenBadFile: a file that cannot be verified is not asked for.
func TestOpenBadFile(t *testing.T) {
	s := flaky(t, false, status(200))
	good := fileOf([]byte("x"))
	for _, change := range []func(*File){
		func(f *File) { f.Path = "../../etc/passwd" },
		func(f *File) { f.Path = "https://evil/x" },
		func(f *File) { f.Path = "" },
		func(f *File) { f.SHA256 = "" },
		func(f *File) { f.SHA256 = strings.ToUpper(f.SHA256) },
		func(f *File) { f.Size = 0 },
		func(f *File) { f.Size = -5 },
		func(f *File) { f.Size = 1 << 60 },
	} {
		f := good
		change(&f)
		if r, err := s.client(t, Options{}).Open(context.Background(), f); err == nil {
			t.Errorf("%+v is opened", f)
			_ = r.Close()
		}
	}
	if n := len(s.requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestIdle: a server that falls silent is given up for a new connection, and a
// slow reader is no silent server.
func TestIdle(t *testing.T) {
	b := payload(1 << 20)
	silent := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = w.Write(b[:1000])
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	s := flaky(t, false, silent, whole(b))
	c := s.client(t, Options{})
	c.idle = 100 * time.Millisecond
	if got, err := get(t, c, fileOf(b)); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	s = flaky(t, false, silent)
	c = s.client(t, Options{})
	c.idle = 50 * time.Millisecond
	if _, err := get(t, c, fileOf(b)); !errors.Is(err, errIdle) {
		t.Errorf("%v", err)
	}
	s = flaky(t, false, whole(b))
	c = s.client(t, Options{})
	c.idle = 50 * time.Millisecond
	r, err := c.Open(context.Background(), fileOf(b))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	time.Sleep(200 * time.Millisecond)
	if _, err := io.Copy(io.Discard, r); err != nil || len(s.requests()) != 1 {
		t.Errorf("slow reader: %v", err)
	}
}

// TestOpenCancel: a context that ends stops the reading and the waiting.
func TestOpenCancel(t *testing.T) {
	b := payload(1 << 20)
	ctx, cancel := context.WithCancel(context.Background())
	s := flaky(t, false, cutAfter(b, 1000, `"t"`, true), status(503))
	c := s.client(t, Options{})
	c.backoff = time.Hour
	r, err := c.Open(ctx, fileOf(b))
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(50*time.Millisecond, cancel)
	start := time.Now()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if r, err = s.client(t, Options{}).Open(ctx, fileOf(b)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v %v", r, err)
	}
}

// TestOpenClosed: Read after Close says so.
func TestOpenClosed(t *testing.T) {
	b := payload(1000)
	s := flaky(t, false, whole(b))
	r, err := s.client(t, Options{}).Open(context.Background(), fileOf(b))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.Close(), r.Close()); err != nil {
		t.Error(err)
	}
	if _, err := r.Read(make([]byte, 10)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("%v", err)
	}
}

// TestRealFiles downloads every image of the small real server and checks that
// the bytes in a row have its fingerprint.
func TestRealFiles(t *testing.T) {
	root := http.FileServer(http.Dir(sharedDir(t) + "/local-real"))
	s := serve(t, func(w http.ResponseWriter, r *http.Request) { http.StripPrefix("/base", root).ServeHTTP(w, r) })
	c := s.client(t, Options{CacheDir: t.TempDir()})
	images, err := c.Images(context.Background())
	if err != nil || len(images) != 3 {
		t.Fatalf("%d images, %v", len(images), err)
	}
	for _, img := range images {
		var all []byte
		for _, f := range img.Files {
			b, err := get(t, c, f)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		if sha(all) != img.Fingerprint || int64(len(all)) != img.Size {
			t.Errorf("%s: %d bytes with %s", img.Description, len(all), sha(all))
		}
	}
}
