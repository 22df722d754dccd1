package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sort"

	"poolctl/pool/state"
	"poolctl/runtime/network"
)

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
			out = append(out, hostNetwork(l))
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// Network shows one network, or another interface of the host.
func (s *System) Network(ctx context.Context, name string) (Network, error) {
	rec, err := s.managedNetwork(name)
	if errors.Is(err, ErrNotFound) {
		if links, linkErr := network.HostLinks(); linkErr == nil {
			for _, l := range links {
				if l.Name == name {
					return hostNetwork(l), nil
				}
			}
		}
	}
	if err != nil {
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

// hostNetwork is an interface of the host that is not poolctl's.
func hostNetwork(l network.HostLink) Network {
	return Network{Name: l.Name, Type: l.Type, Config: map[string]string{}, UsedBy: []string{}, Locations: []string{}}
}

// loadNetwork reads the record of the network that a nic is to be on.
func (s *System) loadNetwork(name string) (state.NetworkRecord, error) {
	rec, err := s.dir.LoadNetwork(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, state.ErrInvalidName) {
		err = withHint(fmt.Errorf("network %q: %w", name, ErrNotFound), "poolctl network list shows them, poolctl network create NAME makes one")
	}
	return rec, err
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
