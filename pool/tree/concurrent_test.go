package tree

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
)

// TestConcurrent works on several instances at once while others recover and list: what is held is left alone, and no
// list fails because something in it goes away.
func TestConcurrent(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint))
	ctx := context.Background()
	stop := make(chan struct{})
	var readers, writers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, ierr := p.Images()
				_, lerr := p.Instances(ctx)
				if err := errors.Join(p.Recover(ctx), ierr, lerr); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for w := range 4 {
		writers.Go(func() {
			name := fmt.Sprintf("c%d", w)
			for range 15 {
				if err := life(ctx, p.Tree, name); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	writers.Go(func() {
		for range 10 {
			if err := errors.Join(importImage(p.Tree, other), p.DeleteImage(ctx, other)); err != nil {
				t.Error(err)
				return
			}
		}
	})
	writers.Wait()
	close(stop)
	readers.Wait()
	must(t, p.DeleteImage(ctx, fingerprint))
	checkEmpty(t, p)
}

// life takes one instance from its creation to its end.
func life(ctx context.Context, p *Tree, name string) error {
	for _, step := range []func() error{
		func() error { return p.CreateInstance(ctx, newInstance(name), fingerprint) },
		func() error { return p.CreateSnapshot(ctx, name, "s", SnapshotOptions{}) },
		func() error {
			_, err := p.UpdateInstance(name, func(in *Instance) error { in.Config["user.v"] = "2"; return nil })
			return err
		},
		func() error { return p.RestoreSnapshot(ctx, name, "s", RestoreOptions{}) },
		func() error { return p.CreateSnapshot(ctx, name, "s2", SnapshotOptions{}) },
		func() error {
			return copyInstance(p, name+"-copy", CopyOptions{Source: Source{Name: name, Snapshots: true}})
		},
		func() error { return p.DeleteSnapshot(ctx, name, "s") },
		func() error { return p.DeleteInstance(ctx, name+"-copy") },
		func() error { return p.DeleteInstance(ctx, name) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// TestParallelUpdates: no change of a record is lost to another one.
func TestParallelUpdates(t *testing.T) {
	p := newPool(t)
	must(t, importImage(p.Tree, fingerprint), p.CreateInstance(t.Context(), newInstance("c1"), fingerprint))
	must(t, p.CreateSnapshot(t.Context(), "c1", "s", SnapshotOptions{}))
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for i := range 10 {
				_, err := p.UpdateInstance("c1", func(in *Instance) error {
					in.Config[fmt.Sprintf("user.%d.%d", w, i)] = "x"
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	in, err := p.Instance("c1")
	if err != nil || len(in.Config) != 41 {
		t.Errorf("%d keys, %v", len(in.Config), err)
	}
}
