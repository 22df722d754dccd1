package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"poolctl/pool/journal"
	"poolctl/pool/tree"
	"poolctl/runtime"
)

// opChange is the operation of an intent to change an instance that runs.
const opChange = "instance-change"

// instanceChange is that intent: the expansion before and after.
type instanceChange struct {
	Instance string   `json:"instance"`
	From     expanded `json:"from"`
	To       expanded `json:"to"`
}

// expanded is the configuration of an instance as its profiles and it make it.
type expanded struct {
	Config  map[string]string            `json:"config"`
	Devices map[string]map[string]string `json:"devices"`
}

func expandedOf(in tree.Instance) expanded { return expanded{in.ExpandedConfig, in.ExpandedDevices} }

func (t transition) intent() instanceChange {
	return instanceChange{Instance: t.in.rec.Name, From: expandedOf(t.was), To: expandedOf(t.now)}
}

// recoverChange takes a running instance back to its record, when a killed change
// had not recorded its own.
func (s *System) recoverChange(ctx context.Context, e *journal.Entry) error {
	var change instanceChange
	if err := e.Args(&change); err != nil {
		return err
	}
	return s.recoverInstance(ctx, change)
}

func (s *System) recoverInstance(ctx context.Context, change instanceChange) (err error) {
	in, err := s.lockInstance(ctx, change.Instance)
	if errors.Is(err, ErrNotFound) {
		return nil // deleted meanwhile
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if in.rec.Broken != nil {
		return nil
	}
	if err := s.reexpand(&in.rec); err != nil {
		return err
	}
	if err := s.settleLive(ctx, in, change.From, change.To); err != nil {
		return fmt.Errorf("cannot take the configuration of %s back: %w", change.Instance, err)
	}
	if err := s.dropNICs(in, change.From.Devices, change.To.Devices); err != nil {
		return fmt.Errorf("cannot take the interfaces of %s back: %w", change.Instance, err)
	}
	return nil
}

// dropNICs gives back what is reserved for the nics of a change that the instance does
// not have, and takes from its record what told them.
func (s *System) dropNICs(in *lockedInstance, from, to map[string]map[string]string) error {
	var gone []string
	for _, n := range changedNICs(from, to) {
		if isNIC(in.rec.ExpandedDevices[n]) {
			continue
		}
		dev := to[n]
		if !isNIC(dev) {
			dev = from[n]
		}
		if err := s.releaseNIC(in.rec, n, dev); err != nil {
			return err
		}
		for _, key := range []string{volatilePrefix + n + hwaddrSuffix, volatilePrefix + n + hostNameSuffix} {
			if in.rec.Config[key] != "" {
				gone = append(gone, key)
			}
		}
	}
	if len(gone) == 0 {
		return nil
	}
	rec, err := in.UpdateInstance(in.rec.Name, func(r *tree.Instance) error {
		for _, key := range gone {
			delete(r.Config, key)
		}
		return s.reexpandKnown(r)
	})
	if err == nil {
		in.rec = rec
	}
	return err
}

// settleLive has a running instance be what its record, with its expansion, says,
// in what a change made of it. What is recorded took effect before: then there is
// nothing to do.
func (s *System) settleLive(ctx context.Context, in *lockedInstance, from, to expanded) (err error) {
	want := expandedOf(in.rec)
	live, err := s.runningInstance(in.rec.Name)
	if errors.Is(err, runtime.ErrNotRunning) {
		return nil // a start takes all from the record
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	other := expanded{maps.Clone(want.Config), maps.Clone(want.Devices)}
	for _, k := range changedKeys(from.Config, to.Config) {
		take(other.Config, to.Config, k)
	}
	for _, n := range changedDevices(from.Devices, to.Devices) {
		take(other.Devices, to.Devices, n)
	}
	if _, err := s.applyConfig(ctx, in, other.Config, want.Config); err != nil {
		return err
	}
	return s.settleDevices(ctx, in, live, want.Devices, other.Devices)
}

// take makes into have what of has by a name, nothing if that is so.
func take[V any](into, of map[string]V, name string) {
	if v, has := of[name]; has {
		into[name] = v
	} else {
		delete(into, name)
	}
}

// settleDevices takes away what of the devices other the instance may have, and
// gives it what it should have in their place.
func (s *System) settleDevices(ctx context.Context, in *lockedInstance, live *runtime.Instance, want, other map[string]map[string]string) (err error) {
	changed := changedDevices(want, other)
	if len(changed) == 0 {
		return nil
	}
	var back []diskDevice
	for _, d := range disksOf(want) {
		if slices.Contains(changed, d.name) {
			back = append(back, d)
		}
	}
	mounts, release, err := s.mountable(ctx, back)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	for _, n := range changed {
		if err := live.DetachDisk(n); errors.Is(err, runtime.ErrDiskBusy) {
			if want[n] == nil {
				s.noticef("device %s stays mounted in %s until that is stopped: %s", n, in.rec.Name, err)
			}
		} else if err != nil {
			return err
		}
	}
	have, err := live.Disks()
	if err != nil {
		return err
	}
	for _, d := range mounts {
		if !slices.ContainsFunc(have, func(h runtime.Disk) bool { return h.Device == d.Device }) { // it could not be taken away
			err = errors.Join(err, live.AttachDisk(ctx, d))
		}
	}
	if nics := changedNICs(want, other); len(nics) > 0 {
		err = errors.Join(err, s.settleNICs(ctx, in, live, want, other, nics))
	}
	s.keepInstanceLimit(ctx, in)
	return errors.Join(err, settleProxies(ctx, live, want, other))
}
