package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"poolctl/pool/tree"
	"poolctl/runtime/network"
)

// Copy makes a new instance of an instance, running or not, or of one of its
// snapshots, in the same pool, and returns its name. It shares all data with its
// source: it is made at once, whatever the size. The copy of a running instance
// is what a power cut at that moment would leave.
func (s *System) Copy(ctx context.Context, o CopyOptions) (name string, err error) {
	if err := checkNew(o.Name, o.Config); err != nil {
		return "", err
	}
	what := tree.CopyOptions{Source: tree.Source{Name: o.Source, Snapshot: o.Snapshot, Snapshots: !o.InstanceOnly}}
	p, _, err := s.findInstance(ctx, o.Source)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if o.Name == o.Source { // never locked twice
		return "", fmt.Errorf("cannot copy %s to %s: %w", what.Ref(), o.Name, ErrExists)
	}
	if o.Name, err = s.freeName(ctx, o.Name); err != nil {
		return "", err
	}
	unlock, err := s.lockNames(ctx, o.Source, o.Name)
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := s.freeName(ctx, o.Name); err != nil { // another process may have made it while we waited
		return "", err
	}
	unlockProfiles, err := s.dir.LockProfiles(ctx, true)
	if err != nil {
		return "", err
	}
	defer unlockProfiles()
	rec, err := s.copiedRecord(p, &what, o)
	if err != nil {
		return "", fmt.Errorf("cannot copy %s to %s: %w", what.Ref(), o.Name, err)
	}
	if rec.Limit, err = rootSize(rec.ExpandedDevices); err != nil {
		return "", fmt.Errorf("cannot copy %s to %s: %w", what.Ref(), o.Name, err)
	}
	if !s.canHold(ctx, p, o.Name, rec.Limit) {
		rec.Limit = 0
	}
	if err := s.needSpace(ctx, p.rec, sharingNeed("a copy of "+what.Ref())); err != nil {
		return "", fmt.Errorf("cannot copy %s to %s: %w", what.Ref(), o.Name, err)
	}
	if err := p.CopyInstance(ctx, rec, what); err != nil {
		return "", s.hintFull(p.rec, err)
	}
	return o.Name, nil
}

// lockNames locks several instances, in the order of their names: whoever does
// so too never waits for one who waits for him.
func (s *System) lockNames(ctx context.Context, names ...string) (unlock func(), err error) {
	var held []func()
	unlock = func() {
		for _, u := range held {
			u()
		}
	}
	for _, n := range slices.Sorted(slices.Values(names)) {
		u, err := s.dir.LockInstance(ctx, n)
		if err != nil {
			unlock()
			return nil, err
		}
		held = append(held, u)
	}
	return unlock, nil
}

// copySource is the record of what is copied, under the caller's lock.
func (p *openedPool) copySource(o tree.Source) (rec tree.Instance, err error) {
	if rec, err = p.Instance(o.Name); errors.Is(err, fs.ErrNotExist) {
		return rec, fmt.Errorf("instance %q: %w", o.Name, ErrNotFound) // deleted while we waited
	}
	if err == nil && o.Snapshot != "" {
		rec, err = p.InstanceAt(o.Name, o.Snapshot)
		err = snapshotError(err, o.Name)
	}
	if err == nil {
		err = rec.Broken
	}
	return rec, err
}

// copiedRecord is the record of the copy: the source's, with an identity of its
// own, which what is told of too, and nothing of the source's past.
func (s *System) copiedRecord(p *openedPool, what *tree.CopyOptions, o CopyOptions) (tree.Instance, error) {
	source, err := p.copySource(what.Source)
	if err != nil {
		return tree.Instance{}, err
	}
	as := newIdentity()
	what.Adapt = as.adapt
	config := maps.Clone(source.Config)
	maps.DeleteFunc(config, func(k, _ string) bool { return strings.HasPrefix(k, volatilePrefix) && !describesRoot(k) })
	maps.Copy(config, o.Config)
	config["volatile.apply_template"] = "copy"
	config["volatile.uuid"] = as.value("volatile.uuid")
	config["volatile.cloud-init.instance-id"] = as.value("volatile.cloud-init.instance-id")
	devices := map[string]map[string]string{}
	for name, dev := range source.Devices {
		devices[name] = maps.Clone(dev)
	}
	as.adapt(config, devices)
	if devices, err = s.overrideDevices(source.Profiles, config, devices, o.DeviceOverrides); err != nil {
		return tree.Instance{}, err
	}
	_, expanded, err := s.expand(source.Profiles, config, devices)
	if err != nil {
		return tree.Instance{}, err
	}
	for _, name := range nicsOf(expanded) {
		for _, k := range nicIdentity(name, expanded[name]) {
			config[k] = as.value(k)
		}
	}
	rec := source
	rec.Name, rec.Config, rec.Devices = o.Name, config, devices
	rec.Ephemeral, rec.Stateful, rec.Project, rec.Location = false, false, "", ""
	rec.CreatedAt, rec.LastUsedAt = time.Now().UTC(), time.Time{}
	rec.Pool, rec.Snapshots = poolInfo(p.rec), nil
	if rec.ProfileInfo, err = profileInfo(s.profile, rec.Profiles); err != nil {
		return tree.Instance{}, err
	}
	return rec, s.reexpand(&rec)
}

const (
	volatilePrefix = "volatile."
	hwaddrSuffix   = ".hwaddr"
)

// describesRoot says whether a volatile key tells what is on the disk, which is
// the copy's too.
func describesRoot(key string) bool {
	return key == "volatile.base_image" || key == "volatile.last_state.idmap" || key == "volatile.idmap.base"
}

// identity is what tells an instance from its copies, by volatile key. Each
// value is made up when it is asked for first.
type identity struct {
	values map[string]string
}

func newIdentity() *identity { return &identity{values: map[string]string{}} }

// value is the value of one key: a hardware address, a name on the host or a UUID.
func (i *identity) value(key string) string {
	if v, ok := i.values[key]; ok {
		return v
	}
	switch {
	case strings.HasSuffix(key, hwaddrSuffix):
		i.values[key] = network.RandomHWAddr()
	case strings.HasSuffix(key, hostNameSuffix):
		i.values[key] = network.RandomHostName()
	default:
		i.values[key] = newUUID()
	}
	return i.values[key]
}

// adapt puts the identity into the configuration of a copy, or of a snapshot of
// one, so that nothing makes it a second instance of the source. What the user gave
// a nic that only one can have goes too.
func (i *identity) adapt(config map[string]string, devices map[string]map[string]string) {
	for _, dev := range devices {
		if dev["type"] == "nic" {
			for _, k := range []string{"hwaddr", "host_name", "ipv4.address", "ipv6.address"} {
				delete(dev, k)
			}
		}
	}
	for key := range config {
		isNICs := strings.HasPrefix(key, volatilePrefix) && (strings.HasSuffix(key, hwaddrSuffix) || strings.HasSuffix(key, hostNameSuffix))
		if isNICs || key == "volatile.uuid" || key == "volatile.cloud-init.instance-id" {
			config[key] = i.value(key)
		}
	}
}
