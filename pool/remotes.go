package pool

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"poolctl/pool/state"
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
	return listRemotes(saved), nil
}

// listRemotes lays what the user saved over the remotes that are there from the
// start.
func listRemotes(saved state.Remotes) []remotes.Remote {
	var all []remotes.Remote
	for _, r := range remotes.Defaults() {
		changed := slices.ContainsFunc(saved.Added, func(a state.Remote) bool { return a.Name == r.Name })
		if !changed && !slices.Contains(saved.Removed, r.Name) {
			all = append(all, r)
		}
	}
	for _, r := range saved.Added {
		all = append(all, remotes.Remote{
			Name: r.Name, URL: r.URL, Protocol: r.Protocol, Public: r.Public, InsecureHTTP: r.InsecureHTTP,
			Mirrors: r.Mirrors, Keyring: r.Keyring,
		})
	}
	return all
}

// savedRemote is a remote as the state directory keeps it.
func savedRemote(r remotes.Remote) state.Remote {
	return state.Remote{
		Name: r.Name, URL: r.URL, Protocol: r.Protocol, Public: r.Public, InsecureHTTP: r.InsecureHTTP,
		Mirrors: r.Mirrors, Keyring: r.Keyring,
	}
}

// AddRemote adds a simplestreams remote. A name that is taken is ErrExists; a
// bad name, URL, protocol or keyring is refused with the reason.
func (s *System) AddRemote(ctx context.Context, r remotes.Remote) error {
	r, err := r.Normalize()
	if err != nil {
		return fmt.Errorf("cannot add remote %q: %w", r.Name, err)
	}
	return s.updateRemotes(ctx, func(saved *state.Remotes) error {
		for _, have := range listRemotes(*saved) {
			if have.Name == r.Name {
				return fmt.Errorf("cannot add remote %s: %w (%s)", r.Name, ErrExists, have.URL)
			}
		}
		saved.Put(savedRemote(r))
		return nil
	})
}

// RemoveRemote forgets a remote and its cached catalogue; images that were
// pulled from it stay. The default remote is refused.
func (s *System) RemoveRemote(ctx context.Context, name string) error {
	if name == localRemote {
		return fmt.Errorf("cannot remove remote %s: it stands for the pool's own images", name)
	}
	err := s.updateRemotes(ctx, func(saved *state.Remotes) error {
		if _, err := findRemote(*saved, name); err != nil {
			return err
		}
		if saved.Default == name {
			return withHint(fmt.Errorf("cannot remove remote %s: it is the default one", name), "poolctl remote switch %s makes another one that", localRemote)
		}
		saved.Remove(name, isBuiltin(name))
		return nil
	})
	if err != nil {
		return err
	}
	return s.dir.RemoveCache(name)
}

func isBuiltin(name string) bool {
	return slices.ContainsFunc(remotes.Defaults(), func(r remotes.Remote) bool { return r.Name == name })
}

// updateRemotes changes the saved remotes under the state's lock; nothing is
// saved when change fails.
func (s *System) updateRemotes(ctx context.Context, change func(*state.Remotes) error) error {
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	saved, err := s.dir.LoadRemotes()
	if err != nil {
		return err
	}
	if err := change(&saved); err != nil {
		return err
	}
	return s.dir.SaveRemotes(saved)
}

// remote finds a remote by name.
func (s *System) remote(name string) (remotes.Remote, error) {
	saved, err := s.dir.LoadRemotes()
	if err != nil {
		return remotes.Remote{}, err
	}
	return findRemote(saved, name)
}

func findRemote(saved state.Remotes, name string) (remotes.Remote, error) {
	for _, r := range listRemotes(saved) {
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
	c, err := s.clientOf(r)
	return c, r, err
}

// clientOf opens the catalogue of a remote as given; what one operation has read of it
// serves the next ones of the process.
func (s *System) clientOf(r remotes.Remote) (*remotes.Client, error) {
	s.clientsMu.Lock()
	defer s.clientsMu.Unlock()
	for _, c := range s.clients {
		if reflect.DeepEqual(c.Remote(), r) {
			return c, nil
		}
	}
	c, err := remotes.NewClient(r, remotes.Options{
		CacheDir: s.dir.Cache(r.Name), DownloadDir: s.dir.Downloads(), UserAgent: "poolctl/" + s.version, Notice: s.notice,
	})
	if err == nil {
		s.clients = append(s.clients, c)
	}
	return c, err
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
// REMOTE:FINGERPRINT (any unambiguous prefix). A type narrows it (remotes.Want).
func (s *System) RemoteImage(ctx context.Context, ref, typ string) (remotes.Image, error) {
	remote, name, err := s.splitRef(ref)
	if err == nil {
		err = checkImageNamed(name)
	}
	if err != nil {
		return remotes.Image{}, err
	}
	c, _, err := s.client(remote)
	if err != nil {
		return remotes.Image{}, err
	}
	return c.Find(ctx, name, remotes.Want{Type: typ})
}

// splitRef splits [REMOTE:]NAME; without a remote it is the default one.
func (s *System) splitRef(ref string) (remote, name string, err error) {
	if r, n, ok := strings.Cut(ref, ":"); ok {
		return r, n, nil
	}
	remote, err = s.DefaultRemote()
	return remote, ref, err
}
