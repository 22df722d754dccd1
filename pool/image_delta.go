package pool

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"poolctl/images"
	"poolctl/images/delta"
	"poolctl/pool/crash"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// rootFromDelta makes the root file of an image out of that of another version,
// which was kept in the pool (originalsKey), and a delta that is smaller than the
// file: the download is that much less. The file is made in the stage, and stays
// there if keep is set. What comes out has the hash of the catalogue, or is not
// used: there is no part then, as where there is no delta, no base or no xdelta3, and
// the whole file is to be downloaded. The caller closes what is returned.
func (s *System) rootFromDelta(ctx context.Context, t *tree.Tree, files *fetch, want remotes.Image, stage *tree.Stage, keep bool) (*images.Part, io.Closer) {
	root, ok := want.File(remotes.RoleRootfs)
	if !ok || !delta.Available() {
		return nil, nil
	}
	d, old := pickDelta(t, want, root)
	if old == nil {
		return nil, nil
	}
	defer func() { _ = old.Close() }() // it was only read
	f, err := stage.Original(tree.OriginalRootfs)
	if err == nil {
		crash.Point("pool.delta.begun")
		if err = applyDelta(ctx, files, d, old, f, root); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil || !keep {
		// Without its name the file is there for as long as it is open.
		err = errors.Join(err, stage.DropOriginal(tree.OriginalRootfs))
	}
	crash.Point("pool.delta.applied")
	if err != nil {
		if ctx.Err() == nil {
			s.noticef("downloading the whole of %s, as the delta from image %.12s is of no use: %v", root.Path, d.Base, err)
		}
		return nil, nil
	}
	return &images.Part{Name: root.Path, Size: root.Size, Open: func(context.Context) (io.ReadCloser, error) {
		return unclosed{io.NewSectionReader(f, 0, root.Size)}, nil
	}}, f
}

// unclosed is a part of a file that somebody else closes.
type unclosed struct{ *io.SectionReader }

func (unclosed) Close() error { return nil }

// pickDelta chooses the smallest delta whose base is here, and opens that; nil
// where there is none.
func pickDelta(t *tree.Tree, want remotes.Image, root remotes.File) (remotes.File, *os.File) {
	var deltas []remotes.File
	for _, f := range want.Files {
		if f.Role == remotes.RoleDelta && f.FType == root.FType+".vcdiff" && f.Size < root.Size {
			deltas = append(deltas, f)
		}
	}
	if len(deltas) == 0 {
		return remotes.File{}, nil
	}
	all, err := t.Images()
	if err != nil {
		return remotes.File{}, nil // what is wrong with the pool shows elsewhere
	}
	slices.SortFunc(deltas, func(a, b remotes.File) int { return cmp.Compare(a.Size, b.Size) })
	for _, d := range deltas {
		for _, im := range all {
			if im.Fingerprint != d.Base && !slices.Contains(im.AltFingerprints, d.Base) {
				continue
			}
			if old, err := t.OpenOriginal(im.Fingerprint, tree.OriginalRootfs); err == nil {
				return d, old
			}
		}
	}
	return remotes.File{}, nil
}

// applyDelta downloads a delta, or the rest of what an earlier pull has left of it, and
// applies it on the way.
func applyDelta(ctx context.Context, files *fetch, d remotes.File, old, f *os.File, root remotes.File) (err error) {
	in, err := files.openDelta(d)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // what came of it was verified, or not
	return delta.Apply(ctx, old, in, f, delta.Target{Size: root.Size, SHA256: root.SHA256})
}
