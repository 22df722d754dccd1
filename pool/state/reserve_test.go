package state

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReservations(t *testing.T) {
	d, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sums := func(want Reservation, pool string) {
		t.Helper()
		if got, err := d.Reservations(pool); err != nil || got != want {
			t.Errorf("%s: %+v, %v; want %+v", pool, got, err, want)
		}
	}
	reserve := func(pool string, r Reservation) *Reserved {
		t.Helper()
		res, err := d.Reserve(pool, r)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	sums(Reservation{}, "p")
	a, b := reserve("p", Reservation{1, 10, 100}), reserve("p", Reservation{2, 20, 200})
	other := reserve("p.q", Reservation{5, 5, 5})
	sums(Reservation{3, 30, 300}, "p")
	sums(Reservation{5, 5, 5}, "p.q")
	b.Set(Reservation{0, 1, 2})
	sums(Reservation{1, 11, 102}, "p")
	if err := a.Release(); err != nil {
		t.Error(err)
	}
	sums(Reservation{0, 1, 2}, "p")
	if err := b.file.Close(); err != nil { // as at the end of a process that was killed
		t.Error(err)
	}
	sums(Reservation{}, "p")
	if left, err := filepath.Glob(d.locks() + "/reserved.p.*"); err != nil || len(left) != 1 { // that of p.q
		t.Errorf("left: %v, %v", left, err)
	}
	if err := other.Release(); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(d.locks()); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Reservations("p"); err == nil {
		t.Error("a directory that is gone is no error")
	}
}
