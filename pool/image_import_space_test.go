package pool

import (
	"os"
	"strings"
	"testing"

	"poolctl/pool/state"
)

// TestImportReserves: an import leaves alone what other commands are going to write, and they what it is going to, until it ends.
func TestImportReserves(t *testing.T) {
	s := newSystem(t)
	createPool(t, s, "p1", nil)
	p, err := s.openPool(t.Context(), "p1")
	ok(t, err)
	defer func() { ok(t, p.close()) }()
	f := newImageFiles(t)
	reserved := func() state.Reservation {
		r, err := s.reservations(t.Context(), p.rec)
		ok(t, err)
		return r
	}
	var most, last state.Reservation
	o := ImportImageOptions{Files: []string{f.meta, f.tar}, NewImageOptions: NewImageOptions{Progress: func(Progress) {
		if last = reserved(); last.Least > most.Least {
			most = last
		}
	}}}

	unlock, err := s.dir.LockSpace(t.Context(), "p1")
	ok(t, err)
	other, err := s.dir.Reserve("p1", state.Reservation{Least: 1 << 40, Most: 1 << 40})
	unlock()
	ok(t, err)
	if _, err := s.ImportImage(t.Context(), o); err == nil || !isFull(err) || !strings.Contains(err.Error(), "of which other commands take") {
		t.Errorf("beside one who takes it all: %v", err)
	}
	ok(t, other.Release())
	if r := reserved(); r != (state.Reservation{}) {
		t.Errorf("after it was refused: %+v", r)
	}

	most = state.Reservation{}
	_, err = s.ImportImage(t.Context(), o)
	ok(t, err)
	meta, err := os.Stat(f.meta)
	ok(t, err)
	root, err := os.Stat(f.tar)
	ok(t, err)
	if most.Least != 2*(meta.Size()+root.Size()) || last.Least >= most.Least {
		t.Errorf("of files of %d and %d bytes at most %+v are reserved, at last %+v", meta.Size(), root.Size(), most, last)
	}
	if r := reserved(); r != (state.Reservation{}) {
		t.Errorf("after it: %+v", r)
	}
}
