package pool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// claimNames refuses a pool with instances whose names, as rename says, are taken in
// another pool, naming them all, and keeps the others free until unlock. A name by
// which nothing can be called here is told.
func (s *System) claimNames(ctx context.Context, about about, rename map[string]string) (unlock func(), err error) {
	if err := checkRename(about, rename); err != nil {
		return nil, err
	}
	var names []string
	for _, in := range about.instances {
		name := in.Name
		if to, is := rename[name]; is {
			name = to
		}
		if err := state.ValidateName("instance", name); err != nil {
			s.noticef("instance %q cannot be used: %s", name, err)
			continue
		}
		names = append(names, name)
	}
	if unlock, err = s.lockNames(ctx, names...); err != nil {
		return nil, err
	}
	taken, err := s.takenNames(ctx)
	if err != nil {
		unlock()
		return nil, err
	}
	var both []string
	for _, n := range names {
		if pool := taken[n]; pool != "" {
			both = append(both, fmt.Sprintf("%s (in pool %s)", n, pool))
		}
	}
	if len(both) > 0 {
		unlock()
		return nil, withHint(fmt.Errorf("instances of the same name are here: %s: %w", strings.Join(both, ", "), ErrExists),
			"give those in it other names: --rename %s=NEWNAME; or another state directory (--root DIR) to this pool", strings.Fields(both[0])[0])
	}
	return unlock, nil
}

// checkRename refuses new names for what is not there, names that cannot be, and two
// instances of one name.
func checkRename(about about, rename map[string]string) error {
	here := map[string]bool{}
	for _, in := range about.instances {
		here[in.Name] = true
	}
	after := map[string]string{}
	for name := range here {
		if _, renamed := rename[name]; !renamed {
			after[name] = name
		}
	}
	for _, from := range sortedKeys(rename) {
		to := rename[from]
		if !here[from] {
			return withHint(fmt.Errorf("cannot rename instance %s: it is not in it: %w", shellWord(from), ErrNotFound), "poolctl pool inspect FILE lists those that are")
		}
		if err := tree.ValidateInstanceName(to); err != nil {
			return fmt.Errorf("cannot rename instance %s to %q: %w", from, to, err)
		}
		if other := after[to]; other != "" || here[to] && to != from {
			return fmt.Errorf("cannot rename instance %s to %s: %w in it", from, to, ErrExists)
		}
		after[to] = from
	}
	return nil
}

// takenNames says in which pool each instance is. A pool that was detached is
// attached for it; one that cannot be attached or read is told of.
func (s *System) takenNames(ctx context.Context) (map[string]string, error) {
	shown, detached, err := s.poolNames()
	if err != nil {
		return nil, err
	}
	taken := map[string]string{}
	for i, n := range append(shown, detached...) {
		err := s.addNames(ctx, n, taken)
		if err := s.leftOut(ctx, n, err); err != nil {
			return nil, err
		}
		if i >= len(shown) {
			s.detachAgain(ctx, n)
		}
	}
	return taken, nil
}

func (s *System) addNames(ctx context.Context, pool string, taken map[string]string) error {
	short, cancel := context.WithTimeout(ctx, 10*time.Second) // whoever has it for himself may wait for us
	defer cancel()
	p, err := s.openPool(short, pool)
	if err != nil {
		return err
	}
	all, err := p.Instances(ctx)
	for _, in := range all {
		taken[in.Name] = pool
	}
	return errors.Join(err, p.close())
}
