package tarball

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"poolctl/images/internal/restore"
)

// Router says where an entry goes: to an Extractor, under a name relative to its
// directory. A nil Extractor leaves the entry out. name is clean.
type Router func(name string) (e *Extractor, rel string, err error)

// maxTrailer is how much decompressed data may follow the archive's end marker
// (tar pads to its blocking factor; some append junk, which every tar ignores).
const maxTrailer = 64 << 20

// Extract reads a whole archive and hands its entries to where route sends them.
// It reads on to the end of r, so that a decompressor's checksums are verified. What
// follows the archive's end marker is limited, and if it is strict, can only be
// padding. It does not call Finish.
func Extract(ctx context.Context, r io.Reader, budget *Budget, route Router, strict bool) error {
	tr := tar.NewReader(r)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		hdr, err := tr.Next()
		if err == io.EOF { // documented to be exactly io.EOF
			return drain(ctx, r, strict)
		}
		if err != nil {
			return fmt.Errorf("cannot read the archive: %w", err)
		}
		if err := budget.Entry(); err != nil {
			return restore.EntryError(hdr.Name, err)
		}
		if hdr.Typeflag == tar.TypeXGlobalHeader { // comments, such as git's commit id
			continue
		}
		if err := dispatch(ctx, hdr, tr, budget, route); err != nil {
			return err
		}
	}
}

func dispatch(ctx context.Context, hdr *tar.Header, r io.Reader, budget *Budget, route Router) error {
	name, err := CleanName(hdr.Name, budget.Limits())
	if err != nil {
		return restore.EntryError(hdr.Name, err)
	}
	e, rel, err := route(name)
	if err != nil {
		return restore.EntryError(hdr.Name, err)
	}
	if e == nil {
		return nil
	}
	link := ""
	if hdr.Typeflag == tar.TypeLink {
		if link, err = routeLink(hdr, e, budget, route); err != nil {
			return restore.EntryError(hdr.Name, err)
		}
	}
	return e.Add(hdr, rel, link, ctxReader{ctx, r})
}

// routeLink cleans the target of a hard link, which must be in the same tree.
func routeLink(hdr *tar.Header, e *Extractor, budget *Budget, route Router) (string, error) {
	link, err := CleanName(hdr.Linkname, budget.Limits())
	if err != nil {
		return "", fmt.Errorf("it is a hard link to %.256q: %w", hdr.Linkname, err)
	}
	to, rel, err := route(link)
	if err != nil || to != e || rel == "." {
		return "", errors.Join(fmt.Errorf("it is a hard link to %.256q, which is outside its tree", hdr.Linkname), err)
	}
	return rel, nil
}

// drain reads r to its end.
func drain(ctx context.Context, r io.Reader, strict bool) error {
	n, err := restore.ReadPadding(ctx, io.LimitReader(r, maxTrailer+1), strict)
	if _, trailing := errors.AsType[*restore.TrailingError](err); trailing {
		return err
	}
	if err != nil {
		return fmt.Errorf("cannot read the archive to its end: %w", err)
	}
	if n > maxTrailer {
		return fmt.Errorf("cannot read the archive: more than %d MiB follow its end", maxTrailer>>20)
	}
	return nil
}

// ctxReader ends a long file when the context is cancelled.
type ctxReader struct {
	ctx context.Context
	r   io.Reader
}

func (c ctxReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
