package pool

import (
	"context"
	"errors"

	"poolctl/runtime"
	"poolctl/runtime/network"
	"poolctl/runtime/network/firewall"
)

// Another program that loads its own rules may flush those of all (`nft flush
// ruleset`): supervisors notice that tables are gone, and have them made again.

// watchTables says whether one of the tables is gone, and the conditions for the next
// look.
func watchTables(tables []firewall.Table) (due bool, conditions []runtime.Condition) {
	for _, t := range tables {
		is, err := t.Exists()
		if err != nil {
			continue // doctor tells of it
		}
		due = due || !is
		conditions = append(conditions, runtime.TableGone(t.Family, t.Name))
	}
	return due, conditions
}

// lookNICRules looks at the rules of a running instance's own interfaces: filters and
// limits.
func (s *System) lookNICRules(instance string) (due bool, conditions []runtime.Condition) {
	nics, err := s.runningNICs(instance)
	if err != nil {
		return false, nil // it has ended
	}
	for _, n := range nics {
		d, c := watchTables(n.Tables())
		due, conditions = due || d, append(conditions, c...)
	}
	return due, conditions
}

// mendNICRules makes those anew that are gone.
func (s *System) mendNICRules(ctx context.Context, instance string) error {
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
	return errors.Join(errs...)
}

func (s *System) runningNICs(instance string) ([]network.NIC, error) {
	in, err := s.runningInstance(instance)
	if err != nil {
		return nil, err
	}
	nics, err := in.NICs()
	return nics, errors.Join(err, in.Close())
}
