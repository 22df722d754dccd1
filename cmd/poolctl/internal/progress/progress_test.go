package progress

import (
	"bytes"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

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

// TestRate: what an earlier process has done counts for the whole, and not for the
// rate.
func TestRate(t *testing.T) {
	for want, p := range map[string]*part{
		"30.00MiB of 50.00MiB, 10.00MiB/s, 2s left": {done: 30 << 20, total: 50 << 20, before: 20 << 20, start: time.Unix(0, 0)},
		"30.00MiB, 10.00MiB/s":                      {done: 30 << 20, before: 20 << 20, start: time.Unix(0, 0)},
		"20.00MiB of 50.00MiB":                      {done: 20 << 20, total: 50 << 20, before: 20 << 20, start: time.Unix(0, 0)},
		"50.00MiB of 50.00MiB, 50.00MiB/s":          {done: 50 << 20, total: 50 << 20, start: time.Unix(0, 0)},
	} {
		if got := p.status(time.Unix(1, 0)); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestLinesOfLong: a part that takes long gets a line now and then, and one that is
// gone on with says what is there.
func TestLinesOfLong(t *testing.T) {
	var b bytes.Buffer
	r := New(&b, Lines)
	r.Resume("rootfs", 1<<20, 4<<20)
	r.parts["rootfs"].last = time.Now().Add(-every)
	r.Update("rootfs", 2<<20, 4<<20)
	r.Update("rootfs", 3<<20, 4<<20)
	r.Close(false)
	want := regexp.MustCompile(`^rootfs \(1.00MiB of 4.00MiB are there\) ...\nrootfs: 2.00MiB of 4.00MiB, [0-9.]+[KMGT]iB/s, [0-9]+s left\n$`)
	if !want.MatchString(b.String()) {
		t.Errorf("%q", b.String())
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
		if got := b.String(); regexp.MustCompile(`%[0-9]`).MatchString(got) || !regexp.MustCompile(`% +[0-9.]+[KMGT]?i?B/s`).MatchString(got) {
			t.Errorf("ok %v: the rate stands at the percentage: %q", ok, got)
		}
	}
}

// TestBarOfUnknown: a part of which the total is not known has neither a bar nor a percentage.
func TestBarOfUnknown(t *testing.T) {
	var b syncBuffer
	r := New(&b, Bars)
	for i := int64(1); i <= 4; i++ {
		r.Update("export", i<<20, 0)
		time.Sleep(2 * refresh)
	}
	r.Close(false)
	if got := b.String(); !regexp.MustCompile(`export +[234]\.0 MiB +[0-9.]+[KMGT]?i?B/s`).MatchString(got) || strings.ContainsAny(got, "%]") || strings.Contains(got, "/ 0 B") {
		t.Errorf("%q", got)
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

// TestSize: bytes are B, and whole.
func TestSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 872: "872 B", 1024: "1.0 KiB", 3 << 20: "3.0 MiB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
