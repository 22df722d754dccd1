package pool

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/images"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// imageSource is where the files of an image come from.
type imageSource struct {
	s           *System
	pool        *openedPool // nil of one that is not here
	rec         tree.ImageRecord
	fingerprint string
	parts       []imagePart
	// repack is set instead when nobody has the files.
	repack *images.Source
	unlock func()
}

// imagePart is one file of an image.
type imagePart struct {
	name string // of package tree
	size int64  // bytes; 0 = unknown
	open func(ctx context.Context) (io.ReadCloser, error)
}

func (src *imageSource) close() error {
	var errs []error
	if src.repack != nil {
		for _, f := range []*os.File{src.repack.Root, src.repack.Disk} {
			if f != nil {
				errs = append(errs, f.Close())
			}
		}
	}
	if src.unlock != nil {
		src.unlock()
	}
	if src.pool != nil {
		errs = append(errs, src.pool.close())
	}
	return errors.Join(errs...)
}

// imageSource finds [REMOTE:]IMAGE and where its files are. One in a pool is
// locked, so that nobody deletes it meanwhile.
func (s *System) imageSource(ctx context.Context, ref, typ string) (*imageSource, error) {
	remote, name, err := s.splitRef(ref)
	if err == nil {
		err = checkImageNamed(name)
	}
	if err != nil {
		return nil, err
	}
	if remote == localRemote {
		return s.localSource(ctx, name, typ)
	}
	c, _, err := s.client(remote)
	if err != nil {
		return nil, err
	}
	want, err := c.Find(ctx, name, remotes.Want{Type: typ})
	if err != nil {
		return nil, err
	}
	src := &imageSource{s: s, fingerprint: want.Fingerprint}
	src.parts = remoteParts(c, want)
	return src, nil
}

func (s *System) localSource(ctx context.Context, ref, typ string) (_ *imageSource, err error) {
	im, err := s.Image(ctx, ref)
	if err == nil && typ != "" && im.Type != typ {
		err = fmt.Errorf("it is that of a %s", im.Type)
	}
	if err != nil {
		return nil, err
	}
	src := &imageSource{s: s, fingerprint: im.Fingerprint}
	defer func() {
		if err != nil {
			err = errors.Join(err, src.close())
		}
	}()
	if src.pool, err = s.openPool(ctx, im.Pool); err != nil {
		return nil, err
	}
	if src.unlock, err = s.lockImage(ctx, im.Fingerprint); err != nil {
		return nil, err
	}
	if src.rec, err = src.pool.Image(im.Fingerprint); errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("cannot find image %q: %w", ref, ErrNotFound) // deleted while we waited
	}
	if err != nil {
		return nil, err
	}
	return src, src.find(ctx)
}

// find finds the parts: in the pool, then at the remote, and else what they can be
// made of.
func (src *imageSource) find(ctx context.Context) error {
	have, err := src.originals()
	if err != nil || complete(have) {
		src.parts = have
		return err
	}
	parts, why := src.fromRemote(ctx)
	if why == nil {
		for i, p := range parts { // those that are here need not be fetched
			if at := slices.IndexFunc(have, func(h imagePart) bool { return h.name == p.name && h.size == p.size }); at >= 0 {
				parts[i] = have[at]
			}
		}
		src.parts = parts
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return src.fromVolume(fmt.Errorf("the pool does not have its files, and %w", why))
}

// fromVolume has the image packed anew of what is unpacked in the pool, and tells why.
func (src *imageSource) fromVolume(why error) (err error) {
	volume := src.pool.ImagePath(src.fingerprint)
	anew := &images.Source{}
	if anew.Metadata, err = images.ReadMetadata(volume); err != nil {
		return err
	}
	if anew.Templates, err = images.ReadTemplates(volume); err != nil {
		return err
	}
	if src.rec.Type == remotes.TypeVM {
		anew.Disk, err = os.OpenFile(filepath.Join(volume, images.DiskFile), os.O_RDONLY|unix.O_NOFOLLOW, 0)
	} else {
		anew.Root, err = openPlainDir(filepath.Join(volume, "rootfs"))
	}
	if err != nil {
		return err
	}
	src.repack = anew
	src.s.noticef("image %s is packed anew, which gives it another fingerprint: %v", src.fingerprint[:12], why)
	return nil
}

// originals are the files that the pool has, in the order of the fingerprint.
func (src *imageSource) originals() ([]imagePart, error) {
	var out []imagePart
	for _, name := range []string{tree.OriginalUnified, tree.OriginalMetadata, tree.OriginalRootfs} {
		f, err := src.pool.OpenOriginal(src.fingerprint, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, err
		}
		info, err := f.Stat()
		if err = errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		out = append(out, imagePart{name: name, size: info.Size(), open: func(context.Context) (io.ReadCloser, error) {
			return src.pool.OpenOriginal(src.fingerprint, name)
		}})
	}
	return out, nil
}

// complete says whether the parts are a whole image.
func complete(parts []imagePart) bool {
	return len(parts) == 1 && parts[0].name == tree.OriginalUnified || len(parts) == 2 && parts[0].name == tree.OriginalMetadata
}

// fromRemote asks the remote that the image was pulled from.
func (src *imageSource) fromRemote(ctx context.Context) ([]imagePart, error) {
	if src.rec.Source == nil {
		return nil, errors.New("it was not pulled from a remote")
	}
	c, err := src.s.sourceClient(ImageSource(*src.rec.Source))
	if err != nil {
		return nil, err
	}
	r := c.Remote()
	want, err := c.Find(ctx, src.fingerprint, remotes.Want{})
	if err != nil {
		return nil, fmt.Errorf("remote %s does not have it: %w", r.Name, err)
	}
	parts := remoteParts(c, want)
	if len(parts) == 0 || want.Fingerprint != src.fingerprint {
		return nil, fmt.Errorf("remote %s has it with other metadata", r.Name)
	}
	// What is gone, or away, is found out now, while there is another way.
	rc, err := parts[0].open(ctx)
	if err == nil {
		_, err = io.ReadFull(rc, make([]byte, 1))
		err = errors.Join(err, rc.Close())
	}
	return parts, err
}

// remoteParts are the files of an image of a remote.
func remoteParts(c *remotes.Client, want remotes.Image) []imagePart {
	roles := map[remotes.Role]string{
		remotes.RoleMetadata: tree.OriginalMetadata, remotes.RoleRootfs: tree.OriginalRootfs, remotes.RoleUnified: tree.OriginalUnified,
	}
	var out []imagePart
	for _, f := range want.Files {
		if name, ok := roles[f.Role]; ok {
			out = append(out, imagePart{name: name, size: f.Size, open: func(ctx context.Context) (io.ReadCloser, error) { return c.Open(ctx, f) }})
		}
	}
	return out
}

// copyTo copies a part.
func (p imagePart) copyTo(ctx context.Context, w io.Writer, progress func(Progress)) error {
	rc, err := p.open(ctx)
	if err != nil {
		return err
	}
	count := &counter{name: p.name, total: p.size, report: progress}
	_, err = io.Copy(io.MultiWriter(w, count), contextReader{ctx, rc})
	return errors.Join(err, rc.Close())
}

// verify compares the sum of all parts with the fingerprint.
func (src *imageSource) verify(sum hash.Hash) error {
	if got := hex.EncodeToString(sum.Sum(nil)); got != src.fingerprint {
		return &images.FingerprintError{Want: src.fingerprint, Got: got}
	}
	return nil
}
