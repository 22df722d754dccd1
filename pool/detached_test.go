package pool

import (
	"context"
	"errors"
	"testing"
	"time"

	"poolctl/pool/tree"
)

// A pool that was detached on purpose stays so while commands look for
// something else, and is attached by one that names something in it.
func TestDetachedPools(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if all, err := s.Instances(ctx); err != nil || len(all) != 0 {
		t.Errorf("Instances() with the pool detached = %v, %v", all, err)
	}
	if _, err := s.Snapshots(ctx, "other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Snapshots of an unknown instance: %v", err)
	}
	if p, err := s.Pools(ctx); err != nil || p[0].Status != "Detached" {
		t.Errorf("after looking for another instance: %+v, %v", p, err)
	}
	if _, err := s.Snapshots(ctx, "c1"); err != nil {
		t.Error(err)
	}
	if p, err := s.Pools(ctx); err != nil || p[0].Status != "Created" {
		t.Errorf("after a command on c1: %+v, %v", p, err)
	}
}

// Showing one instance names it too.
func TestInstanceAttachesItsPool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if in, err := s.Instance(ctx, "c1"); err != nil || in.Pool != "p" {
		t.Errorf("Instance() of a detached pool: %+v, %v", in, err)
	}
}

// addInstance makes an instance with an empty root.
func addInstance(t *testing.T, s *System, pool, name string) {
	t.Helper()
	ctx := context.Background()
	p, err := s.openPool(ctx, pool)
	if err != nil {
		t.Fatal(err)
	}
	stage, err := p.StageImage(ctx)
	if err != nil {
		t.Fatal(err)
	}
	fp := "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	err = errors.Join(
		stage.CommitImage(ctx, tree.ImageRecord{Fingerprint: fp, Type: "container"}),
		p.CreateInstance(ctx, tree.Instance{Name: name}, fp), p.close())
	if err != nil {
		t.Fatal(err)
	}
}

// Looking into a detached pool never waits for whoever uses it meanwhile: the
// one who looks may hold the lock of the instance that the other wants.
func TestLookingIntoDetachedPoolDoesNotWait(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	other, err := s.openPool(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	rec, err := s.loadPool("p")
	if err != nil {
		t.Fatal(err)
	}
	rec.Detached = true
	if err := s.dir.SavePool(rec); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, _, err := s.findInstance(short, "c1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("findInstance while another uses the pool: %v", err)
	}
	if err := other.close(); err != nil {
		t.Fatal(err)
	}
}
