package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"poolctl/pool/tree"
	"poolctl/remotes"
)

// imageFor finds the image to make the instance of in the pool, pulling it when
// a remote has it, and holds its lock so that nobody deletes it meanwhile.
func (s *System) imageFor(ctx context.Context, p *openedPool, o CreateOptions) (rec tree.ImageRecord, unlock func(), err error) {
	remote, name, err := s.splitRef(o.Image)
	if err != nil {
		return rec, nil, err
	}
	if remote == localRemote {
		return s.localImage(ctx, p, name, o)
	}
	c, r, err := s.client(remote)
	if err != nil {
		return rec, nil, err
	}
	src, err := sourceOf(r, name)
	if err != nil {
		return rec, nil, err
	}
	err = findFresh(ctx, c, name, remotes.Want{}, func(want remotes.Image) (err error) {
		rec, unlock, err = s.cachedImage(ctx, p, c, want, src, o)
		return err
	})
	return rec, unlock, err
}

// cachedImage is the pool's copy of a remote's image, downloaded if need be,
// with its lock held.
func (s *System) cachedImage(ctx context.Context, p *openedPool, c *remotes.Client, want remotes.Image, src tree.ImageSource, o CreateOptions) (rec tree.ImageRecord, unlock func(), err error) {
	if err := checkContainer(want.Type, want.Fingerprint); err != nil { // before it is downloaded
		return rec, nil, err
	}
	if _, err := checkArch(ctx, want.Arch); err != nil { // before it is downloaded
		return rec, nil, err
	}
	if err := s.checkImageRequirements(want.Properties, o); err != nil { // before it is downloaded
		return rec, nil, err
	}
	unlock, err = s.lockImage(ctx, want.Fingerprint)
	if err != nil {
		return rec, nil, err
	}
	rec, err = p.Image(want.Fingerprint)
	if errors.Is(err, fs.ErrNotExist) {
		rec, err = s.download(ctx, p, c, want, src, PullOptions{Progress: o.Progress, size: s.sizeOfNew(ctx, o, p.rec)}, true)
	} else if err == nil {
		rec, err = touchImage(p, rec)
	}
	if err != nil {
		unlock()
		return rec, nil, err
	}
	return rec, unlock, nil
}

// defaultImage is the alias that no name stands for, as in lxc and incus.
const defaultImage = "default"

// localImage finds an image by alias or fingerprint prefix. One that only
// another pool has is fetched from where that one came from.
func (s *System) localImage(ctx context.Context, p *openedPool, ref string, o CreateOptions) (rec tree.ImageRecord, unlock func(), err error) {
	if ref == "" {
		ref = defaultImage
	}
	rec, unlock, err = s.lockedImage(ctx, p, ref, o)
	if err == nil {
		return rec, unlock, nil
	}
	elsewhere, ferr := s.Image(ctx, ref)
	if !errors.Is(err, ErrNotFound) || ferr != nil || elsewhere.UpdateSource == nil {
		return rec, nil, err
	}
	c, err := s.sourceClient(*elsewhere.UpdateSource)
	if err != nil {
		return rec, nil, err
	}
	want, err := c.Find(ctx, elsewhere.Fingerprint, remotes.Want{})
	if err != nil {
		return rec, nil, err
	}
	return s.cachedImage(ctx, p, c, want, tree.ImageSource(*elsewhere.UpdateSource), o)
}

// checkContainer refuses to make an instance of the image of a virtual machine.
func checkContainer(typ, fingerprint string) error {
	if typ != typeMachine {
		return nil
	}
	return withHint(fmt.Errorf("image %s is that of a virtual machine", fingerprint[:12]), "poolctl runs system containers; poolctl mount shows what is on its disk")
}

// lockedImage finds an image of a pool, notes that it is used, and holds its lock.
func (s *System) lockedImage(ctx context.Context, p *openedPool, ref string, o CreateOptions) (rec tree.ImageRecord, unlock func(), err error) {
	for range 10 {
		here, err := s.Images(ctx, p.rec.Name)
		if err != nil {
			return rec, nil, err
		}
		im, err := pickImage(here, ref)
		if err != nil {
			return rec, nil, err
		}
		if err := checkContainer(im.Type, im.Fingerprint); err != nil {
			return rec, nil, err
		}
		if _, err := checkArch(ctx, im.Architecture); err != nil {
			return rec, nil, err
		}
		if err := s.checkImageRequirements(im.Properties, o); err != nil {
			return rec, nil, err
		}
		if unlock, err = s.lockImage(ctx, im.Fingerprint); err != nil {
			return rec, nil, err
		}
		if rec, err = p.Image(im.Fingerprint); err == nil {
			rec, err = touchImage(p, rec)
		}
		if err == nil {
			return rec, unlock, nil
		}
		unlock()
		if !errors.Is(err, fs.ErrNotExist) {
			return rec, nil, err
		} // a new version has taken its place while its lock was waited for
	}
	return rec, nil, withHint(fmt.Errorf("cannot find image %q: %w", ref, ErrNotFound), "it is being replaced again and again; try it once more")
}

// touchImage notes that an image was used now, at most once a minute.
func touchImage(p *openedPool, rec tree.ImageRecord) (tree.ImageRecord, error) {
	now := time.Now().UTC()
	if now.Sub(rec.LastUsedAt) < time.Minute {
		return rec, nil
	}
	return p.UpdateImage(rec.Fingerprint, func(r *tree.ImageRecord) error {
		r.LastUsedAt = now
		return nil
	})
}
