package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path/filepath"
	"time"

	"poolctl/pool/state"
	"poolctl/runtime/network"
)

// CreateNetwork makes a bridge network and brings it up. config takes the
// NetworkKeys. What it leaves out of the addresses is "auto": a free subnet is
// picked, with NAT unless the configuration says otherwise.
func (s *System) CreateNetwork(ctx context.Context, name string, config map[string]string, description string) error {
	if err := network.ValidateName(name); err != nil {
		return fmt.Errorf("cannot create network %q: %w", name, err)
	}
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.createNetwork(ctx, name, config, description); err != nil {
		return fmt.Errorf("cannot create network %s: %w", name, err)
	}
	return nil
}

func (s *System) createNetwork(ctx context.Context, name string, config map[string]string, description string) error {
	if _, err := s.dir.LoadNetwork(name); err == nil {
		return ErrExists
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := checkNetworkKeys(config); err != nil {
		return err
	}
	filled, err := s.newNetworkConfig(name, config)
	if err != nil {
		return err
	}
	rec := state.NetworkRecord{Name: name, Type: "bridge", Description: description, Config: filled, CreatedAt: time.Now().UTC()}
	bridge, err := s.checkedBridge(ctx, rec)
	if err != nil {
		return err
	}
	if err := s.dir.SaveNetwork(rec); err != nil {
		return err
	}
	if err := s.bringUp(ctx, bridge); err != nil {
		return errors.Join(err, s.dropNetwork(context.WithoutCancel(ctx), bridge))
	}
	return nil
}

// newNetworkConfig is the configuration of a new network: Incus's defaults where
// nothing is said, and addresses for "auto".
func (s *System) newNetworkConfig(name string, config map[string]string) (map[string]string, error) {
	out := map[string]string{}
	for _, family := range []string{"ipv4", "ipv6"} {
		out[family+".address"] = autoAddress
		if v := config[family+".address"]; v == "" || v == autoAddress {
			out[family+".nat"] = "true"
		}
	}
	for k, v := range config {
		if v != "" {
			out[k] = v
		}
	}
	return out, s.fillAuto(name, out)
}

// fillAuto puts free subnets in the place of "auto".
func (s *System) fillAuto(name string, config map[string]string) error {
	taken, err := s.networkSubnets(name)
	if err != nil {
		return err
	}
	var avoid []netip.Prefix
	for p := range taken {
		avoid = append(avoid, p)
	}
	for key, random := range map[string]func(...netip.Prefix) (netip.Prefix, error){"ipv4.address": network.RandomIPv4, "ipv6.address": network.RandomIPv6} {
		if config[key] != autoAddress {
			continue
		}
		p, err := random(avoid...)
		if err != nil {
			return err
		}
		config[key] = noAddress // the kernel has no IPv6
		if p.IsValid() {
			config[key] = p.String()
		} else {
			delete(config, "ipv6.nat")
		}
	}
	return nil
}

// networkSubnets are the subnets of all networks but one, and whose they are. They
// may be down, so that the host does not know of them.
func (s *System) networkSubnets(but string) (map[netip.Prefix]string, error) {
	names, err := s.dir.ListNetworks()
	if err != nil {
		return nil, err
	}
	taken := map[netip.Prefix]string{}
	for _, n := range names {
		if n == but {
			continue
		}
		rec, err := s.dir.LoadNetwork(n)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		b, err := s.bridge(rec)
		if err != nil {
			return nil, err
		}
		for _, p := range b.Subnets() {
			taken[p] = n
		}
	}
	return taken, nil
}

// checkedBridge is the live side of a record that is to be, of which everything
// was checked that can be without a change: the values together, other networks,
// the host's links and routes, and what dnsmasq says of its configuration.
func (s *System) checkedBridge(ctx context.Context, rec state.NetworkRecord) (network.Bridge, error) {
	b, err := s.bridge(rec)
	if err != nil {
		return b, err
	}
	if err := b.Validate(); err != nil {
		return b, err
	}
	taken, err := s.networkSubnets(rec.Name)
	if err != nil {
		return b, err
	}
	for _, p := range b.Subnets() {
		for other, owner := range maps.All(taken) {
			if p.Overlaps(other) {
				return b, withHint(fmt.Errorf("the subnet %s overlaps %s of network %s", p, other, owner), "choose another address for the network, or auto")
			}
		}
	}
	if err := s.checkForwards(ctx, b, rec.Forwards); err != nil {
		return b, err
	}
	return b, b.Check(ctx)
}

// bareBridge is the live side of a network without its configuration, which is
// enough to find it and to take it down.
func (s *System) bareBridge(name string) network.Bridge {
	return network.Bridge{Name: name, Dir: filepath.Join(s.dir.Networks(), name), RunDir: filepath.Join(s.dir.Run(), "networks", name)}
}
