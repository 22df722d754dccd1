package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"poolctl/pool/journal"
	"poolctl/pool/tree"
	"poolctl/runtime"
)

// opDevices is the operation of an intent to change the devices of an instance
// that runs.
const opDevices = "instance-devices"

// devicesChange is that intent: the expanded devices before and after.
type devicesChange struct {
	Instance string                       `json:"instance"`
	From     map[string]map[string]string `json:"from"`
	To       map[string]map[string]string `json:"to"`
}

// beginDevices notes a change that takes effect before it is recorded; nil while
// the instance is stopped.
func (s *System) beginDevices(ctx context.Context, was, now tree.Instance) (*journal.Entry, error) {
	if !s.isRunning(was.Name) || len(changedDevices(was.ExpandedDevices, now.ExpandedDevices)) == 0 {
		return nil, nil
	}
	return journal.Begin(ctx, s.journalDir(), opDevices, devicesChange{Instance: was.Name, From: was.ExpandedDevices, To: now.ExpandedDevices})
}

// recoverDevices takes a running instance back to the devices of its record, when
// a killed change had not recorded its own.
func (s *System) recoverDevices(ctx context.Context, e *journal.Entry) error {
	var change devicesChange
	if err := e.Args(&change); err != nil {
		return err
	}
	in, err := s.lockInstance(ctx, change.Instance)
	if errors.Is(err, ErrNotFound) {
		return nil // deleted meanwhile
	} else if err != nil {
		return err
	}
	return errors.Join(s.takeBackDevices(ctx, in, change), in.close())
}

func (s *System) takeBackDevices(ctx context.Context, in *lockedInstance, change devicesChange) (err error) {
	if in.rec.Broken != nil {
		return nil
	}
	if err := s.reexpand(&in.rec); err != nil {
		return err
	}
	if !reflect.DeepEqual(in.rec.ExpandedDevices, change.From) {
		return nil // recorded, or changed again since
	}
	live, err := s.runningInstance(change.Instance)
	if errors.Is(err, runtime.ErrNotRunning) {
		return nil // a start takes all from the record
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	var back []diskDevice
	for _, d := range disksOf(change.From) {
		if !maps.Equal(d.dev, change.To[d.name]) {
			back = append(back, d)
		}
	}
	mounts, release, err := s.mountable(ctx, back)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	for _, n := range changedDevices(change.From, change.To) {
		if err := live.DetachDisk(n); errors.Is(err, runtime.ErrDiskBusy) {
			if _, stays := change.From[n]; !stays {
				s.noticef("device %s stays mounted in %s until that is stopped: %s", n, change.Instance, err)
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
	s.keepInstanceLimit(ctx, in)
	if err != nil {
		return fmt.Errorf("cannot take the devices of %s back: %w", change.Instance, err)
	}
	return nil
}
