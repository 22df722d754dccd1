package pool

import (
	"context"
	"fmt"
	"strings"

	"poolctl/remotes"
)

// localRemote is the name under which the pool's own images are reached.
const localRemote = "local"

// Remotes lists the remotes that are there from the start, those the user
// added, and "local", the pool's own images.
func (s *System) Remotes(ctx context.Context) ([]remotes.Remote, error) {
	all, err := s.remoteList()
	if err != nil {
		return nil, err
	}
	return append(all, remotes.Remote{Name: localRemote, URL: "unix://", Protocol: "poolctl", Builtin: true}), ctx.Err()
}

// remoteList is the remotes that can be asked for images.
func (s *System) remoteList() ([]remotes.Remote, error) {
	saved, err := s.dir.LoadRemotes()
	if err != nil {
		return nil, err
	}
	removed := map[string]bool{}
	for _, n := range saved.Removed {
		removed[n] = true
	}
	var all []remotes.Remote
	for _, r := range remotes.Defaults() {
		if !removed[r.Name] {
			all = append(all, r)
		}
	}
	for _, r := range saved.Added {
		all = append(all, remotes.Remote{Name: r.Name, URL: r.URL, Protocol: r.Protocol, Public: r.Public, InsecureHTTP: r.InsecureHTTP})
	}
	return all, nil
}

// AddRemote adds a simplestreams remote. A name that is taken is ErrExists; a
// bad name, URL or protocol is refused with the reason.
func (s *System) AddRemote(ctx context.Context, r remotes.Remote) error {
	r, err := r.Normalize()
	if err != nil {
		return fmt.Errorf("cannot add remote %q: %w", r.Name, err)
	}
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := s.remoteList()
	if err != nil {
		return err
	}
	for _, have := range all {
		if have.Name == r.Name {
			return fmt.Errorf("cannot add remote %s: %w (%s)", r.Name, ErrExists, have.URL)
		}
	}
	saved, err := s.dir.LoadRemotes()
	if err != nil {
		return err
	}
	saved.Add(r.Name, r.URL, r.Protocol, r.Public, r.InsecureHTTP)
	return s.dir.SaveRemotes(saved)
}

// RemoveRemote forgets a remote and its cached catalogue; images that were
// pulled from it stay.
func (s *System) RemoveRemote(ctx context.Context, name string) error {
	if name == localRemote {
		return fmt.Errorf("cannot remove remote %s: it stands for the pool's own images", name)
	}
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.remote(name); err != nil {
		return err
	}
	saved, err := s.dir.LoadRemotes()
	if err != nil {
		return err
	}
	builtin := false
	for _, r := range remotes.Defaults() {
		builtin = builtin || r.Name == name
	}
	saved.Remove(name, builtin)
	if err := s.dir.SaveRemotes(saved); err != nil {
		return err
	}
	return s.dir.RemoveCache(name)
}

// remote finds a remote by name.
func (s *System) remote(name string) (remotes.Remote, error) {
	all, err := s.remoteList()
	if err != nil {
		return remotes.Remote{}, err
	}
	for _, r := range all {
		if r.Name == name {
			return r, nil
		}
	}
	return remotes.Remote{}, withHint(fmt.Errorf("cannot find remote %q: %w", name, ErrNotFound), "poolctl remote list shows them, poolctl remote add NAME URL adds one")
}

// client opens a remote's catalogue.
func (s *System) client(name string) (*remotes.Client, remotes.Remote, error) {
	r, err := s.remote(name)
	if err != nil {
		return nil, r, err
	}
	c, err := remotes.NewClient(r, remotes.Options{CacheDir: s.dir.Cache(r.Name), UserAgent: "poolctl/" + s.version, Notice: s.notice})
	return c, r, err
}

// RemoteImages lists a remote's catalogue, sorted as incus sorts it.
func (s *System) RemoteImages(ctx context.Context, name string) ([]remotes.Image, error) {
	c, _, err := s.client(name)
	if err != nil {
		return nil, err
	}
	return c.Images(ctx)
}

// RemoteImage finds one image of a remote: REMOTE:ALIAS, REMOTE:ALIAS/ARCH or
// REMOTE:FINGERPRINT (any unambiguous prefix).
func (s *System) RemoteImage(ctx context.Context, ref string) (remotes.Image, error) {
	remote, name := splitRef(ref)
	c, _, err := s.client(remote)
	if err != nil {
		return remotes.Image{}, err
	}
	return c.Find(ctx, name, remotes.Want{})
}

// splitRef splits [REMOTE:]NAME; without a remote it is "local".
func splitRef(ref string) (remote, name string) {
	if r, n, ok := strings.Cut(ref, ":"); ok {
		return r, n
	}
	return localRemote, ref
}
