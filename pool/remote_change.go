package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"poolctl/pool/state"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// DefaultRemote is the remote that a reference without one means: "local"
// unless SwitchRemote has chosen another.
func (s *System) DefaultRemote() (string, error) {
	saved, err := s.dir.LoadRemotes()
	if err != nil || saved.Default == "" {
		return localRemote, err
	}
	return saved.Default, nil
}

// SwitchRemote makes a remote the default one.
func (s *System) SwitchRemote(ctx context.Context, name string) error {
	return s.updateRemotes(ctx, func(saved *state.Remotes) error {
		if name == localRemote {
			saved.Default = ""
			return nil
		}
		if _, err := findRemote(*saved, name); err != nil {
			return err
		}
		saved.Default = name
		return nil
	})
}

// RenameRemote gives a remote another name, which must be free. Images that came from it
// come from the new name then, in all pools that are attached; in others they are found by
// the remote's URL.
func (s *System) RenameRemote(ctx context.Context, name, to string) error {
	err := s.changeRemote(ctx, "rename", name, func(saved *state.Remotes, r *remotes.Remote) error {
		if to == localRemote {
			return fmt.Errorf("the name %q stands for the pool's own images", to)
		}
		if _, err := findRemote(*saved, to); err == nil {
			return fmt.Errorf("remote %s: %w", to, ErrExists)
		} else if !errors.Is(err, ErrNotFound) {
			return err
		}
		r.Name = to
		saved.Rename(name, to, isBuiltin(name))
		if saved.Default == name {
			saved.Default = to
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(s.dir.RemoveCache(name), s.renameSources(ctx, name, to))
}

// renameSources has the images that came from a remote come from its new name.
func (s *System) renameSources(ctx context.Context, name, to string) error {
	_, err := s.inAttachedPools(ctx, func(ctx context.Context, rec state.PoolRecord) (_ []string, err error) {
		p, err := s.openPool(ctx, rec.Name)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, p.close()) }()
		all, err := p.Images()
		if err != nil {
			return nil, err
		}
		var errs []error
		for _, im := range all {
			if im.Source != nil && im.Source.Remote == name {
				errs = append(errs, s.renameSource(ctx, p, im.Fingerprint, name, to))
			}
		}
		return nil, errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("remote %s is %s now, but not all images say so: %w", name, to, err)
	}
	return nil
}

func (s *System) renameSource(ctx context.Context, p *openedPool, fingerprint, name, to string) error {
	unlock, err := s.lockImage(ctx, fingerprint)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = p.UpdateImage(fingerprint, func(r *tree.ImageRecord) error {
		if r.Source != nil && r.Source.Remote == name {
			src := *r.Source
			src.Remote = to
			r.Source = &src
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil // deleted while its lock was waited for
	}
	return err
}

// SetRemoteURL gives a remote another URL.
func (s *System) SetRemoteURL(ctx context.Context, name, url string) error {
	return s.changeRemote(ctx, "change", name, func(_ *state.Remotes, r *remotes.Remote) error {
		r.URL = url
		return nil
	})
}

// AddRemoteMirror adds a URL that serves the same files as a remote's own, at
// the end of its mirrors. One that the remote has already is ErrExists.
func (s *System) AddRemoteMirror(ctx context.Context, name, url string) error {
	return s.changeRemote(ctx, "add a mirror to", name, func(_ *state.Remotes, r *remotes.Remote) error {
		n, err := remotes.Remote{Name: r.Name, URL: url, Protocol: r.Protocol, InsecureHTTP: r.InsecureHTTP}.Normalize()
		if err != nil {
			return err
		}
		if n.URL == r.URL || slices.Contains(r.Mirrors, n.URL) {
			return fmt.Errorf("mirror %s: %w", n.URL, ErrExists)
		}
		r.Mirrors = append(slices.Clone(r.Mirrors), n.URL)
		return nil
	})
}

// RemoveRemoteMirror takes a URL away from a remote. When it is the remote's
// own, the first mirror takes its place; the last URL stays.
func (s *System) RemoveRemoteMirror(ctx context.Context, name, url string) error {
	return s.changeRemote(ctx, "remove a mirror from", name, func(_ *state.Remotes, r *remotes.Remote) error {
		n, err := remotes.Remote{Name: r.Name, URL: url, Protocol: r.Protocol, InsecureHTTP: true}.Normalize()
		if err != nil {
			return err
		}
		switch i := slices.Index(r.Mirrors, n.URL); {
		case i >= 0:
			r.Mirrors = slices.Delete(slices.Clone(r.Mirrors), i, i+1)
		case n.URL != r.URL:
			return withHint(fmt.Errorf("mirror %s: %w", n.URL, ErrNotFound), "poolctl remote list shows them")
		case len(r.Mirrors) == 0:
			return withHint(errors.New("it is the only URL"), "poolctl remote remove %s forgets the remote", name)
		default:
			r.URL, r.Mirrors = r.Mirrors[0], r.Mirrors[1:]
		}
		return nil
	})
}

// changeRemote changes one remote, and checks the outcome before it is saved.
// One that is there from the start becomes the user's own.
func (s *System) changeRemote(ctx context.Context, verb, name string, change func(*state.Remotes, *remotes.Remote) error) error {
	if name == localRemote {
		return fmt.Errorf("cannot %s remote %s: it stands for the pool's own images", verb, name)
	}
	return s.updateRemotes(ctx, func(saved *state.Remotes) error {
		r, err := findRemote(*saved, name)
		if err != nil {
			return err
		}
		err = change(saved, &r)
		if err == nil {
			r, err = r.Normalize()
		}
		if err != nil {
			return fmt.Errorf("cannot %s remote %s: %w", verb, name, err)
		}
		saved.Put(savedRemote(r))
		return nil
	})
}
