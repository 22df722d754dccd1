package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"

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

// publicImage is an image record in the fields that users see.
func publicImage(r tree.ImageRecord, pool string) Image {
	im := Image{
		Fingerprint: r.Fingerprint, AltFingerprints: r.AltFingerprints, Aliases: []ImageAlias{}, Architecture: r.Architecture,
		AutoUpdate: r.AutoUpdate, Cached: r.Cached, Public: r.Public, Type: r.Type, Size: r.Size, VirtualSize: r.VirtualSize, Properties: r.Properties,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, LastUsedAt: r.LastUsedAt, UploadedAt: r.UploadedAt, Pool: pool,
	}
	for _, a := range r.Aliases {
		im.Aliases = append(im.Aliases, ImageAlias{Name: a})
	}
	if r.Source != nil {
		im.UpdateSource = &ImageSource{Remote: r.Source.Remote, Server: r.Source.Server, Alias: r.Source.Alias, Protocol: r.Source.Protocol}
	}
	return im
}

// Image finds an image of a pool by alias or fingerprint prefix.
func (s *System) Image(ctx context.Context, ref string) (Image, error) {
	all, err := s.Images(ctx, "")
	if err != nil {
		return Image{}, err
	}
	return pickImage(all, ref)
}

// pickImage finds the image that an alias or a fingerprint prefix names. A
// prefix of several images is refused, naming them.
func pickImage(all []Image, ref string) (Image, error) {
	ref = strings.TrimPrefix(ref, localRemote+":")
	var found []Image
	var aliased *Image
	for _, im := range all {
		if slices.ContainsFunc(im.Aliases, func(a ImageAlias) bool { return a.Name == ref }) && (aliased == nil || im.UploadedAt.After(aliased.UploadedAt)) {
			aliased = &im // two have one only where a command was killed that moved it
		}
		if isFingerprintPrefix(ref) && hasPrefix(im, ref) && !slices.ContainsFunc(found, func(f Image) bool { return f.Fingerprint == im.Fingerprint }) {
			found = append(found, im)
		}
	}
	if aliased != nil {
		return *aliased, nil
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Image{}, withHint(fmt.Errorf("cannot find image %q: %w", ref, ErrNotFound), "poolctl image list shows those that are here; one of a remote is written REMOTE:IMAGE")
	}
	var names []string
	for _, f := range found {
		names = append(names, f.Fingerprint[:12])
	}
	return Image{}, withHint(fmt.Errorf("cannot find image %q: the prefix is ambiguous: %s", ref, strings.Join(names, ", ")), "give more of the fingerprint")
}

func hasPrefix(im Image, ref string) bool {
	return strings.HasPrefix(im.Fingerprint, ref) ||
		slices.ContainsFunc(im.AltFingerprints, func(f string) bool { return strings.HasPrefix(f, ref) })
}

// isFingerprintPrefix says whether ref can be the beginning of a fingerprint.
func isFingerprintPrefix(ref string) bool {
	return ref != "" && len(ref) <= 64 && strings.Trim(ref, "0123456789abcdef") == ""
}

// DeleteImage deletes an image from its pool. Instances made from it stay whole.
func (s *System) DeleteImage(ctx context.Context, ref string) error {
	im, err := s.Image(ctx, ref)
	if err != nil {
		return err
	}
	p, err := s.openPool(ctx, im.Pool)
	if err != nil {
		return err
	}
	defer func() { _ = p.close() }()
	unlock, err := s.dir.LockImage(ctx, im.Fingerprint)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.checkNoLook(im.Fingerprint); err != nil {
		return fmt.Errorf("cannot delete image %s: %w", im.Fingerprint[:12], err)
	}
	err = p.DeleteImage(ctx, im.Fingerprint)
	s.afterDelete(ctx, p)
	return err
}
