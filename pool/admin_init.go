package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// AdminInit sets a host up: a pool and a network, and the default profile that
// gives new instances a root disk in the one and eth0 on the other. What is
// there already stays as it is. When the network cannot be made, a pool that
// was made for it is deleted again.
func (s *System) AdminInit(ctx context.Context, o InitOptions) (err error) {
	madePool := false
	if o.PoolName != "" {
		madePool, err = s.initPool(ctx, o)
		if err != nil {
			return err
		}
	}
	if o.Network != "" {
		if err := s.initNetwork(ctx, o); err != nil {
			if madePool {
				err = errors.Join(err, s.DeletePool(context.WithoutCancel(ctx), o.PoolName, false))
			}
			return err
		}
	}
	return nil
}

func (s *System) initPool(ctx context.Context, o InitOptions) (made bool, err error) {
	if _, err := s.dir.LoadPool(o.PoolName); errors.Is(err, fs.ErrNotExist) {
		config := map[string]string{}
		if o.PoolSize != "" {
			config["size"] = o.PoolSize
		}
		if o.PoolSource != "" {
			config["source"] = o.PoolSource
		}
		if err := s.CreatePool(ctx, CreatePoolOptions{Name: o.PoolName, Driver: "btrfs", Config: config}); err != nil {
			return false, err
		}
		made = true
	} else if err != nil {
		return false, err
	} else {
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
	if errors.Is(err, ErrExists) {
		s.noticef("network %s is there already and stays as it is", o.Network)
		err = nil
	}
	if err != nil {
		return err
	}
	nic := map[string]string{"type": "nic", "name": "eth0", "network": o.Network}
	if err := s.setProfileDevice(ctx, defaultProfile, "eth0", nic); err != nil {
		return fmt.Errorf("cannot set up the default profile: %w", err)
	}
	return nil
}
