package pool

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"syscall"
	"time"

	"poolctl/pool/state"
	"poolctl/runtime"
	"poolctl/runtime/network"
	"poolctl/runtime/network/firewall"
)

// Running instances see to their networks: their supervisors notice within seconds
// that a bridge, its dnsmasq or its rules are gone, whoever ended them, and bring it up
// again.

// networkWait is how long that waits for a command that changes networks.
const networkWait = 2 * time.Second

// lookAfter is runtime.Hooks.Look: at the sizes of an instance and at its networks.
func lookAfter(about string, saved json.RawMessage, highest []uint64) (runtime.Look, error) {
	out, err := watchSizes(about, saved, highest)
	s, of, sysErr := upkeepSystem(about)
	if err = errors.Join(err, sysErr); err != nil {
		return out, err
	}
	for _, n := range s.networksOf(of.Instance) {
		due, conditions := n.look()
		out.Due = out.Due || due
		out.Conditions = append(out.Conditions, conditions...)
	}
	due, conditions := s.lookInstanceRules(of.Instance)
	out.Due, out.Conditions = out.Due || due, append(out.Conditions, conditions...)
	for _, file := range runtime.NetworkFiles(s.instanceRunDir(of.Instance)) {
		info, err := os.Stat(file)
		if err != nil {
			info = nil
		}
		out.Conditions = append(out.Conditions, runtime.FileChanges(file, info))
	}
	return out, nil
}

// actFor is runtime.Hooks.Act.
func actFor(ctx context.Context, about string) error {
	return errors.Join(mendNetworks(ctx, about), recountSizes(ctx, about))
}

// runningNetwork is a network with the host ends of an instance's interfaces on it.
type runningNetwork struct {
	rec    state.NetworkRecord
	bridge network.Bridge
	ports  []string
}

// networksOf are the networks of a running instance.
func (s *System) networksOf(instance string) []runningNetwork {
	nics, err := s.runningNICs(instance)
	if err != nil {
		return nil // it has ended
	}
	var out []runningNetwork
	at := map[string]int{}
	for _, n := range nics {
		if n.Bridge == "" {
			continue
		}
		i, is := at[n.Bridge]
		if !is {
			rec, err := s.dir.LoadNetwork(n.Bridge)
			if err != nil {
				continue // a bridge of the host's
			}
			b, err := s.bridge(rec)
			if err != nil {
				continue // doctor tells of it
			}
			i, at[n.Bridge] = len(out), len(out)
			out = append(out, runningNetwork{rec: rec, bridge: b})
		}
		out[i].ports = append(out[i].ports, n.HostName)
	}
	return out
}

// look says whether something is to be done, and what would be another one then.
func (n runningNetwork) look() (due bool, conditions []runtime.Condition) {
	p, err := n.bridge.Pulse()
	if err != nil {
		return false, []runtime.Condition{runtime.Always(time.Minute)} // doctor tells of it
	}
	due, conditions = watchTables(n.bridge.Tables())
	due = due || !p.Alive || len(n.missing()) > 0
	index, pid := uint64(p.Index), uint64(p.PID) //nolint:gosec // neither is negative
	if p.Index == 0 {
		index = runtime.NumberAbsent
	}
	conditions = append(conditions, runtime.NumberChanges(network.IndexFile(n.bridge.Name), index))
	if p.PID == 0 {
		return due, conditions
	}
	conditions = append(conditions, runtime.NumberChanges(n.bridge.PIDFile(), pid))
	var st syscall.Stat_t
	if syscall.Stat(network.ProcessDir(p.PID), &st) == nil {
		conditions = append(conditions, runtime.LinksChange(network.ProcessDir(p.PID), uint64(st.Nlink))) //nolint:unconvert // 32 bits on other machines
	} else {
		due = true
	}
	return due, conditions
}

// missing are the host ends that should be on the bridge.
func (n runningNetwork) missing() []string {
	var out []string
	for _, p := range n.ports {
		if !network.IsJoined(p, n.bridge.Name) {
			out = append(out, p)
		}
	}
	return out
}

// mend brings the network up, and the host ends on it.
func (n runningNetwork) mend(ctx context.Context) error {
	if err := n.bridge.Up(ctx); err != nil {
		return err
	}
	var errs []error
	for _, p := range n.missing() {
		err := network.Join(p, n.bridge.Name)
		if err == nil && len(n.bridge.Forwards) > 0 {
			err = firewall.Hairpin(p)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// mendNetworks brings up what is gone of the networks of a running instance.
func mendNetworks(ctx context.Context, about string) error {
	s, of, err := upkeepSystem(about)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range s.networksOf(of.Instance) {
		if due, _ := n.look(); !due {
			continue
		}
		errs = append(errs, s.mendNetwork(ctx, of.Instance, n.bridge.Name))
	}
	if due, _ := s.lookInstanceRules(of.Instance); due {
		errs = append(errs, s.mendInstanceRules(ctx, of.Instance))
	}
	return errors.Join(errs...)
}

// mendNetwork does so while no command changes networks.
func (s *System) mendNetwork(ctx context.Context, instance, name string) error {
	short, cancel := context.WithTimeout(ctx, networkWait)
	defer cancel()
	unlock, err := s.dir.LockState(short)
	if err != nil {
		return nil // the next time: it is due then as well
	}
	defer unlock()
	for _, n := range s.networksOf(instance) { // it may have been changed while we waited
		if due, _ := n.look(); due && n.bridge.Name == name {
			return n.mend(ctx)
		}
	}
	return nil
}
