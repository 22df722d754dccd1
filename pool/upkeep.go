package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"poolctl/pool/state"
	"poolctl/runtime"
)

// Hooks are what supervisors do for the instances that are started here: they have
// the sizes of the instance and of its volumes counted anew (sizeWatch says when) and
// its networks brought up again (lookAfter), and at its end delete an ephemeral one, or record that it has stopped of itself.
// They are for runtime.Main.
func Hooks() runtime.Hooks {
	return runtime.Hooks{Look: lookAfter, Act: actFor, Ended: endedInstance}
}

// upkeepOf is what the Hooks are told of an instance.
type upkeepOf struct {
	Root     string `json:"root"`
	Pool     string `json:"pool"`
	Instance string `json:"instance"`
}

func (s *System) upkeepOf(in *lockedInstance) (string, error) {
	about, err := json.Marshal(upkeepOf{s.dir.Root, in.openedPool.rec.Name, in.rec.Name})
	return string(about), err
}

// upkeepSystem is the state directory for an Upkeep. What killed commands left is
// for the next command.
func upkeepSystem(about string) (*System, upkeepOf, error) {
	var of upkeepOf
	if err := json.Unmarshal([]byte(about), &of); err != nil {
		return nil, of, fmt.Errorf("cannot read what the upkeep is for: %w", err)
	}
	dir, err := state.Open(of.Root)
	if err != nil {
		return nil, of, err
	}
	return &System{dir: dir, cgroups: cgroupParent(of.Root), notice: func(string) {}}, of, nil
}

// upkeepWait is how long the Upkeep waits for a lock: who has it may be waiting for
// the instance to end.
const upkeepWait = 20 * time.Millisecond

// recountSizes counts the limits of a running instance and of the custom volumes
// that are mounted in it anew. Those that another command is at work on are left
// for the next time.
func recountSizes(ctx context.Context, about string) error {
	s, of, err := upkeepSystem(about)
	if err != nil || !s.isLive(of.Instance) {
		return err
	}
	err = s.recountIn(ctx, of.Pool, func(p *openedPool) error {
		return p.Recount(ctx, p.InstancePath(of.Instance), func(lock bool) (int64, func(), bool, error) {
			return s.wantedOfInstance(ctx, p, of.Instance, lock)
		})
	})
	errs := []error{err}
	for _, d := range s.mountedDisks(of.Instance) {
		pool, name, ok := strings.Cut(d.Volume, "/")
		if !ok {
			continue
		}
		errs = append(errs, s.recountIn(ctx, pool, func(p *openedPool) error {
			return p.Recount(ctx, p.VolumePath(name), func(lock bool) (int64, func(), bool, error) {
				return s.wantedOfVolume(ctx, p, name, lock)
			})
		}))
	}
	return errors.Join(errs...)
}

// recountIn calls count with an attached pool, unless somebody has it for himself.
func (s *System) recountIn(ctx context.Context, pool string, count func(*openedPool) error) error {
	short, cancel := context.WithTimeout(ctx, upkeepWait)
	defer cancel()
	unlock, err := s.dir.LockPool(short, pool, true)
	if err != nil {
		return nil // the next time
	}
	defer unlock()
	rec, err := s.loadPool(pool)
	if err != nil {
		return err
	}
	t, err := s.peek(rec)
	if err != nil || t == nil {
		return err
	}
	return errors.Join(ignoreNotExist(count(&openedPool{Tree: t, rec: rec})), t.Close())
}

// wantedOfInstance is tree.Wanted for an instance.
func (s *System) wantedOfInstance(ctx context.Context, p *openedPool, name string, lock bool) (size int64, unlock func(), ok bool, err error) {
	unlock = func() {}
	if lock {
		short, cancel := context.WithTimeout(ctx, upkeepWait)
		defer cancel()
		if unlock, err = s.dir.LockInstance(short, name); err != nil {
			return 0, nil, false, nil // who has it sees to it
		}
	}
	in, err := p.Instance(name)
	if err == nil {
		err = in.Broken
	}
	if err == nil {
		size, err = rootSize(in.ExpandedDevices)
	}
	return wanted(size, unlock, err)
}

// wantedOfVolume is tree.Wanted for a custom volume.
func (s *System) wantedOfVolume(ctx context.Context, p *openedPool, name string, lock bool) (size int64, unlock func(), ok bool, err error) {
	unlock = func() {}
	if lock {
		short, cancel := context.WithTimeout(ctx, upkeepWait)
		defer cancel()
		if unlock, err = s.dir.LockVolume(short, p.rec.Name, name); err != nil {
			return 0, nil, false, nil // who has it sees to it
		}
	}
	v, err := p.Volume(name)
	if err == nil && v.Config["size"] != "" {
		size, err = ParseSize(v.Config["size"])
	}
	return wanted(size, unlock, err)
}

func wanted(size int64, unlock func(), err error) (int64, func(), bool, error) {
	if err != nil {
		unlock()
		return 0, nil, false, err
	}
	return size, unlock, true, nil
}
