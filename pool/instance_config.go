package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"poolctl/pool/tree"
)

// InstancePut is what can be changed of an instance, in incus's fields and order.
type InstancePut struct {
	Architecture string                       `json:"architecture" yaml:"architecture"` // cannot be changed
	Config       map[string]string            `json:"config" yaml:"config"`
	Devices      map[string]map[string]string `json:"devices" yaml:"devices"`
	Ephemeral    bool                         `json:"ephemeral" yaml:"ephemeral"`
	Profiles     []string                     `json:"profiles" yaml:"profiles"`
	Stateful     bool                         `json:"stateful" yaml:"stateful"` // cannot be changed
	Description  string                       `json:"description" yaml:"description"`
}

func putOf(in tree.Instance) InstancePut {
	return InstancePut{
		Architecture: in.Architecture, Config: maps.Clone(in.Config), Devices: cloneDevices(in.Devices), Ephemeral: in.Ephemeral,
		Profiles: slices.Clone(in.Profiles), Stateful: in.Stateful, Description: in.Description,
	}
}

// UpdateInstance changes an instance: change is given it as it is. Keys that are
// changed are validated, a key with "" is unset. In an instance that runs, what can
// be changed there takes effect at once, and what cannot is refused; all is done or
// nothing.
func (s *System) UpdateInstance(ctx context.Context, name string, change func(*InstancePut) error) error {
	return s.changeInstance(ctx, "", name, func(in *tree.Instance) error {
		put := putOf(*in)
		if err := change(&put); err != nil {
			return err
		}
		switch {
		case put.Architecture != in.Architecture:
			return errors.New("its architecture is that of its image, and cannot be changed")
		case put.Stateful != in.Stateful:
			return errors.New("stateful cannot be changed")
		}
		if !slices.Equal(put.Profiles, in.Profiles) {
			if err := s.checkProfiles(put.Profiles); err != nil {
				return err
			}
		}
		in.Config, in.Devices, in.Profiles = cloneOrEmpty(put.Config), cloneDevices(put.Devices), put.Profiles
		in.Ephemeral, in.Description = put.Ephemeral, put.Description
		return nil
	})
}

// SetInstanceConfig changes keys of an instance's configuration, all or none; a key
// with "" is unset. See UpdateInstance.
func (s *System) SetInstanceConfig(ctx context.Context, name string, values map[string]string) error {
	return s.UpdateInstance(ctx, name, func(put *InstancePut) error {
		maps.Copy(put.Config, values)
		return nil
	})
}

// ReplaceInstance puts now in the place of what was read as was, which it must still
// be; as UpdateInstance otherwise. Of volatile.* what now leaves out, or leaves as it
// was read, stays as it is by then: commands change them that nobody means as a change.
func (s *System) ReplaceInstance(ctx context.Context, name string, was, now InstancePut) error {
	return s.UpdateInstance(ctx, name, func(put *InstancePut) error {
		if !reflect.DeepEqual(put.userPart(), was.userPart()) {
			return withHint(errors.New("somebody else has changed it meanwhile"), "poolctl config edit %s shows how it is now", name)
		}
		next := now
		next.Config = cloneOrEmpty(now.Config)
		for k, v := range put.Config {
			if given, is := now.Config[k]; strings.HasPrefix(k, volatilePrefix) && (!is || given == was.Config[k]) {
				next.Config[k] = v
			}
		}
		if next.Architecture == "" {
			next.Architecture = put.Architecture
		}
		*put = next
		return nil
	})
}

// userPart is put with nothing nil and without volatile keys.
func (put InstancePut) userPart() InstancePut {
	put.Config, put.Devices = cloneOrEmpty(put.Config), cloneDevices(put.Devices)
	maps.DeleteFunc(put.Config, func(k, _ string) bool { return strings.HasPrefix(k, volatilePrefix) })
	put.Profiles = append([]string{}, put.Profiles...)
	return put
}

// InstanceConfig reads what can be changed of an instance or of one of its
// snapshots, NAME/SNAPSHOT; with expand its configuration and devices are those that
// it has together with its profiles.
func (s *System) InstanceConfig(ctx context.Context, ref string, expand bool) (InstancePut, error) {
	if name, snap, is := strings.Cut(ref, "/"); is {
		sn, err := s.SnapshotConfig(ctx, name, snap)
		put := InstancePut{
			Architecture: sn.Architecture, Config: sn.Config, Devices: sn.Devices, Ephemeral: sn.Ephemeral, Profiles: sn.Profiles, Stateful: sn.Stateful,
		}
		if expand {
			put.Config, put.Devices = sn.ExpandedConfig, sn.ExpandedDevices
		}
		return put, err
	}
	p, rec, err := s.findInstance(ctx, ref)
	if err != nil {
		return InstancePut{}, err
	}
	if err := p.close(); err != nil {
		return InstancePut{}, err
	}
	if rec.Broken != nil {
		return InstancePut{}, fmt.Errorf("cannot read the configuration of %s: %w", ref, rec.Broken)
	}
	put := putOf(rec)
	if expand {
		if err := s.reexpand(&rec); err != nil && rec.ExpandedDevices == nil {
			return InstancePut{}, err
		}
		put.Config, put.Devices = rec.ExpandedConfig, rec.ExpandedDevices
	}
	return put, nil
}

// SnapshotConfig reads what is kept of a snapshot's configuration.
func (s *System) SnapshotConfig(ctx context.Context, instance, snap string) (SnapshotConfig, error) {
	p, in, err := s.findInstance(ctx, instance)
	if err != nil {
		return SnapshotConfig{}, err
	}
	rec, err := p.InstanceAt(instance, snap)
	if err = snapshotError(err, instance); err == nil {
		err = rec.Broken
	}
	if err = errors.Join(err, p.close()); err != nil {
		return SnapshotConfig{}, fmt.Errorf("cannot read the configuration of %s/%s: %w", instance, snap, err)
	}
	sn := tree.Snapshot{Size: -1}
	if i := slices.IndexFunc(in.Snapshots, func(s tree.Snapshot) bool { return s.Name == snap }); i >= 0 {
		sn = in.Snapshots[i]
	}
	return SnapshotConfig{
		Architecture: rec.Architecture, Config: rec.Config, CreatedAt: sn.CreatedAt, Devices: rec.Devices, Ephemeral: rec.Ephemeral,
		ExpandedConfig: rec.ExpandedConfig, ExpandedDevices: rec.ExpandedDevices, ExpiresAt: sn.ExpiresAt, LastUsedAt: sn.LastUsedAt, Name: snap,
		Profiles: rec.Profiles, Size: sn.Size, Stateful: rec.Stateful,
	}, nil
}

// SnapshotConfigs reads what is kept of the configuration of all snapshots of an instance,
// the oldest first.
func (s *System) SnapshotConfigs(ctx context.Context, instance string) ([]SnapshotConfig, error) {
	p, _, err := s.findInstance(ctx, instance)
	if err != nil {
		return nil, err
	}
	all, err := p.SnapshotEntries(instance)
	if err = errors.Join(err, p.close()); err != nil {
		return nil, err
	}
	out := make([]SnapshotConfig, len(all))
	for i, sn := range all {
		out[i] = SnapshotConfig{
			Architecture: sn.Architecture, Config: sn.Config, CreatedAt: sn.CreatedAt, Devices: sn.Devices, Ephemeral: sn.Ephemeral,
			ExpandedConfig: sn.ExpandedConfig, ExpandedDevices: sn.ExpandedDevices, ExpiresAt: sn.ExpiresAt, LastUsedAt: sn.LastUsedAt, Name: sn.Name,
			Profiles: sn.Profiles, Size: sn.Size, Stateful: sn.Stateful,
		}
	}
	return out, nil
}

// InstanceValue is the value of a key of an instance's configuration, or a
// snapshot's, "" when it is not set; with expand also where it is a profile's. A key
// that there is not is an error.
func (s *System) InstanceValue(ctx context.Context, ref, key string, expand bool) (string, error) {
	put, err := s.InstanceConfig(ctx, ref, expand)
	if err != nil {
		return "", err
	}
	value, set := put.Config[key]
	if _, err := findInstanceKey(key); err != nil && !set {
		return "", fmt.Errorf("cannot read %s of %s: %w", shellWord(key), ref, err)
	}
	return value, nil
}
