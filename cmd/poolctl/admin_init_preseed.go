package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"poolctl/pool"
)

// preseedLimit is the largest preseed that is read, in bytes.
const preseedLimit = 1 << 20

// preseedFile is the part of Incus's preseed that poolctl has: storage and
// network, and the default profile's root disk and eth0.
type preseedFile struct {
	Pools []struct {
		Name, Driver, Description string
		Config                    map[string]string
	} `yaml:"storage_pools"`
	Networks []struct {
		Name, Type, Description string
		Config                  map[string]string
	} `yaml:"networks"`
	Profiles []struct {
		Name, Description string
		Config            map[string]string
		Devices           map[string]map[string]string
	} `yaml:"profiles"`
	Config map[string]string `yaml:"config"`
}

// preseed makes what the YAML on the input says; what is there already stays.
func (e *env) preseed(ctx context.Context, s *pool.System) error {
	file, err := readPreseed(e.stdin)
	if err != nil {
		return fmt.Errorf("cannot read the preseed: %w", err)
	}
	profile, err := file.profile()
	if err != nil {
		return fmt.Errorf("cannot use the preseed: %w", err)
	}
	for _, p := range file.Pools {
		err := s.CreatePool(ctx, pool.CreatePoolOptions{Name: p.Name, Driver: p.Driver, Config: p.Config, Description: p.Description})
		if err := e.thereAlready(err, "pool", p.Name); err != nil {
			return err
		}
	}
	for _, n := range file.Networks {
		err := s.CreateNetwork(ctx, n.Name, n.Config, n.Description)
		if err := e.thereAlready(err, "network", n.Name); err != nil {
			return err
		}
	}
	return s.AdminInit(ctx, profile)
}

// thereAlready turns the error about a name that is taken into a notice.
func (e *env) thereAlready(err error, kind, name string) error {
	if errors.Is(err, pool.ErrExists) {
		e.debugf("%s %s is there already", kind, name)
		return nil
	}
	return err
}

// readPreseed refuses what it does not know: nothing is left out silently.
func readPreseed(r io.Reader) (preseedFile, error) {
	var file preseedFile
	text, err := io.ReadAll(io.LimitReader(r, preseedLimit+1))
	if err != nil {
		return file, err
	}
	if len(text) > preseedLimit {
		return file, fmt.Errorf("it is larger than %d bytes", preseedLimit)
	}
	if len(bytes.TrimSpace(text)) == 0 { // as Incus: nothing is asked for
		return file, nil
	}
	if err := decodeEdited(text, &file, "storage_pools", "networks", "profiles", "config"); err != nil {
		return file, err
	}
	for _, n := range file.Networks {
		if n.Type != "" && n.Type != "bridge" {
			return file, fmt.Errorf("network %s: unknown type %q", n.Name, n.Type)
		}
	}
	if len(file.Config) > 0 {
		return file, errors.New("there is no daemon to configure: config has to be empty")
	}
	return file, nil
}

// profile is what the default profile shall have: a pool and a network.
func (f preseedFile) profile() (pool.InitOptions, error) {
	o := pool.InitOptions{Silent: true}
	for _, p := range f.Profiles {
		if p.Name != "default" || len(p.Config) > 0 {
			return o, fmt.Errorf("profile %q: only the devices of the profile default can be set", p.Name)
		}
		for name, dev := range p.Devices {
			switch {
			case name == "root" && dev["type"] == "disk" && dev["path"] == "/" && len(dev) == 3:
				o.PoolName = dev["pool"]
			case name == "eth0" && dev["type"] == "nic" && dev["network"] != "" && (len(dev) == 2 || len(dev) == 3 && dev["name"] == "eth0"):
				o.Network = dev["network"]
			default:
				return o, fmt.Errorf("device %s of profile %s: only a root disk with its pool, and eth0 with its network", name, p.Name)
			}
		}
	}
	return o, nil
}
