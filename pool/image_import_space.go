package pool

import (
	"context"
	"errors"

	"poolctl/pool/tree"
)

// importSpace is what an import holds of a pool's space until it ends: for each file as
// much as it takes as it is, and unpacked.
type importSpace struct {
	s     *System
	p     *openedPool
	held  []*reservation
	root  *reservation // of the larger file
	size  int64        // of that
	after int64        // bytes from which on root is told of the progress again
}

// take holds what a file of size bytes needs.
func (i *importSpace) take(ctx context.Context, original string, size int64) error {
	need := spaceNeed{what: "the image", least: 2 * size, most: size + unpackedSize(size)}
	if original == tree.OriginalMetadata {
		need.most = need.least
	}
	r, err := i.s.reserveSpace(ctx, i.p.rec, need, 2*size, false)
	if err != nil {
		return err
	}
	i.held = append(i.held, r)
	if i.root == nil || size > i.size {
		i.root, i.size, i.after = r, size, 0
	}
	return nil
}

// unpacked says how much of the root has been unpacked, in bytes of its file, all of
// which is in the pool by then.
func (i *importSpace) unpacked(done int64) {
	if i.root != nil && done >= i.after {
		i.after = done + toldEvery
		i.root.loaded(i.size + done)
	}
}

// release ends it.
func (i *importSpace) release() error {
	var errs []error
	for _, r := range i.held {
		errs = append(errs, r.release())
	}
	return errors.Join(errs...)
}
