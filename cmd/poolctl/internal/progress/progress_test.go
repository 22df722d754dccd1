package progress

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLines(t *testing.T) {
	var b bytes.Buffer
	r := New(&b, Lines)
	for i := int64(0); i <= 2048; i += 64 {
		r.Update("rootfs", i, 2048)
		r.Update("unpack\x1b", i, 0)
	}
	r.Update("rootfs", 4096, 2048)
	r.Close(true)
	got := regexp.MustCompile(`in [0-9.]+[a-zµ]+`).ReplaceAllString(b.String(), "in T")
	want := "rootfs (2.00KiB) ...\nunpack\ufffd ...\nrootfs: 2.00KiB in T\nunpack\ufffd: 2.00KiB in T\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLinesFailed(t *testing.T) {
	var b bytes.Buffer
	r := New(&b, Lines)
	r.Update("rootfs", 1, 2048)
	r.Close(false)
	r.Close(false)
	if b.String() != "rootfs (2.00KiB) ...\n" {
		t.Errorf("%q", b.String())
	}
}

func TestNone(t *testing.T) {
	var b bytes.Buffer
	r := New(&b, None)
	r.Update("rootfs", 1, 1)
	r.Close(true)
	if b.Len() > 0 {
		t.Errorf("%q", b.String())
	}
}

func TestBars(t *testing.T) {
	for _, ok := range []bool{true, false} {
		var b syncBuffer
		r := New(&b, Bars)
		var wg sync.WaitGroup
		for _, name := range []string{"metadata", "rootfs"} {
			wg.Go(func() {
				for i := int64(0); i < 1<<20; i += 1 << 14 {
					r.Update(name, i, 1<<20)
				}
			})
		}
		wg.Wait()
		r.Update("metadata", 1<<20, 1<<20)
		r.Update("unpack", 7, 0)
		r.Close(ok)
		if got := b.String(); !strings.Contains(got, "metadata") || !strings.Contains(got, "rootfs") || !strings.Contains(got, "1.0 MiB / 1.0 MiB") || !strings.Contains(got, "100") {
			t.Errorf("ok %v: %q", ok, got)
		}
	}
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
