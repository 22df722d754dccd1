package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"poolctl/remotes"
)

// severalPoolsError says that nothing tells which pool is meant.
type severalPoolsError struct{ names []string }

func (e *severalPoolsError) Error() string {
	return fmt.Sprintf("cannot choose a pool: there are several: %v", e.names)
}

// TargetPool names the pool that something goes into: the one given, the default
// profile's, "default", or the only one there is.
func (s *System) TargetPool(name string) (string, error) { return s.poolOrDefault(name) }

// poolOrDefault is TargetPool.
func (s *System) poolOrDefault(name string) (string, error) {
	if name != "" {
		_, err := s.loadPool(name)
		return name, err
	}
	p, err := s.profile(defaultProfile)
	if err != nil {
		return "", err
	}
	for _, dev := range p.Devices {
		if dev["type"] == "disk" && dev["path"] == "/" && dev["pool"] != "" {
			return dev["pool"], nil
		}
	}
	names, err := s.dir.ListPools()
	if err != nil {
		return "", err
	}
	switch {
	case slices.Contains(names, "default"):
		return "default", nil
	case len(names) == 1:
		return names[0], nil
	case len(names) == 0:
		return "", withHint(fmt.Errorf("cannot choose a pool: there is none"), "poolctl admin init, or poolctl pool create NAME")
	}
	return "", withHint(&severalPoolsError{names}, "name one with --storage POOL")
}

// poolForImage is poolOrDefault for a new instance: where that cannot choose, it is
// the one pool that has the image already.
func (s *System) poolForImage(ctx context.Context, o CreateOptions) (string, error) {
	pool, err := s.poolOrDefault(o.Pool)
	if _, several := errors.AsType[*severalPoolsError](err); !several {
		return pool, err
	}
	found, ferr := s.copiesOf(ctx, o.Image)
	if ferr != nil || len(found) != 1 {
		return "", err
	}
	return found[0].Pool, nil
}

// copiesOf finds the copies of [REMOTE:]IMAGE in the pools.
func (s *System) copiesOf(ctx context.Context, ref string) ([]Image, error) {
	remote, name, err := s.splitRef(ref)
	if err != nil {
		return nil, err
	}
	if remote != localRemote {
		c, _, err := s.client(remote)
		if err != nil {
			return nil, err
		}
		want, err := c.Find(ctx, name, remotes.Want{})
		if err != nil {
			return nil, err
		}
		name = want.Fingerprint
	} else if name == "" {
		name = defaultImage
	}
	all, err := s.Images(ctx, "")
	if err != nil {
		return nil, err
	}
	return pickImages(all, name, "")
}
