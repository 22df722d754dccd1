package remotes

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestStall: the user is told of a server that sends nothing and of each new try, once for all files, and a download that
// brings nothing ends after a while, however many tries are left.
func TestStall(t *testing.T) {
	b := payload(1 << 20)
	silent := func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		if r.Header.Get("Range") == "" {
			_, _ = w.Write(b[:1000])
		} else {
			w.Header().Set("Content-Length", strconv.Itoa(len(b)-1000))
			w.Header().Set("Content-Range", "bytes 1000-"+strconv.Itoa(len(b)-1)+"/"+strconv.Itoa(len(b)))
			w.WriteHeader(http.StatusPartialContent)
		}
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	dead := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	for name, h := range map[string]http.HandlerFunc{"in the middle": silent, "from the start": dead} {
		t.Run(name, func(t *testing.T) {
			s := flaky(t, false, h)
			host := strings.TrimPrefix(s.URL, "https://")
			var n notices
			transport := plainTransport(t, s).Clone()
			transport.ResponseHeaderTimeout = 200 * time.Millisecond
			c := s.client(t, Options{Notice: n.add, Transport: transport})
			c.idle, c.stalls.after, c.fruitless = 200*time.Millisecond, 50*time.Millisecond, 500*time.Millisecond
			began := time.Now()
			errs := make(chan error, 2)
			for range 2 {
				go func() {
					_, err := get(t, c, fileOf(b))
					errs <- err
				}()
			}
			for range 2 {
				if err := <-errs; err == nil || !isStall(err) {
					t.Errorf("%v", err)
				}
			}
			if took := time.Since(began); took < 500*time.Millisecond || took > 2*time.Second {
				t.Errorf("it took %s", took)
			}
			if reqs := len(s.requests()); reqs < 4 || reqs > 8 {
				t.Errorf("%d requests", reqs)
			}
			none, again := 0, 0
			for _, line := range n.take() {
				switch {
				case line == "no data from "+host+" for 50ms":
					none++
				case strings.HasPrefix(line, "trying again: "+host+": "):
					again++
				default:
					t.Errorf("told: %s", line)
				}
			}
			if none < 2 || none > 4 || again < 1 || again > 3 {
				t.Errorf("told %d times of silence, %d of another try", none, again)
			}
		})
	}
	if isStall(errors.New("x")) {
		t.Error("any error is a stall")
	}
}

func plainTransport(t *testing.T, s *server) *http.Transport {
	t.Helper()
	transport, ok := s.Client().Transport.(*http.Transport)
	if !ok {
		t.Fatal("the client has another transport")
	}
	return transport
}
