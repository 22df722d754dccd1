package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"poolctl/pool/tree"
)

// ImageAliases lists the aliases of the images in all pools.
func (s *System) ImageAliases(ctx context.Context) ([]ImageAliasEntry, error) {
	all, err := s.Images(ctx, "")
	if err != nil {
		return nil, err
	}
	out := []ImageAliasEntry{}
	for _, im := range all {
		for _, a := range im.Aliases {
			out = append(out, ImageAliasEntry{Description: a.Description, Target: im.Fingerprint, Name: a.Name, Type: im.Type})
		}
	}
	return out, nil
}

// RemoteAliases lists the aliases of a remote's images, as lists show them.
func (s *System) RemoteAliases(ctx context.Context, remote string) ([]ImageAliasEntry, error) {
	all, err := s.RemoteImages(ctx, remote)
	if err != nil {
		return nil, err
	}
	out := []ImageAliasEntry{}
	for _, im := range all {
		for _, a := range im.Aliases {
			if a.Display {
				out = append(out, ImageAliasEntry{Target: im.Fingerprint, Name: a.Name, Type: a.Type})
			}
		}
	}
	return out, nil
}

// CreateImageAlias gives an image, named by another alias or the beginning of its
// fingerprint, one more alias. One that another image has, in any pool, is
// ErrExists.
func (s *System) CreateImageAlias(ctx context.Context, name, ref, description string) error {
	name = strings.TrimPrefix(name, localRemote+":")
	if err := tree.ValidateAlias(name); err != nil {
		return fmt.Errorf("cannot create the alias: %w", err)
	}
	im, err := s.Image(ctx, ref)
	if err == nil {
		err = s.changeAliases(ctx, im, name, func(r *tree.ImageRecord) error {
			addAlias(r, name, description)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("cannot create alias %s: %w", name, err)
	}
	return nil
}

// DeleteImageAlias takes an alias away; the image stays.
func (s *System) DeleteImageAlias(ctx context.Context, name string) error {
	im, name, err := s.aliased(ctx, name)
	if err == nil {
		err = s.changeAliases(ctx, im, "", func(r *tree.ImageRecord) error {
			return removeAlias(r, name)
		})
	}
	if err != nil {
		return fmt.Errorf("cannot delete alias %s: %w", name, err)
	}
	return nil
}

// RenameImageAlias gives an alias another name; its description stays.
func (s *System) RenameImageAlias(ctx context.Context, name, to string) error {
	to = strings.TrimPrefix(to, localRemote+":")
	if err := tree.ValidateAlias(to); err != nil {
		return fmt.Errorf("cannot rename alias %s: %w", name, err)
	}
	im, name, err := s.aliased(ctx, name)
	if err == nil {
		err = s.changeAliases(ctx, im, to, func(r *tree.ImageRecord) error {
			description := r.AliasDescriptions[name]
			if err := removeAlias(r, name); err != nil {
				return err
			}
			addAlias(r, to, description)
			return nil
		})
	}
	if err != nil {
		return fmt.Errorf("cannot rename alias %s: %w", name, err)
	}
	return nil
}

// aliased finds the image that has an alias.
func (s *System) aliased(ctx context.Context, name string) (im Image, alias string, err error) {
	alias = strings.TrimPrefix(name, localRemote+":")
	all, err := s.Images(ctx, "")
	if err != nil {
		return im, alias, err
	}
	found, _ := imagesNamed(all, alias)
	if len(found) == 0 {
		return im, alias, withHint(ErrNotFound, "poolctl image alias list shows them")
	}
	preferred, err := s.poolOrDefault("")
	if i := slices.IndexFunc(found, func(im Image) bool { return im.Pool == preferred }); err == nil && i >= 0 {
		return found[i], alias, nil
	}
	return found[0], alias, nil
}

// changeAliases changes the record of an image under its lock and that of the
// aliases of its pool. An alias that it is to get, if any, must be free.
func (s *System) changeAliases(ctx context.Context, im Image, alias string, change func(*tree.ImageRecord) error) (err error) {
	p, err := s.openPool(ctx, im.Pool)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	unlock, err := s.lockImage(ctx, im.Fingerprint)
	if err != nil {
		return err
	}
	defer unlock()
	unlockAliases, err := s.dir.LockAliases(ctx, im.Pool)
	if err != nil {
		return err
	}
	defer unlockAliases()
	if alias != "" {
		all, err := s.Images(ctx, "")
		if err != nil {
			return err
		}
		if taken, _ := imagesNamed(all, alias); len(taken) > 0 {
			return withHint(fmt.Errorf("alias %s: %w, for image %s", alias, ErrExists, taken[0].Fingerprint[:12]), "poolctl image alias delete %s frees it", alias)
		}
	}
	_, err = p.UpdateImage(im.Fingerprint, change)
	return err
}

// addAlias gives the record an alias that it has not.
func addAlias(r *tree.ImageRecord, name, description string) {
	r.Aliases = append(slices.Clone(r.Aliases), name)
	if description != "" {
		r.AliasDescriptions = maps.Clone(r.AliasDescriptions)
		if r.AliasDescriptions == nil {
			r.AliasDescriptions = map[string]string{}
		}
		r.AliasDescriptions[name] = description
	}
}

// removeAlias takes an alias from the record.
func removeAlias(r *tree.ImageRecord, name string) error {
	i := slices.Index(r.Aliases, name)
	if i < 0 {
		return ErrNotFound // another command was quicker
	}
	r.Aliases = slices.Delete(slices.Clone(r.Aliases), i, i+1)
	r.AliasDescriptions = maps.Clone(r.AliasDescriptions)
	delete(r.AliasDescriptions, name)
	r.AliasTaken = maps.Clone(r.AliasTaken)
	delete(r.AliasTaken, name)
	return nil
}
