package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"poolctl/pool/state"
)

// AdminInit sets a host up: a pool and a network, and the default profile that
// gives new instances a root disk in the one and eth0 on the other. What is
// there already stays as it is. When a step fails, what was made is deleted again.
func (s *System) AdminInit(ctx context.Context, o InitOptions) (err error) {
	if o.PoolName != "" {
		made, err := s.initPool(ctx, o)
		if err == nil && o.Network != "" {
			err = s.initNetwork(ctx, o)
		}
		if err != nil && made {
			err = errors.Join(err, s.DeletePool(context.WithoutCancel(ctx), o.PoolName, false))
		}
		return err
	}
	if o.Network != "" {
		return s.initNetwork(ctx, o)
	}
	return nil
}

func (s *System) initPool(ctx context.Context, o InitOptions) (made bool, err error) {
	if err := state.ValidateName("pool", o.PoolName); err != nil {
		return false, fmt.Errorf("cannot create pool %q: %w", o.PoolName, err)
	}
	if _, err := s.dir.LoadPool(o.PoolName); errors.Is(err, fs.ErrNotExist) {
		config := map[string]string{}
		if o.PoolSource != "" {
			config["source"] = o.PoolSource
		}
		size := o.PoolSize
		if kind, _, err := s.locateSource(o.PoolName, config); err == nil && kind == state.PoolFile && size == "" { // CreatePool tells of the error
			size = o.DefaultSize
		}
		if size != "" {
			config["size"] = size
		}
		if err := s.CreatePool(ctx, CreatePoolOptions{Name: o.PoolName, Driver: "btrfs", Config: config}); err != nil {
			return false, err
		}
		made = true
	} else if err != nil {
		return false, err
	} else if !o.Silent {
		s.noticef("pool %s is there already and stays as it is", o.PoolName)
	}
	root := map[string]string{"type": "disk", "path": "/", "pool": o.PoolName}
	if err := s.setProfileDevice(ctx, defaultProfile, "root", root); err != nil {
		return made, fmt.Errorf("cannot set up the default profile: %w", err)
	}
	return made, nil
}

func (s *System) initNetwork(ctx context.Context, o InitOptions) error {
	config := map[string]string{"ipv4.address": o.IPv4, "ipv6.address": o.IPv6}
	err := s.CreateNetwork(ctx, o.Network, config, "")
	made := err == nil
	if errors.Is(err, ErrExists) {
		if !o.Silent {
			s.noticef("network %s is there already and stays as it is", o.Network)
		}
	} else if err != nil {
		return err
	}
	nic := map[string]string{"type": "nic", "name": "eth0", "network": o.Network}
	if err := s.setProfileDevice(ctx, defaultProfile, "eth0", nic); err != nil {
		err = fmt.Errorf("cannot set up the default profile: %w", err)
		if made {
			err = errors.Join(err, s.undoNetwork(context.WithoutCancel(ctx), o.Network))
		}
		return err
	}
	return nil
}

// undoNetwork deletes a network that was made a moment ago, which no instance
// and no profile uses yet.
func (s *System) undoNetwork(ctx context.Context, name string) error {
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.dir.LoadNetwork(name)
	if err != nil {
		return err
	}
	bridge, err := s.bridge(rec)
	if err != nil {
		return err
	}
	return s.dropNetwork(ctx, bridge)
}
