package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/images"
	"poolctl/pool/crash"
	"poolctl/pool/tree"
)

// NewImageOptions are what an image is given that is imported or published here.
type NewImageOptions struct {
	Pool    string   // target pool; "" = the default one
	Aliases []string // local aliases to give it
	// Reuse takes aliases away from other images, and deletes those that have none
	// then; and of an image that is there already it changes what is said of it here.
	Reuse      bool
	Public     bool
	Properties map[string]string
	Progress   func(Progress)
	// base is what the image is made of, which it shares equal files with; "" = the
	// nearest image of the pool.
	base string
}

// progress reports, if somebody listens.
func (o NewImageOptions) progress(p Progress) {
	if o.Progress != nil {
		o.Progress(p)
	}
}

// check refuses aliases that are bad, or another image's.
func (o NewImageOptions) check(t *tree.Tree) error {
	for _, a := range o.Aliases {
		if err := tree.ValidateAlias(a); err != nil {
			return err
		}
	}
	if o.Reuse {
		return nil
	}
	if err := checkAliases(t, "", o.Aliases); err != nil {
		return withHint(err, "choose another --alias; --reuse takes it away from that image, and deletes that if it has no other")
	}
	return nil
}

// commitOriginals makes an image of the original files that are in the stage, by
// unpacking them, and gives it its aliases. want is its fingerprint, if that is
// known. The stage is left for the caller to abort when it fails.
func (s *System) commitOriginals(ctx context.Context, p *openedPool, stage *tree.Stage, watch *spaceWatch, names []string, want string, o NewImageOptions) (rec tree.ImageRecord, err error) {
	fingerprint, size, err := sumOriginals(ctx, stage, names)
	if err != nil {
		return rec, err
	}
	if want != "" && want != fingerprint {
		return rec, &images.FingerprintError{Want: want, Got: fingerprint}
	}
	unlock, err := s.dir.LockImage(ctx, fingerprint)
	if err != nil {
		return rec, err
	}
	if rec, err = p.Image(fingerprint); err == nil {
		rec, err = o.again(p, rec)
	} else if errors.Is(err, fs.ErrNotExist) {
		rec, err = s.unpackOriginals(ctx, p, stage, watch, names, fingerprint, size, o)
	}
	unlock() // two commands that take aliases from each other's images must not wait for each other
	if err != nil {
		return rec, err
	}
	crash.Point("pool.newimage.committed")
	if !o.Reuse {
		return rec, nil
	}
	return rec, s.takeAliases(context.WithoutCancel(ctx), p, fingerprint, o.Aliases) // the image is there
}

// again is for an image that is there already.
func (o NewImageOptions) again(p *openedPool, rec tree.ImageRecord) (tree.ImageRecord, error) {
	if !o.Reuse {
		return rec, withHint(fmt.Errorf("image %s: %w", rec.Fingerprint[:12], ErrExists), "--reuse gives it the aliases and properties")
	}
	return p.UpdateImage(rec.Fingerprint, func(r *tree.ImageRecord) error {
		r.Cached, r.Public = false, r.Public || o.Public
		for _, a := range o.Aliases {
			if !slices.Contains(r.Aliases, a) {
				r.Aliases = append(r.Aliases, a)
			}
		}
		if r.Properties == nil {
			r.Properties = map[string]string{}
		}
		maps.Copy(r.Properties, o.Properties)
		return nil
	})
}

// unpackOriginals unpacks the files, and commits the image.
func (s *System) unpackOriginals(ctx context.Context, p *openedPool, stage *tree.Stage, watch *spaceWatch, names []string, fingerprint string, size int64, o NewImageOptions) (rec tree.ImageRecord, err error) {
	req := images.Request{Fingerprint: fingerprint, Dir: stage.Dir(), TempDir: stage.TempDir(), Pass: watch.pass}
	for _, name := range names {
		part := &images.Part{Name: name, Open: func(context.Context) (io.ReadCloser, error) { return stage.OpenOriginal(name) }}
		switch name {
		case tree.OriginalMetadata:
			req.Metadata = part
		case tree.OriginalRootfs:
			req.Rootfs = part
		case tree.OriginalUnified:
			req.Unified = part
		}
	}
	req.Progress = func(pr images.Progress) {
		if pr.Name != tree.OriginalMetadata {
			o.progress(Progress{Name: "unpack", Done: pr.Done, Total: size})
		}
	}
	if req.Base = baseChooser(p.Tree, likeness{}); o.base != "" {
		req.Base = func(*images.Metadata) string { return o.base }
	}
	res, err := images.Unpack(ctx, req)
	if err != nil {
		return rec, err
	}
	m := res.Metadata
	if m.Properties == nil {
		m.Properties = map[string]string{}
	}
	maps.Copy(m.Properties, o.Properties)
	rec = tree.ImageRecord{
		Fingerprint: fingerprint, Aliases: o.Aliases, Properties: m.Properties, Architecture: m.Architecture,
		Type: images.TypeContainer, Size: res.Size, VirtualSize: res.VirtualSize, CreatedAt: unixTime(m.CreationDate), ExpiresAt: unixTime(m.ExpiryDate),
		UploadedAt: time.Now().UTC(), Public: o.Public,
	}
	if res.VirtualSize > 0 {
		rec.Type = images.TypeVM
	}
	if err := ctx.Err(); err != nil {
		return rec, err
	}
	if !o.Reuse {
		unlock, err := s.lockFreeAliases(ctx, p, fingerprint, o.Aliases)
		if err != nil {
			return rec, err
		}
		defer unlock()
	}
	return rec, stage.CommitImage(ctx, rec)
}

// unixTime is the zero time for 0.
func unixTime(seconds int64) time.Time {
	if seconds <= 0 {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// sumOriginals is the fingerprint of the files, and how long the last one is.
func sumOriginals(ctx context.Context, stage *tree.Stage, names []string) (fingerprint string, size int64, err error) {
	h := sha256.New()
	for _, name := range names {
		f, err := stage.OpenOriginal(name)
		if err != nil {
			return "", 0, err
		}
		size, err = io.Copy(h, contextReader{ctx, f})
		if err = errors.Join(err, f.Close()); err != nil {
			return "", 0, err
		}
	}
	return hex.EncodeToString(h.Sum(nil)), size, nil
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c contextReader) Read(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(b)
}

// takeAliases takes the aliases away from all images but one. Those that have no
// other are deleted. It comes after the image has them: for a moment, and after a
// kill, two have one, and the newer counts.
func (s *System) takeAliases(ctx context.Context, p *openedPool, fingerprint string, aliases []string) error {
	all, err := p.Images()
	if err != nil {
		return err
	}
	for _, im := range all {
		if im.Fingerprint == fingerprint || !slices.ContainsFunc(im.Aliases, func(a string) bool { return slices.Contains(aliases, a) }) {
			continue
		}
		if err := s.loseAliases(ctx, p, im.Fingerprint, fingerprint, aliases); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// loseAliases takes from an image the aliases that the image taker has, which
// may have lost them to another command meanwhile.
func (s *System) loseAliases(ctx context.Context, p *openedPool, fingerprint, taker string, aliases []string) error {
	unlock, err := s.dir.LockImage(ctx, fingerprint)
	if err != nil {
		return err
	}
	defer unlock()
	unlockAliases, err := s.dir.LockAliases(ctx, p.rec.Name)
	if err != nil {
		return err
	}
	defer unlockAliases()
	has, err := p.Image(taker)
	if err != nil {
		return err
	}
	rec, err := p.UpdateImage(fingerprint, func(r *tree.ImageRecord) error {
		r.Aliases = slices.DeleteFunc(r.Aliases, func(a string) bool { return slices.Contains(aliases, a) && slices.Contains(has.Aliases, a) })
		return nil
	})
	if err != nil || len(rec.Aliases) > 0 {
		return err
	}
	return p.DeleteImage(ctx, fingerprint)
}

// openPlainDir opens a directory that is no symbolic link.
func openPlainDir(path string) (*os.File, error) {
	f, err := os.OpenFile(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, statError(err))
	}
	return f, nil
}

// openRegular opens a file for reading and says how long it is; -1 for one of
// which that cannot be known.
func openRegular(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, statError(err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory", path)
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	if !info.Mode().IsRegular() {
		return f, -1, nil
	}
	return f, info.Size(), nil
}
