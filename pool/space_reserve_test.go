package pool

import (
	"strings"
	"testing"
)

// TestReserveSpace: what one download is going to take, the next one leaves to it; and what has come counts no more.
func TestReserveSpace(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	ctx := t.Context()
	p, err := s.openPool(ctx, "p1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { ok(t, p.close()) }()
	need := spaceNeed{what: "image a", least: 150 << 20, most: 160 << 20}
	first, err := s.reserveSpace(ctx, p.rec, need, 100<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.reserveSpace(ctx, p.rec, need, 100<<20, true); err == nil || !isFull(err) || !strings.Contains(err.Error(), "of which other commands take at least 150MiB") {
		t.Errorf("both at once: %v", err)
	}
	first.loaded(90 << 20)
	if r, err := s.reservations(ctx, p.rec); err != nil || r.Least != 15<<20 || r.Most != 16<<20 || r.Kept != 10<<20 {
		t.Errorf("of what has come by nine tenths: %+v, %v", r, err)
	}
	second, err := s.reserveSpace(ctx, p.rec, need, 100<<20, true)
	ok(t, err, first.release(), second.release())
	if r, err := s.reservations(ctx, p.rec); err != nil || r.Least+r.Most+r.Kept != 0 {
		t.Errorf("after both: %+v, %v", r, err)
	}
}
