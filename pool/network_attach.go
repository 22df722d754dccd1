package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"poolctl/pool/tree"
	"poolctl/runtime/network"
)

// AttachNetworkOptions are the arguments of AttachNetwork and its companions.
type AttachNetworkOptions struct {
	Network   string // or another interface of the host's
	Target    string // the instance or the profile
	Device    string // "" = called as the network, or to be detached: the only one on it
	Interface string // its name inside, of an attachment only; "" = as Device, or the first of eth0, eth1, ... that is free
}

// attachedNIC is the device that the attachment makes: on a network, on a bridge of the
// host's, or a macvlan of another interface, as with Incus.
func (s *System) attachedNIC(ctx context.Context, o AttachNetworkOptions, devices map[string]map[string]string) (name string, dev map[string]string, err error) {
	on, err := s.Network(ctx, o.Network)
	if err != nil {
		return "", nil, err
	}
	dev = map[string]string{"type": "nic"}
	switch {
	case on.Managed:
		dev["network"] = o.Network
	case on.Type == "bridge":
		dev["nictype"], dev["parent"] = string(network.Bridged), o.Network
	default:
		dev["nictype"], dev["parent"] = string(network.Macvlan), o.Network
	}
	if name = o.Device; name == "" {
		name = o.Network
	}
	if _, taken := devices[name]; taken {
		return "", nil, withHint(fmt.Errorf("device %s: %w", name, ErrExists), "name another device, behind %s", o.Target)
	}
	switch {
	case o.Interface != "":
		dev["name"] = o.Interface
	case o.Device == "":
		dev["name"] = freeInnerName(devices)
	}
	return name, dev, checkDeviceName(name)
}

// freeInnerName is a name inside that no nic among devices has.
func freeInnerName(devices map[string]map[string]string) string {
	for i := 0; ; i++ {
		name := fmt.Sprintf("eth%d", i)
		if !slices.ContainsFunc(nicsOf(devices), func(n string) bool { return innerName(n, devices[n]) == name }) {
			return name
		}
	}
}

// attachedTo names the device that is on a network, or on another interface of the host's.
func attachedTo(o AttachNetworkOptions, devices map[string]map[string]string) (string, error) {
	var found []string
	for _, n := range nicsOf(devices) {
		on := nicBridge(devices[n]) == o.Network || devices[n]["parent"] == o.Network
		if on && (o.Device == "" || o.Device == n) {
			found = append(found, n)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", withHint(fmt.Errorf("%d devices are on it: %s", len(found), strings.Join(found, ", ")), "name one of them")
	}
	return "", fmt.Errorf("no device of it is on %s: %w", o.Network, ErrNotFound)
}

// AttachNetwork gives an instance an interface on a network, at once if it runs.
func (s *System) AttachNetwork(ctx context.Context, o AttachNetworkOptions) error {
	return s.changeDevices(ctx, o.Target, func(in tree.Instance) (map[string]map[string]string, error) {
		name, dev, err := s.attachedNIC(ctx, o, in.ExpandedDevices)
		if err != nil {
			return nil, err
		}
		devices := cloneDevices(in.Devices)
		devices[name] = dev
		return devices, nil
	})
}

// DetachNetwork takes an interface on a network away from an instance, at once if it
// runs.
func (s *System) DetachNetwork(ctx context.Context, o AttachNetworkOptions) error {
	return s.changeDevices(ctx, o.Target, func(in tree.Instance) (map[string]map[string]string, error) {
		devices := cloneDevices(in.Devices)
		name, err := attachedTo(o, devices)
		if errors.Is(err, ErrNotFound) {
			if n, ierr := attachedTo(o, in.ExpandedDevices); ierr == nil {
				return nil, checkOwnDevice(in, n)
			}
		}
		delete(devices, name)
		return devices, err
	})
}

// AttachNetworkProfile gives a profile an interface on a network. Instances that run
// have it at once.
func (s *System) AttachNetworkProfile(ctx context.Context, o AttachNetworkOptions) error {
	return s.UpdateProfile(ctx, o.Target, func(p *ProfilePut) error {
		name, dev, err := s.attachedNIC(ctx, o, p.Devices)
		if err != nil {
			return err
		}
		p.Devices[name] = dev
		return nil
	})
}

// DetachNetworkProfile takes an interface on a network away from a profile, and at once
// from instances that run.
func (s *System) DetachNetworkProfile(ctx context.Context, o AttachNetworkOptions) error {
	return s.UpdateProfile(ctx, o.Target, func(p *ProfilePut) error {
		name, err := attachedTo(o, p.Devices)
		delete(p.Devices, name)
		return err
	})
}
