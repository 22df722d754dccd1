package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	"poolctl/pool/tree"
)

// Images lists the images of a pool, or of all pools with pool "".
func (s *System) Images(ctx context.Context, pool string) ([]Image, error) {
	if pool != "" {
		return s.imagesOf(ctx, pool)
	}
	names, err := s.shownPools()
	if err != nil {
		return nil, err
	}
	out := []Image{}
	for _, n := range names {
		found, err := s.imagesOf(ctx, n)
		if err = s.leftOut(ctx, n, err); err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Fingerprint < out[j].Fingerprint })
	return out, nil
}

// imagesOf lists the images of one pool by fingerprint.
func (s *System) imagesOf(ctx context.Context, pool string) ([]Image, error) {
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return nil, err
	}
	recs, err := p.Images()
	if err = errors.Join(err, p.close()); err != nil {
		return nil, err
	}
	out := make([]Image, 0, len(recs))
	for _, r := range recs {
		out = append(out, publicImage(r, pool))
	}
	return out, nil
}

// neverExpires is how lxc and incus write the expiry date of an image that has none,
// whatever it was made of: the epoch.
var neverExpires = time.Unix(0, 0).UTC()

// publicImage is an image record in the fields that users see.
func publicImage(r tree.ImageRecord, pool string) Image {
	im := Image{
		Fingerprint: r.Fingerprint, AltFingerprints: r.AltFingerprints, Aliases: []ImageAlias{}, Architecture: r.Architecture,
		AutoUpdate: r.AutoUpdate, Cached: r.Cached, Public: r.Public, Type: r.Type, Size: r.Size, VirtualSize: r.VirtualSize, Properties: r.Properties,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, LastUsedAt: r.LastUsedAt, UploadedAt: r.UploadedAt, Pool: pool,
		derived: r.Derived,
	}
	for _, a := range r.Aliases {
		im.Aliases = append(im.Aliases, ImageAlias{Name: a, Description: r.AliasDescriptions[a]})
	}
	if im.ExpiresAt.IsZero() {
		im.ExpiresAt = neverExpires
	}
	if im.Profiles = r.Profiles; im.Profiles == nil {
		im.Profiles = []string{defaultProfile}
	}
	if r.Source != nil {
		src := ImageSource(*r.Source)
		im.UpdateSource = &src
	}
	return im
}

// Image finds an image of a pool by alias or fingerprint prefix. One that
// several pools have is found in the default one if that has it.
func (s *System) Image(ctx context.Context, ref string) (Image, error) {
	found, err := s.imageIn(ctx, ref, "")
	if err != nil {
		return Image{}, err
	}
	return found[0], nil
}

// imageIn finds the copies of an image in a pool, or with "" in all pools, that
// of the default pool first.
func (s *System) imageIn(ctx context.Context, ref, pool string) ([]Image, error) {
	all, err := s.Images(ctx, pool)
	if err != nil {
		return nil, err
	}
	if pool == "" {
		if pool, err = s.poolOrDefault(""); err != nil {
			pool = "" // there is none, and none is preferred
		}
	}
	return pickImages(all, ref, pool)
}

// pickImage is pickImages within one pool.
func pickImage(all []Image, ref string) (Image, error) {
	found, err := pickImages(all, ref, "")
	if err != nil {
		return Image{}, err
	}
	return found[0], nil
}

// pickImages finds the image that an alias or a fingerprint prefix names: its
// copies in the pools, that of the preferred one first. A prefix of several
// images is refused, naming them, and so is an alias that is one image's in one
// pool and another's in another, unless one of them is in the preferred pool.
func pickImages(all []Image, ref, preferred string) ([]Image, error) {
	ref = strings.TrimPrefix(ref, localRemote+":")
	if err := checkImageNamed(ref); err != nil {
		return nil, err
	}
	found, prints := imagesNamed(all, ref)
	what, hint := "the alias stands for several images, in different pools", "name it by its fingerprint"
	if i := slices.IndexFunc(found, func(im Image) bool { return im.Pool == preferred }); i >= 0 && len(prints) > 1 {
		found, prints = []Image{found[i]}, prints[:1]
	}
	if len(found) == 0 && isFingerprintPrefix(ref) {
		found, prints = imagesWhere(all, func(im Image) bool { return hasPrefix(im, ref) })
		what, hint = "the prefix is ambiguous", "give more of the fingerprint"
	}
	switch len(prints) {
	case 1:
		slices.SortStableFunc(found, func(a, b Image) int {
			switch preferred {
			case a.Pool:
				return -1
			case b.Pool:
				return 1
			}
			return 0
		})
		return found, nil
	case 0:
		return nil, withHint(fmt.Errorf("cannot find image %q: %w", ref, ErrNotFound), "poolctl image list shows those that are here; one of a remote is written REMOTE:IMAGE")
	}
	for i := range prints {
		prints[i] = prints[i][:12]
	}
	return nil, withHint(fmt.Errorf("cannot find image %q: %s: %s", ref, what, strings.Join(prints, ", ")), "%s", hint)
}

// checkImageNamed refuses the empty name, as an unset variable of a script gives it:
// it stands for the image "default" only where an instance is made, or one pulled.
func checkImageNamed(name string) error {
	if name != "" {
		return nil
	}
	return withHint(fmt.Errorf("cannot find image %q: it has no name: %w", name, ErrNotFound), "give an alias, or the beginning of a fingerprint")
}

// imagesNamed are the images that have an alias, one of each pool, and their
// different fingerprints.
func imagesNamed(all []Image, alias string) (found []Image, prints []string) {
	return imagesWhere(all, func(im Image) bool {
		return slices.ContainsFunc(im.Aliases, func(a ImageAlias) bool { return a.Name == alias })
	})
}

// imagesWhere are the images that are wanted, and their different fingerprints.
func imagesWhere(all []Image, wanted func(Image) bool) (found []Image, prints []string) {
	for _, im := range all {
		if !wanted(im) {
			continue
		}
		found = append(found, im)
		if !slices.Contains(prints, im.Fingerprint) {
			prints = append(prints, im.Fingerprint)
		}
	}
	return found, prints
}

func hasPrefix(im Image, ref string) bool {
	return strings.HasPrefix(im.Fingerprint, ref) ||
		slices.ContainsFunc(im.AltFingerprints, func(f string) bool { return strings.HasPrefix(f, ref) })
}

// isFingerprintPrefix says whether ref can be the beginning of a fingerprint.
func isFingerprintPrefix(ref string) bool {
	return ref != "" && len(ref) <= 64 && strings.Trim(ref, "0123456789abcdef") == ""
}

// DeleteImage deletes an image from every pool that has it. Instances made from
// it stay whole.
func (s *System) DeleteImage(ctx context.Context, ref string) error {
	return s.DeleteImageFrom(ctx, ref, "")
}

// DeleteImageFrom is DeleteImage in one pool; "" is all of them.
func (s *System) DeleteImageFrom(ctx context.Context, ref, pool string) error {
	return s.deleteImagesOf(ctx, ref, pool, forGood)
}

func (s *System) deleteImagesOf(ctx context.Context, ref, pool string, how disposal) error {
	found, err := s.imageIn(ctx, ref, pool)
	if err != nil {
		return err
	}
	var errs []error
	for _, im := range found {
		errs = append(errs, s.deleteImage(ctx, im.Pool, im.Fingerprint, how, func(tree.ImageRecord) bool { return true }))
	}
	return errors.Join(errs...)
}

// deleteImage deletes an image if that is still wanted once nobody else works
// on it.
func (s *System) deleteImage(ctx context.Context, pool, fingerprint string, how disposal, wanted func(tree.ImageRecord) bool) (err error) {
	p, err := s.openPool(ctx, pool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	unlock, err := s.lockImage(ctx, fingerprint)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := p.Image(fingerprint)
	if err != nil || !wanted(rec) {
		return err
	}
	if err := s.checkNoLook(fingerprint); err != nil {
		return fmt.Errorf("cannot delete image %s: %w", fingerprint[:12], err)
	}
	return s.disposeImage(ctx, p, rec, how)
}
