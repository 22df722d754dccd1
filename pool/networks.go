package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"

	"poolctl/pool/state"
	"poolctl/runtime/network"
)

// CreateNetwork makes a bridge network and brings it up. config takes
// ipv4.address and ipv6.address: "auto" (the default: a free subnet is picked),
// "none", or an address with its prefix length, such as 10.1.2.1/24.
func (s *System) CreateNetwork(ctx context.Context, name string, config map[string]string, description string) (err error) {
	if err := network.ValidateName(name); err != nil {
		return fmt.Errorf("cannot create network %q: %w", name, err)
	}
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.dir.LoadNetwork(name); err == nil {
		return fmt.Errorf("cannot create network %s: %w", name, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	filled, err := networkConfig(config)
	if err != nil {
		return fmt.Errorf("cannot create network %s: %w", name, err)
	}
	rec := state.NetworkRecord{Name: name, Type: "bridge", Description: description, Config: filled, CreatedAt: time.Now().UTC()}
	bridge, err := s.bridge(rec)
	if err != nil {
		return fmt.Errorf("cannot create network %s: %w", name, err)
	}
	if err := s.dir.SaveNetwork(rec); err != nil {
		return err
	}
	if err := bridge.Up(ctx); err != nil {
		return errors.Join(err, s.dropNetwork(context.WithoutCancel(ctx), bridge))
	}
	return nil
}

// networkConfig checks the keys of a new network and fills in what is "auto".
func networkConfig(config map[string]string) (map[string]string, error) {
	out := map[string]string{"ipv4.address": "auto", "ipv6.address": "auto"}
	for k, v := range config {
		if _, known := out[k]; !known && !isUserKey(k) {
			return nil, fmt.Errorf("unknown key %q", k)
		}
		if v != "" {
			out[k] = v
		}
	}
	auto4, auto6, err := network.RandomSubnets()
	if err != nil {
		return nil, err
	}
	for key, auto := range map[string]netip.Prefix{"ipv4.address": auto4, "ipv6.address": auto6} {
		switch v := out[key]; v {
		case "auto":
			out[key] = auto.String()
		case "none":
		default:
			p, err := netip.ParsePrefix(v)
			if err != nil || p.Addr().Is4() != (key == "ipv4.address") || p.Masked().Addr() == p.Addr() && !p.IsSingleIP() {
				return nil, withHint(fmt.Errorf("%s=%q is no address of a host in a subnet", key, v), "for example ipv4.address=10.1.2.1/24 ipv6.address=fd42:1:2:3::1/64")
			}
		}
	}
	return out, nil
}

// bridge is the live side of a network record.
func (s *System) bridge(rec state.NetworkRecord) (network.Bridge, error) {
	b := network.Bridge{
		Name: rec.Name, Dir: filepath.Join(s.dir.Networks(), rec.Name),
		RunDir: filepath.Join(s.dir.Run(), "networks", rec.Name),
	}
	for key, p := range map[string]*netip.Prefix{"ipv4.address": &b.IPv4, "ipv6.address": &b.IPv6} {
		if v := rec.Config[key]; v != "" && v != "none" {
			prefix, err := netip.ParsePrefix(v)
			if err != nil {
				return b, fmt.Errorf("cannot read %s of network %s: %w", key, rec.Name, err)
			}
			*p = prefix
		}
	}
	return b, nil
}

// Networks lists the managed networks and the host's other interfaces.
func (s *System) Networks(ctx context.Context) ([]Network, error) {
	names, err := s.dir.ListNetworks()
	if err != nil {
		return nil, err
	}
	var out []Network
	for _, name := range names {
		n, err := s.Network(ctx, name)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	links, err := network.HostLinks()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if !slices.Contains(names, l.Name) {
			out = append(out, Network{Name: l.Name, Type: l.Type, Config: map[string]string{}, UsedBy: []string{}, Locations: []string{}})
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// Network shows one managed network.
func (s *System) Network(ctx context.Context, name string) (Network, error) {
	rec, err := s.dir.LoadNetwork(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Network{}, withHint(fmt.Errorf("cannot find network %q: %w", name, ErrNotFound), "poolctl network list shows them")
	} else if err != nil {
		return Network{}, err
	}
	used, err := s.networkUsers(ctx, name)
	if err != nil {
		return Network{}, err
	}
	return Network{
		Name: rec.Name, Description: rec.Description, Type: rec.Type, Managed: true, Status: "Created",
		Config: rec.Config, UsedBy: used, Locations: []string{"none"},
	}, nil
}

// loadNetwork reads the record of the network that a nic is to be on.
func (s *System) loadNetwork(name string) (state.NetworkRecord, error) {
	rec, err := s.dir.LoadNetwork(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, state.ErrInvalidName) {
		err = withHint(fmt.Errorf("network %q: %w", name, ErrNotFound), "poolctl network list shows them, poolctl network create NAME makes one")
	}
	return rec, err
}

// DeleteNetwork takes a network down and forgets it. It refuses while an
// instance uses it; profiles lose their nic on it.
func (s *System) DeleteNetwork(ctx context.Context, name string) error {
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.dir.LoadNetwork(name)
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("cannot delete network %q: %w", name, ErrNotFound), "poolctl network list shows them")
	} else if err != nil {
		return err
	}
	used, err := s.networkInstances(ctx, name)
	if err != nil {
		return err
	}
	if len(used) > 0 {
		return withHint(fmt.Errorf("cannot delete network %s: %w by %v", name, ErrInUse, used), "delete these instances first")
	}
	bridge, err := s.bridge(rec)
	if err != nil {
		return err
	}
	if err := s.dropFromProfiles(func(dev map[string]string) bool { return nicBridge(dev) == name }); err != nil {
		return err
	}
	return s.dropNetwork(ctx, bridge)
}

// dropNetwork takes a network down and removes its reservations, its live state
// and, last, its record.
func (s *System) dropNetwork(ctx context.Context, b network.Bridge) error {
	if err := b.Down(ctx); err != nil {
		return err
	}
	for _, dir := range []string{b.RunDir, b.Dir} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("cannot delete network %s: %w", b.Name, err)
		}
	}
	return s.dir.DeleteNetwork(b.Name)
}

// nicBridge is the bridge a nic device is on; "" when it is none or no nic.
func nicBridge(dev map[string]string) string {
	if dev["type"] != "nic" {
		return ""
	}
	if dev["network"] != "" {
		return dev["network"]
	}
	if dev["nictype"] == "bridged" {
		return dev["parent"]
	}
	return ""
}

// networkInstances names the instances with a nic on the network, in the pools
// that are attached.
func (s *System) networkInstances(ctx context.Context, name string) ([]string, error) {
	all, err := s.records(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, in := range all {
		for _, dev := range in.ExpandedDevices {
			if nicBridge(dev) == name {
				out = append(out, in.Name)
				break
			}
		}
	}
	return out, nil
}

// networkUsers is used_by of a network: profiles and instances.
func (s *System) networkUsers(ctx context.Context, name string) ([]string, error) {
	used := []string{}
	profiles, err := s.profiles()
	if err != nil {
		return nil, err
	}
	for _, p := range profiles {
		for _, dev := range p.Devices {
			if nicBridge(dev) == name {
				used = append(used, "/1.0/profiles/"+p.Name)
				break
			}
		}
	}
	instances, err := s.networkInstances(ctx, name)
	for _, n := range instances {
		used = append(used, "/1.0/instances/"+n)
	}
	return used, err
}

// isUserKey says whether a config key is one that users may set to anything.
func isUserKey(k string) bool { return len(k) > len("user.") && k[:len("user.")] == "user." }
