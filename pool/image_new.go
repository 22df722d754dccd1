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
	// derived is that of the image's record.
	derived bool
	// unvouched says that nobody but the files themselves says what is in them.
	unvouched bool
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
	taking, rec, err := s.commitNew(ctx, p, stage, watch, names, fingerprint, size, o)
	if taking == nil || err != nil {
		return rec, err
	}
	return rec, taking.End(s.loseAliases(context.WithoutCancel(ctx), p, taking)) // the image is there
}

// commitNew unpacks the files and makes the record, or changes that which is there. With
// o.Reuse it gives back what moves the aliases, of which that was the first step. The locks
// are free then: two commands that take aliases from each other's images must not wait
// for each other.
func (s *System) commitNew(ctx context.Context, p *openedPool, stage *tree.Stage, watch *spaceWatch, names []string, fingerprint string, size int64, o NewImageOptions) (taking *tree.Taking, rec tree.ImageRecord, err error) {
	unlock, err := s.lockImage(ctx, fingerprint)
	if err != nil {
		return nil, rec, err
	}
	defer unlock()
	rec, err = p.Image(fingerprint)
	there := err == nil
	switch {
	case there && !o.Reuse:
		return nil, rec, withHint(fmt.Errorf("image %s: %w", rec.Fingerprint[:12], ErrExists), "--reuse gives it the aliases and properties")
	case !there && !errors.Is(err, fs.ErrNotExist):
		return nil, rec, err
	case !there:
		if rec, err = s.unpackOriginals(ctx, p, stage, watch, names, fingerprint, size, o); err != nil {
			return nil, rec, err
		}
	}
	unlockAliases, err := s.lockAliasesOf(ctx, p, fingerprint, o)
	if err != nil {
		return nil, rec, err
	}
	defer unlockAliases()
	claim := func(*tree.ImageRecord) error { return nil }
	if o.Reuse && len(o.Aliases) > 0 {
		if taking, err = p.TakeAliases(ctx, fingerprint, o.Aliases); err != nil {
			return nil, rec, err
		}
		claim = taking.Claim
	}
	if there {
		rec, err = o.again(p, rec, claim)
	} else if err = claim(&rec); err == nil {
		err = stage.CommitImage(ctx, rec)
	}
	if err != nil && taking != nil {
		err = errors.Join(err, taking.End(nil)) // there is nothing to lose aliases to
	}
	crash.Point("pool.newimage.committed")
	return taking, rec, err
}

// lockAliasesOf takes the lock of the pool's aliases; those of the options are to be
// free, unless they are taken away.
func (s *System) lockAliasesOf(ctx context.Context, p *openedPool, fingerprint string, o NewImageOptions) (unlock func(), err error) {
	if o.Reuse {
		return s.dir.LockAliases(ctx, p.rec.Name)
	}
	return s.lockFreeAliases(ctx, p, fingerprint, o.Aliases)
}

// again is for an image that is there already; claim gives it the aliases.
func (o NewImageOptions) again(p *openedPool, rec tree.ImageRecord, claim func(*tree.ImageRecord) error) (tree.ImageRecord, error) {
	return p.UpdateImage(rec.Fingerprint, func(r *tree.ImageRecord) error {
		r.ImportedAgain()
		r.Public = r.Public || o.Public
		if r.Properties == nil {
			r.Properties = map[string]string{}
		}
		maps.Copy(r.Properties, o.Properties)
		return claim(r)
	})
}

// unpackOriginals unpacks the files, and says what the image's record is to be.
func (s *System) unpackOriginals(ctx context.Context, p *openedPool, stage *tree.Stage, watch *spaceWatch, names []string, fingerprint string, size int64, o NewImageOptions) (rec tree.ImageRecord, err error) {
	req := images.Request{Fingerprint: fingerprint, Strict: o.unvouched, Dir: stage.Dir(), TempDir: stage.TempDir(), Pass: watch.pass}
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
	s.tellLeftOut(res)
	m := res.Metadata
	if m.Properties == nil {
		m.Properties = map[string]string{}
	}
	maps.Copy(m.Properties, o.Properties)
	rec = tree.ImageRecord{
		Fingerprint: fingerprint, Aliases: o.Aliases, Properties: m.Properties, Architecture: m.Architecture,
		Type: images.TypeContainer, Size: res.Size, VirtualSize: res.VirtualSize, CreatedAt: unixTime(m.CreationDate), ExpiresAt: unixTime(m.ExpiryDate),
		UploadedAt: time.Now().UTC(), Public: o.Public, Derived: o.derived,
	}
	if res.VirtualSize > 0 {
		rec.Type = images.TypeVM
	}
	return rec, ctx.Err()
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

// loseAliases finishes the move of aliases at the images that have them no longer.
func (s *System) loseAliases(ctx context.Context, p *openedPool, taking *tree.Taking) error {
	losers, err := taking.Losers()
	if err != nil {
		return err
	}
	for _, fingerprint := range losers {
		if err := s.loseAliasesOf(ctx, p, taking, fingerprint); err != nil {
			return err
		}
	}
	return nil
}

func (s *System) loseAliasesOf(ctx context.Context, p *openedPool, taking *tree.Taking, fingerprint string) error {
	unlock, err := s.lockImage(ctx, fingerprint)
	if err != nil {
		return err
	}
	defer unlock()
	unlockAliases, err := s.dir.LockAliases(ctx, p.rec.Name)
	if err != nil {
		return err
	}
	defer unlockAliases()
	return taking.Lose(ctx, fingerprint)
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
func openRegular(ctx context.Context, path string) (*os.File, int64, error) {
	f, err := OpenWaiting(ctx, path, os.O_RDONLY)
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
