package remotes

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// parts serves a file with ranges by net/http, and an ETag.
func parts(b []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"t"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
	}
}

// openAhead opens a file, reads 100 bytes of it and then its end.
func openAhead(t *testing.T, c *Client, f File, tail int) (io.ReadCloser, []byte, error) {
	t.Helper()
	r, err := c.Open(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, tail)
	n, err := readAt(t, r, got, f.Size-int64(tail))
	return r, got[:n], err
}

func readAt(t *testing.T, r io.Reader, b []byte, off int64) (int, error) {
	t.Helper()
	at, ok := r.(io.ReaderAt)
	if !ok {
		t.Fatal("it cannot be read ahead")
	}
	return at.ReadAt(b, off)
}

// TestReadAt: the end of a file comes before its turn, is loaded once, and is
// verified with the rest.
func TestReadAt(t *testing.T) {
	b := payload(3 << 20)
	tail := 100000
	f := fileOf(b)
	for name, tc := range map[string]struct {
		answers []http.HandlerFunc
		reqs    string
	}{
		"at once":            {[]http.HandlerFunc{whole(b), parts(b)}, "- 3045728-3145727"},
		"busy":               {[]http.HandlerFunc{whole(b), status(503), parts(b)}, "- 3045728-3145727 3045728-3145727"},
		"cut in the data":    {[]http.HandlerFunc{cutAfter(b, 5000, `"t"`, true), parts(b), whole(b)}, "- 3045728-3145727 5000"},
		"cut within the end": {[]http.HandlerFunc{cutAfter(b, len(b)-10, `"t"`, true), parts(b)}, "- 3045728-3145727"},
	} {
		t.Run(name, func(t *testing.T) {
			s := flaky(t, false, tc.answers...)
			r, got, err := openAhead(t, s.client(t, Options{}), f, tail)
			if err != nil || !bytes.Equal(got, b[len(b)-tail:]) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			rest, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(rest, b[100:]) {
				t.Errorf("%d bytes, %v", len(rest), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			if got := ranges(t, s.requests(), false); got != tc.reqs {
				t.Errorf("asked for the bytes %s, want %s", got, tc.reqs)
			}
		})
	}
}

// TestReadAtRefuses: what cannot be read ahead is an error of ReadAt, and Read
// goes on.
func TestReadAtRefuses(t *testing.T) {
	b := payload(1 << 20)
	f := fileOf(b)
	answer := func(code int, contentRange string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", contentRange)
			w.WriteHeader(code)
			_, _ = w.Write(make([]byte, 1000))
		}
	}
	for name, tc := range map[string]struct {
		h    http.HandlerFunc
		want string
		is   error
	}{
		"no parts":     {whole(b), "no parts", errors.ErrUnsupported},
		"404":          {status(404), "404", nil},
		"other place":  {answer(206, "bytes 0-999/1048576"), "bytes from 0 instead of 1047576", nil},
		"other length": {answer(206, "bytes 1047576-1048575/1048577"), "does not say", errors.ErrUnsupported},
		"no length":    {answer(206, "bytes 1047576-1048575/*"), "does not say", errors.ErrUnsupported},
		"no header":    {answer(206, ""), "bad Content-Range", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := flaky(t, false, whole(b), tc.h)
			r, got, err := openAhead(t, s.client(t, Options{}), f, 1000)
			if err == nil || !strings.Contains(err.Error(), tc.want) || tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%d bytes, %v", len(got), err)
			}
			rest, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(rest, b[100:]) {
				t.Errorf("%d bytes, %v", len(rest), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestReadAtLies: an end that is not the file's is found by the hash.
func TestReadAtLies(t *testing.T) {
	b := payload(1 << 20)
	f := fileOf(b)
	wrong := bytes.Clone(b)
	wrong[len(b)-1] ^= 1
	s := flaky(t, false, whole(b), parts(wrong))
	r, _, err := openAhead(t, s.client(t, Options{}), f, 1000)
	if err != nil {
		t.Fatal(err)
	}
	var he *HashError
	if _, err := io.ReadAll(r); !errors.As(err, &he) {
		t.Errorf("got %v", err)
	}
	if n, err := readAt(t, r, make([]byte, 10), f.Size+1); err == nil {
		t.Errorf("%d bytes past the end", n)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestMirrorsReadAt: the end of a file comes from another mirror when the one that the file comes from is dead, silent, slow
// or sends no parts, in the middle of it too.
func TestMirrorsReadAt(t *testing.T) {
	b := payload(3 << 20)
	const tail = 300_000
	f := fileOf(b)
	partly := func(w http.ResponseWriter) {
		w.Header().Set("Content-Range", "bytes 2845728-3145727/3145728")
		w.Header().Set("Content-Length", "300000")
		w.WriteHeader(http.StatusPartialContent)
		_, _ = w.Write(b[len(b)-tail:][:100_000])
		_ = http.NewResponseController(w).Flush()
	}
	for name, c := range map[string]struct {
		end  http.HandlerFunc
		from string // the part that the second mirror is asked for
	}{
		"404":       {status(404), "2845728-3145727"},
		"500":       {status(500), "2845728-3145727"},
		"no parts":  {whole(b), "2845728-3145727"},
		"no answer": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, "2845728-3145727"},
		"cut": {func(w http.ResponseWriter, _ *http.Request) {
			partly(w)
			panic(http.ErrAbortHandler)
		}, "2945728-3145727"},
		"stall": {func(w http.ResponseWriter, r *http.Request) {
			partly(w)
			<-r.Context().Done()
		}, "2945728-3145727"},
		"drip": {func(w http.ResponseWriter, r *http.Request) {
			partly(w)
			drip(b[len(b)-200_000:])(w, r)
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			one := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Range") == "" {
					whole(b)(w, r)
				} else {
					c.end(w, r)
				}
			})
			two := serve(t, parts(b))
			n := &notices{}
			client := mirrored(t, n, "", one, two)
			r, got, err := openAhead(t, client, f, tail)
			if err != nil || !bytes.Equal(got, b[len(b)-tail:]) {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
			if all := n.take(); len(all) != 1 || !strings.Contains(all[0], "is left for "+two.URL) {
				t.Errorf("notices %q", all)
			}
			if reqs := ranges(t, two.requests(), false); reqs == "" || c.from != "" && reqs != c.from {
				t.Errorf("the second mirror was asked for %q, want %s", reqs, c.from)
			}
			rest, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(rest, b[100:]) {
				t.Errorf("%d bytes, %v", len(rest), err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
