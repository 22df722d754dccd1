package pool

import (
	"context"
	"errors"

	"poolctl/runtime"
	"poolctl/runtime/network"
	"poolctl/runtime/network/firewall"
)

// Another program that loads its own rules may flush those of all (`nft flush
// ruleset`): supervisors notice that tables are gone or were emptied, and have them made
// again.

// watchTables says whether one of the tables is gone or has not as many rules as it
// should have, and the conditions for the next look.
func watchTables(tables []firewall.Table) (due bool, conditions []runtime.Condition) {
	for _, t := range tables {
		counted, err := t.Counted()
		if err != nil {
			continue // doctor tells of it
		}
		due = due || !counted
		for _, c := range t.Chains {
			conditions = append(conditions, runtime.ChainChanges(t.Family, t.Name, c.Name, c.Rules))
		}
	}
	return due, conditions
}

// lookInstanceRules looks at the rules of a running instance's own interfaces: filters
// and limits, and what its proxy devices publish.
func (s *System) lookInstanceRules(instance string) (due bool, conditions []runtime.Condition) {
	nics, published, err := s.runningRules(instance)
	if err != nil {
		return false, nil // it has ended, or a command is at work on it
	}
	for _, n := range nics {
		d, c := watchTables(n.Tables())
		due, conditions = due || d, append(conditions, c...)
	}
	for _, p := range published {
		d, c := watchTables(p.Tables())
		due, conditions = due || d, append(conditions, c...)
	}
	return due, conditions
}

// mendInstanceRules makes those anew that are not as they should be.
func (s *System) mendInstanceRules(ctx context.Context, instance string) error {
	short, cancel := context.WithTimeout(ctx, upkeepWait)
	defer cancel()
	unlock, err := s.dir.LockInstance(short, instance)
	if err != nil {
		return nil // the next time: it is due then as well
	}
	defer unlock()
	nics, err := s.runningNICs(instance)
	if err != nil {
		return nil // it has ended
	}
	var errs []error
	for _, n := range nics {
		if due, _ := watchTables(n.Tables()); due {
			errs = append(errs, n.Rule())
		}
	}
	return errors.Join(append(errs, s.mendProxyRules(ctx, instance))...)
}

// mendProxyRules does so for what proxy devices publish, of an instance that is locked.
func (s *System) mendProxyRules(ctx context.Context, instance string) error {
	in, err := s.runningInstance(instance)
	if errors.Is(err, runtime.ErrNotRunning) {
		return nil
	} else if err != nil {
		return err
	}
	return errors.Join(in.MendProxyRules(ctx), in.Close())
}

func (s *System) runningNICs(instance string) ([]network.NIC, error) {
	in, err := s.runningInstance(instance)
	if err != nil {
		return nil, err
	}
	nics, err := in.NICs()
	return nics, errors.Join(err, in.Close())
}

// runningRules are the interfaces of a running instance, and what its proxy devices
// publish by them.
func (s *System) runningRules(instance string) ([]network.NIC, []firewall.Published, error) {
	in, err := s.runningInstance(instance)
	if err != nil {
		return nil, nil, err
	}
	nics, err := in.NICs()
	published, rulesErr := in.ProxyRules()
	return nics, published, errors.Join(err, rulesErr, in.Close())
}
