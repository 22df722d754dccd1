package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// profileInstances names the instances that use a profile, of the attached pools,
// sorted.
func (s *System) profileInstances(ctx context.Context, profile string) ([]string, error) {
	all, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, in := range all {
		if in.Broken == nil && slices.Contains(in.Profiles, profile) {
			out = append(out, in.Name)
		}
	}
	slices.Sort(out)
	return out, nil
}

// lockUsers locks the instances that use a profile, and the profiles: until release
// nobody else comes to use it.
func (s *System) lockUsers(ctx context.Context, profile string) (users []*lockedInstance, release func() error, err error) {
	for range 10 {
		names, err := s.profileInstances(ctx, profile)
		if err != nil {
			return nil, nil, err
		}
		users, releaseUsers, err := s.lockInstances(ctx, names)
		if err != nil {
			return nil, nil, err
		}
		unlock, err := s.dir.LockProfiles(ctx, false)
		if err != nil {
			return nil, nil, errors.Join(err, releaseUsers())
		}
		release = func() error { unlock(); return releaseUsers() }
		now, err := s.profileInstances(ctx, profile)
		if err != nil {
			return nil, nil, errors.Join(err, release())
		}
		if !slices.ContainsFunc(now, func(n string) bool { return !slices.Contains(names, n) }) {
			return slices.DeleteFunc(users, func(in *lockedInstance) bool { return !slices.Contains(now, in.rec.Name) }), release, nil
		}
		if err := release(); err != nil {
			return nil, nil, err
		}
	}
	return nil, nil, withHint(errors.New("more and more instances come to use it"), "try it once more")
}

// lockInstances opens the pools of instances, locks them in the order of their names
// and reads their records. One that is gone is left out.
func (s *System) lockInstances(ctx context.Context, names []string) (locked []*lockedInstance, release func() error, err error) {
	var pools []*openedPool
	var unlock func()
	release = func() error {
		if unlock != nil {
			unlock()
		}
		var errs []error
		for _, p := range pools {
			errs = append(errs, p.close())
		}
		return errors.Join(errs...)
	}
	found := map[string]*openedPool{}
	for _, n := range names {
		p, _, err := s.findInstance(ctx, n)
		if errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return nil, nil, errors.Join(err, release())
		}
		pools, found[n] = append(pools, p), p
	}
	if unlock, err = s.lockNames(ctx, sortedKeys(found)...); err != nil {
		return nil, nil, errors.Join(err, release())
	}
	for _, n := range sortedKeys(found) {
		rec, err := found[n].Instance(n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return nil, nil, errors.Join(err, release())
		}
		locked = append(locked, &lockedInstance{openedPool: found[n], rec: rec, unlock: func() {}})
	}
	return locked, release, nil
}

// checkUnusedProfile refuses a profile that an instance uses, also in a pool that is
// detached, which is attached for it.
func (s *System) checkUnusedProfile(ctx context.Context, profile string, users []*lockedInstance) error {
	var names []string
	for _, in := range users {
		names = append(names, in.rec.Name)
	}
	if len(names) > 0 {
		return withHint(fmt.Errorf("%w: by the instances %s", ErrInUse, firstFew(names)), "take it from them first: poolctl profile remove %s %s", names[0], profile)
	}
	_, detached, err := s.poolNames()
	if err != nil {
		return err
	}
	for _, pool := range detached {
		user, err := s.profileUserIn(ctx, pool, profile)
		switch {
		case errors.Is(err, ErrNotFound): // deleted meanwhile
		case err != nil:
			return fmt.Errorf("pool %s is detached, and whether an instance in it uses the profile cannot be seen: %w", pool, err)
		case user != "":
			return withHint(fmt.Errorf("%w: by instance %s in pool %s, which is detached", ErrInUse, user, pool), "poolctl pool attach %s", pool)
		}
	}
	return nil
}

// profileUserIn names an instance of a detached pool that uses a profile. The pool is
// detached again.
func (s *System) profileUserIn(ctx context.Context, pool, profile string) (user string, err error) {
	short, cancel := context.WithTimeout(ctx, 10*time.Second) // whoever has it for himself may wait for us
	defer cancel()
	p, err := s.openPool(short, pool)
	if err != nil {
		return "", err
	}
	defer s.detachAgain(ctx, pool)
	all, err := p.Instances(ctx)
	for _, in := range all {
		if in.Broken == nil && slices.Contains(in.Profiles, profile) {
			user = in.Name
		}
	}
	return user, errors.Join(err, p.close())
}
