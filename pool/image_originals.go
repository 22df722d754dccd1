package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"poolctl/images"
	"poolctl/images/delta"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// originalsKey says of which pulled images the pool keeps the files that they came
// as, besides what was unpacked of them; those of imported and published ones it
// keeps always.
const originalsKey = "images.originals"

// The values of originalsKey. Auto, the default, keeps the squashfs or the qcow2 of an
// image from a server that has deltas for such files, where they can be applied:
// without it the next version would have to be downloaded whole.
const (
	originalsAuto   = "auto"
	originalsAlways = "always"
	originalsNever  = "never"
)

func checkOriginals(v string) error {
	switch v {
	case originalsAuto, originalsAlways, originalsNever:
		return nil
	}
	return withHint(errors.New("unknown value"), "the values are auto, always and never")
}

// keptOriginals are the files of an image to pull that are kept, by their names in
// the pool.
func keptOriginals(config map[string]string, want remotes.Image) map[string]remotes.File {
	names := map[remotes.Role]string{
		remotes.RoleMetadata: tree.OriginalMetadata, remotes.RoleRootfs: tree.OriginalRootfs, remotes.RoleUnified: tree.OriginalUnified,
	}
	kept := map[string]remotes.File{}
	for _, f := range want.Files {
		name, ok := names[f.Role]
		if !ok {
			continue
		}
		switch config[originalsKey] {
		case originalsAlways:
			kept[name] = f
		case "", originalsAuto:
			if f.Role == remotes.RoleRootfs && want.Deltas && delta.Available() {
				kept[name] = f
			}
		}
	}
	return kept
}

// keepOriginals has the files written into the stage while they are unpacked.
// What is read of them is verified by then, or the stage is given up. A file that
// cannot be written is not kept, with a notice: what needs it can do without.
func (s *System) keepOriginals(req *images.Request, stage *tree.Stage, kept map[string]remotes.File) {
	for name, part := range map[string]*images.Part{
		tree.OriginalMetadata: req.Metadata, tree.OriginalRootfs: req.Rootfs, tree.OriginalUnified: req.Unified,
	} {
		if _, ok := kept[name]; !ok || part == nil {
			continue
		}
		open := part.Open
		part.Open = func(ctx context.Context) (io.ReadCloser, error) {
			rc, err := open(ctx)
			if err != nil {
				return nil, err
			}
			k := &keeping{ReadCloser: rc, failed: func(err error) {
				s.noticef("%s is not kept: %v", part.Name, errors.Join(err, stage.DropOriginal(name)))
			}}
			if k.to, err = stage.Original(name); err != nil {
				k.failed(err)
				k.to = nil
			}
			return k, nil
		}
	}
}

// keeping writes what is read of a file into another one.
type keeping struct {
	io.ReadCloser
	to     *os.File // nil once that failed
	failed func(error)
}

func (k *keeping) Read(b []byte) (int, error) {
	n, err := k.ReadCloser.Read(b)
	if n > 0 && k.to != nil {
		if _, werr := k.to.Write(b[:n]); werr != nil {
			k.failed(errors.Join(werr, k.to.Close()))
			k.to = nil
		}
	}
	return n, err
}

// ReadAt reads ahead; the bytes come again by Read.
func (k *keeping) ReadAt(b []byte, off int64) (int, error) {
	at, ok := k.ReadCloser.(io.ReaderAt)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	return at.ReadAt(b, off)
}

func (k *keeping) Close() error {
	err := k.ReadCloser.Close()
	if k.to == nil {
		return err
	}
	if cerr := k.to.Close(); cerr != nil {
		err = errors.Join(err, fmt.Errorf("cannot keep it: %w", cerr))
	}
	k.to = nil
	return err
}
