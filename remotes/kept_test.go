package remotes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// keep opens a file to be kept, as each process does anew.
func keep(t *testing.T, s *server, dir string, f File, progress func(int64)) (*Client, io.ReadCloser) {
	t.Helper()
	c := s.client(t, Options{DownloadDir: dir})
	r, err := c.OpenWith(context.Background(), f, OpenOptions{Keep: true, Progress: progress})
	if err != nil {
		t.Fatal(err)
	}
	return c, r
}

// stalling sends n bytes of a file and then nothing more, and any part of it that
// is asked for by its first and last byte, until it is told to send all.
type stalling struct {
	b    []byte
	n    int
	well atomic.Bool
}

func (h *stalling) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if h.well.Load() || r.Header.Get("Range") != "" {
		parts(h.b)(w, r)
		return
	}
	w.Header().Set("ETag", `"t"`)
	w.Header().Set("Content-Length", strconv.Itoa(len(h.b)))
	_, _ = w.Write(h.b[:h.n])
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// keepPart downloads n bytes of a file from a server, and its end, and stops.
func keepPart(t *testing.T, s *server, dir string, f File, n, tail int) {
	t.Helper()
	_, r := keep(t, s, dir, f, nil)
	if _, err := io.ReadFull(r, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if tail < 0 { // of what is padded the end is needed but for the padding
		if n, err := readAt(t, r, make([]byte, -tail-3000), f.Size+int64(tail)); err != nil || n != -tail-3000 {
			t.Fatalf("%d bytes, %v", n, err)
		}
	}
	if tail > 0 {
		if _, err := readAt(t, r, make([]byte, tail), f.Size-int64(tail)); err != nil {
			t.Fatal(err)
		}
	}
	if st, err := os.Stat(filepath.Join(dir, f.SHA256, keptEnd)); tail != 0 && (err != nil || st.Size() != int64(max(tail, -tail))) {
		t.Errorf("the end is not kept: %v, %v", st, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestResume: a download is taken up where an earlier process left it, and only
// what is missing is asked for.
func TestResume(t *testing.T) {
	b := payload(3<<20 + 17)
	f := fileOf(b)
	for name, tc := range map[string]struct {
		kept, tail int
		answers    []http.HandlerFunc
		reqs       string
	}{
		"in the middle":          {2 << 20, 0, []http.HandlerFunc{parts(b)}, "2097152"},
		"the end is there":       {2 << 20, 100_000, []http.HandlerFunc{parts(b)}, "2097152"},
		"a padded end is there":  {2 << 20, -100_000, []http.HandlerFunc{parts(b)}, "2097152"},
		"cut again":              {100_000, 0, []http.HandlerFunc{cutAfter(b, 1<<20, `"t"`, true), parts(b)}, "100000 1148576"},
		"no ranges any more":     {100_000, 0, []http.HandlerFunc{cutAfter(b, len(b), "", false)}, "100000"},
		"away at first, then up": {2 << 20, 0, []http.HandlerFunc{status(503), parts(b)}, "2097152 2097152"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "downloads")
			keepPart(t, serve(t, (&stalling{b: b, n: tc.kept}).ServeHTTP), dir, f, tc.kept, tc.tail)
			var progress []int64
			s := flaky(t, false, tc.answers...)
			_, r := keep(t, s, dir, f, func(n int64) { progress = append(progress, n) })
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, b) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if got := ranges(t, s.requests(), false); got != tc.reqs {
				t.Errorf("asked for the bytes from %s, want %s", got, tc.reqs)
			}
			if progress[0] != int64(tc.kept) || progress[len(progress)-1] != f.Size || !slices.IsSorted(progress) {
				t.Errorf("progress: %v", progress)
			}
		})
	}
}

// TestResumeSameServer: the same server is asked with If-Range, and nothing at all
// is asked for when all is there.
func TestResumeSameServer(t *testing.T) {
	b := payload(3 << 20)
	f := fileOf(b)
	dir := t.TempDir()
	h := &stalling{b: b, n: 2 << 20}
	s := serve(t, h.ServeHTTP)
	keepPart(t, s, dir, f, 2<<20, 0)
	h.well.Store(true)
	s.requests()
	for _, want := range []string{`"t"`, ""} {
		c, r := keep(t, s, dir, f, nil)
		tail := make([]byte, 1000)
		if want == "" { // all is there
			if n, err := readAt(t, r, tail, f.Size-1000); n != 1000 || err != nil || !bytes.Equal(tail, b[len(b)-1000:]) {
				t.Errorf("the end: %d bytes, %v", n, err)
			}
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		reqs := s.requests()
		switch {
		case want == "" && len(reqs) != 0:
			t.Errorf("%d requests for what is there", len(reqs))
		case want != "" && (len(reqs) != 1 || reqs[0].Header.Get("If-Range") != want):
			t.Errorf("requests: %v", reqs)
		}
		if want == "" {
			if err := c.Forget(f); err != nil {
				t.Error(err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		}
	}
}

// TestResumeOtherTag: where the same file comes under another ETag, as behind a
// redirect to another server, the rest alone is asked for all the same.
func TestResumeOtherTag(t *testing.T) {
	b := payload(3 << 20)
	f := fileOf(b)
	dir := t.TempDir()
	h := &stalling{b: b, n: 2 << 20}
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if h.well.Load() {
			w.Header().Set("ETag", `"u"`)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
			return
		}
		h.ServeHTTP(w, r)
	})
	keepPart(t, s, dir, f, 2<<20, 0)
	h.well.Store(true)
	s.requests()
	_, r := keep(t, s, dir, f, nil)
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if reqs := s.requests(); len(reqs) != 2 || reqs[0].Header.Get("If-Range") != `"t"` || reqs[1].Header.Get("If-Range") != "" || reqs[1].Header.Get("Range") == "" {
		t.Errorf("requests: %v", reqs)
	}
}

// TestResumeDamaged: what is kept and damaged is found by the hash, forgotten, and
// nobody else is blamed for it.
func TestResumeDamaged(t *testing.T) {
	b := payload(2 << 20)
	f := fileOf(b)
	for name, damage := range map[string]func(t *testing.T, dir string){
		"data": func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, f.SHA256, keptData), 1000) },
		"end":  func(t *testing.T, dir string) { overwrite(t, filepath.Join(dir, f.SHA256, keptEnd), 10) },
		"too long": func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, f.SHA256, keptData), make([]byte, len(b)+1), 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"origin": func(t *testing.T, dir string) {
			if err := os.WriteFile(filepath.Join(dir, f.SHA256, keptOrigin), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			keepPart(t, serve(t, (&stalling{b: b, n: 1 << 20}).ServeHTTP), dir, f, 1<<20, 50_000)
			damage(t, dir)
			s := flaky(t, false, parts(b))
			c, r := keep(t, s, dir, f, nil)
			_, err := io.ReadAll(r)
			if cerr := r.Close(); cerr != nil {
				t.Error(cerr)
			}
			if name == "too long" || name == "origin" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			var bad *HashError
			if !errors.As(err, &bad) || !bad.Resumed || !c.CanRetry(err) {
				t.Fatalf("%v", err)
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
			_, r = keep(t, s, dir, f, nil)
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
				t.Errorf("begun anew: %d bytes, %v", len(got), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func overwrite(t *testing.T, path string, off int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("not what was sent"), off); err != nil {
		t.Fatal(err)
	}
}

// TestKeptByTwo: while a file comes in, another process that wants it downloads it
// without keeping it, and what is in use is not removed.
func TestKeptByTwo(t *testing.T) {
	b := payload(1 << 20)
	f := fileOf(b)
	dir := t.TempDir()
	s := flaky(t, false, parts(b))
	_, r1 := keep(t, s, dir, f, nil)
	_, r2 := keep(t, s, dir, f, nil)
	if err := RemoveKept(dir, f.SHA256); err != nil {
		t.Error(err)
	}
	if all, err := KeptDownloads(dir); err != nil || len(all) > 0 {
		t.Errorf("listed while it comes in: %v, %v", all, err)
	}
	for _, r := range []io.ReadCloser{r1, r2} {
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
	}
	for _, r := range []io.ReadCloser{r2, r1} {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
	all, err := KeptDownloads(dir)
	if err != nil || len(all) != 1 || all[0].Size != f.Size || all[0].SHA256 != f.SHA256 {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestNoPartsKept: from a server that sends no parts the end comes when all is
// there.
func TestNoPartsKept(t *testing.T) {
	b := payload(1 << 20)
	s := flaky(t, false, cutAfter(b, len(b), "", false))
	_, r := keep(t, s, t.TempDir(), fileOf(b), nil)
	tail := make([]byte, 5000)
	if n, err := readAt(t, r, tail, int64(len(b)-5000)); err != nil || n != 5000 || !bytes.Equal(tail, b[len(b)-5000:]) {
		t.Errorf("%d bytes, %v", n, err)
	}
	if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestKeepFails: where nothing can be kept that is said, and the space of the host
// is not taken for that of the pool.
func TestKeepFails(t *testing.T) {
	b := payload(1 << 20)
	s := flaky(t, false, parts(b))
	dir := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := s.client(t, Options{DownloadDir: dir}).OpenWith(context.Background(), fileOf(b), OpenOptions{Keep: true})
	var bad *KeepError
	if !errors.As(err, &bad) {
		t.Errorf("%v", err)
	}
}

// TestExpireKept removes what is old, and what is too much.
func TestExpireKept(t *testing.T) {
	dir := t.TempDir()
	add := func(name byte, size int64, age time.Duration) string {
		sha := string(bytes.Repeat([]byte{name}, 64))
		path := filepath.Join(dir, sha, keptData)
		if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, size)); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
		return sha
	}
	add('a', 10, keptAge+time.Hour)
	add('b', 10, 3*time.Hour)
	stays := []string{add('c', 3<<30, 2*time.Hour), add('d', 1<<30, time.Hour)}
	if err := os.Mkdir(filepath.Join(dir, "not ours"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := ExpireKept(dir); err != nil {
		t.Fatal(err)
	}
	all, err := KeptDownloads(dir)
	if err != nil || len(all) != 2 || all[0].SHA256 != stays[0] || all[1].SHA256 != stays[1] {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "not ours")); err != nil {
		t.Error(err)
	}
	if err := ExpireKept(filepath.Join(dir, "none")); err != nil {
		t.Error(err)
	}
}
