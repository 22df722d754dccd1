package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"poolctl/remotes"
)

// RefreshOptions are the arguments of RefreshImages.
type RefreshOptions struct {
	Images []string // aliases or fingerprint prefixes; nil for all images that come from a server
	Auto   bool     // only those that are to be kept up to date
	// Done is told of each image, in whichever pool: next is the fingerprint of the version that has taken its place, or
	// "" when it is the newest one.
	Done     func(im Image, next string)
	Progress func(Progress)
}

// RefreshImages looks for newer versions of images on the servers that they came
// from, under the alias by which they were pulled. A newer one takes the old
// one's place, with its aliases, properties that users have changed, and all that
// `image edit` shows; the old one is deleted. Instances that were made from it
// stay whole. What goes wrong with one image, a server that cannot be asked too, is no
// reason to leave out others: the errors are joined.
func (s *System) RefreshImages(ctx context.Context, o RefreshOptions) error {
	list, err := s.refreshable(ctx, o)
	if err != nil {
		return err
	}
	r := refresher{System: s, o: o, asked: map[string]askedServer{}}
	var errs []error
	for _, im := range list {
		if ctx.Err() != nil {
			break
		}
		next, err := r.refresh(ctx, im)
		if err != nil {
			errs = append(errs, fmt.Errorf("cannot refresh image %s: %w", nameOf(im), err))
			continue
		}
		if o.Done != nil {
			o.Done(im, next)
		}
	}
	return errors.Join(append(errs, ctx.Err())...)
}

// nameOf is what an image is called in messages.
func nameOf(im Image) string {
	if len(im.Aliases) > 0 {
		return im.Aliases[0].Name
	}
	return im.Fingerprint[:12]
}

// refreshable lists the images to refresh.
func (s *System) refreshable(ctx context.Context, o RefreshOptions) ([]Image, error) {
	all, err := s.Images(ctx, "")
	if err != nil {
		return nil, err
	}
	if o.Images == nil {
		return slices.DeleteFunc(all, func(im Image) bool { return !hasServer(im) || o.Auto && !im.AutoUpdate }), nil
	}
	preferred, err := s.poolOrDefault("")
	if err != nil {
		preferred = ""
	}
	var out []Image
	for _, ref := range o.Images {
		found, err := pickImages(all, ref, preferred)
		if err != nil {
			return nil, err
		}
		for _, im := range found {
			known := slices.ContainsFunc(out, func(have Image) bool { return have.Pool == im.Pool && have.Fingerprint == im.Fingerprint })
			if !known && (!o.Auto || im.AutoUpdate) {
				out = append(out, im)
			}
		}
	}
	return out, nil
}

// hasServer says whether an image comes from a server that has aliases, where
// newer versions of it can be found.
func hasServer(im Image) bool {
	return im.UpdateSource != nil && im.UpdateSource.Protocol == remotes.ProtocolSimplestreams
}

// refresher refreshes several images with one look at each server.
type refresher struct {
	*System
	o     RefreshOptions
	asked map[string]askedServer // by the server's URL, and the keys that are asked for
}

// askedServer is the catalogue of a server, or why it could not be asked.
type askedServer struct {
	client *remotes.Client
	err    error
}

// client gives the catalogue of an image's server, as it is now.
func (r *refresher) client(ctx context.Context, src ImageSource) (*remotes.Client, error) {
	key := strings.Join(append([]string{src.Server}, src.SignedBy...), " ")
	if a, ok := r.asked[key]; ok {
		return a.client, a.err
	}
	c, err := r.sourceClient(src)
	if err != nil {
		return nil, err
	}
	if err = c.Refresh(ctx); err != nil {
		err = fmt.Errorf("its server could not be asked: %w", err)
	}
	r.asked[key] = askedServer{c, err}
	return c, err
}

// refresh brings one image up to date; next is "" when it is.
func (r *refresher) refresh(ctx context.Context, im Image) (next string, err error) {
	if !hasServer(im) {
		return "", withHint(errors.New("it comes from no server"), "only images that were pulled have newer versions")
	}
	c, err := r.client(ctx, *im.UpdateSource)
	if err != nil {
		return "", err
	}
	p, err := r.openPool(ctx, im.Pool)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	want := remotes.Want{Arch: im.Architecture, Type: im.Type}
	err = findFresh(ctx, c, im.UpdateSource.Alias, want, func(found remotes.Image) (err error) {
		next, err = r.replace(ctx, p, c, im, found)
		return err
	})
	if next != "" {
		r.afterDelete(ctx, p)
	}
	return next, err
}

// replace puts an image in the place of another, unless it is the same one.
func (r *refresher) replace(ctx context.Context, p *openedPool, c *remotes.Client, im Image, found remotes.Image) (next string, err error) {
	if found.Fingerprint == im.Fingerprint || slices.Contains(found.AltFingerprints, im.Fingerprint) {
		return "", nil
	}
	unlock, err := r.lockImages(ctx, im.Fingerprint, found.Fingerprint)
	if err != nil {
		return "", err
	}
	defer unlock()
	if err := r.checkNoLook(im.Fingerprint); err != nil {
		return "", err
	}
	old, err := p.Image(im.Fingerprint)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // another command has replaced or deleted it meanwhile
	}
	if err != nil {
		return "", err
	}
	_, err = p.Image(found.Fingerprint)
	switch {
	case err == nil:
		_, err = p.ReplaceImage(ctx, old.Fingerprint, found.Fingerprint)
	case errors.Is(err, fs.ErrNotExist) && old.Source != nil:
		_, err = r.download(ctx, p, c, found, *old.Source, PullOptions{Progress: r.o.Progress, successorOf: &old}, false)
	}
	if err != nil {
		return "", err
	}
	return found.Fingerprint, nil
}

// lockImages takes the locks of two images, always in the same order.
func (s *System) lockImages(ctx context.Context, a, b string) (unlock func(), err error) {
	unlockFirst, err := s.lockImage(ctx, min(a, b))
	if err != nil {
		return nil, err
	}
	unlockSecond, err := s.lockImage(ctx, max(a, b))
	if err != nil {
		unlockFirst()
		return nil, err
	}
	return func() { unlockSecond(); unlockFirst() }, nil
}
