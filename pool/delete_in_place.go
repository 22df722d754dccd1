package pool

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/tree"
)

// opDeleteInPlace is the operation of an intent to delete something of a pool that has no room for an intent.
const opDeleteInPlace = "delete-in-place"

// deletingInPlace is that intent.
type deletingInPlace struct {
	Pool   string      `json:"pool"`
	Object tree.Doomed `json:"object"`
}

// removeFrom deletes something for good: by remove, which undoes what it cannot finish, or, in a pool whose metadata is full, where
// it is. Killed in that, the next command goes on.
func (s *System) removeFrom(ctx context.Context, p *openedPool, ob tree.Doomed, remove func(context.Context) error) error {
	cause := remove(ctx)
	if !errors.Is(cause, unix.ENOSPC) {
		return cause
	}
	ob, err := p.Identified(ob)
	if err != nil {
		return errors.Join(cause, err)
	}
	e, err := journal.Begin(ctx, s.journalDir(), opDeleteInPlace, deletingInPlace{p.rec.Name, ob})
	if err != nil {
		return errors.Join(cause, err)
	}
	crash.Point("pool.deleteinplace.begun")
	if err := p.DeleteInPlace(ctx, ob); err != nil {
		return errors.Join(cause, err, e.Close())
	}
	s.afterDelete(ctx, p)
	return e.Done()
}

// recoverDeleteInPlace goes on with what a killed command had begun to delete.
func (s *System) recoverDeleteInPlace(ctx context.Context, e *journal.Entry) (err error) {
	var in deletingInPlace
	if err := e.Args(&in); err != nil {
		return err
	}
	p, err := s.openPool(ctx, in.Pool)
	if errors.Is(err, ErrNotFound) {
		return nil
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if in.Object.Kind == tree.KindInstance {
		unlock, err := s.dir.LockInstance(ctx, in.Object.Name)
		if err != nil {
			return err
		}
		defer unlock()
	}
	return p.DeleteInPlace(ctx, in.Object)
}
