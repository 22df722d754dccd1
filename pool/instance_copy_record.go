package pool

import (
	"maps"
	"strings"
	"time"

	"poolctl/pool/tree"
)

// copiedRecord is the record of a new copy: the source's, with an identity of its own
// and nothing of the source's past.
func (c *instanceCopy) copiedRecord(as *identity, o CopyOptions) (tree.Instance, error) {
	s, rec := c.s, c.source
	config := maps.Clone(rec.Config)
	maps.DeleteFunc(config, func(k, _ string) bool { return strings.HasPrefix(k, volatilePrefix) && !describesRoot(k) })
	maps.Copy(config, o.Config)
	config["volatile.apply_template"] = "copy"
	config["volatile.uuid"] = as.value("volatile.uuid")
	config["volatile.cloud-init.instance-id"] = as.value("volatile.cloud-init.instance-id")
	devices := cloneDevices(rec.Devices)
	as.adapt(config, devices)
	if o.Profiles != nil {
		if err := s.checkProfiles(o.Profiles); err != nil {
			return tree.Instance{}, err
		}
		rec.Profiles = o.Profiles
	}
	devices, err := s.rootIn(c.target.rec.Name, rec, config, devices)
	if err != nil {
		return tree.Instance{}, err
	}
	if devices, err = s.overrideDevices(rec.Profiles, config, devices, o.DeviceOverrides); err != nil {
		return tree.Instance{}, err
	}
	expandedConfig, expanded, err := s.expand(rec.Profiles, config, devices)
	if err != nil {
		return tree.Instance{}, err
	}
	config[volatileNext] = firstIDs(expandedConfig)
	for _, name := range nicsOf(expanded) {
		for _, k := range nicIdentity(name, expanded[name]) {
			config[k] = as.value(k)
		}
	}
	rec.Name, rec.Config, rec.Devices = c.name, config, devices
	rec.Ephemeral, rec.Stateful, rec.Project, rec.Location = o.Ephemeral, false, "", ""
	rec.CreatedAt, rec.LastUsedAt = time.Now().UTC(), time.Time{}
	rec.Pool, rec.Snapshots = poolInfo(c.target.rec), nil
	if rec.ProfileInfo, err = profileInfo(s.profile, rec.Profiles); err != nil {
		return tree.Instance{}, err
	}
	return rec, s.reexpand(&rec)
}

// rootIn gives the devices of an instance a root disk in that pool, with what else the
// one has that it was expanded to.
func (s *System) rootIn(pool string, rec tree.Instance, config map[string]string, devices map[string]map[string]string) (map[string]map[string]string, error) {
	_, expanded, err := s.expand(rec.Profiles, config, devices)
	if err != nil {
		return nil, err
	}
	root := rootDevice(expanded)
	if root != "" && expanded[root]["pool"] == pool {
		return devices, nil
	}
	if root == "" { // its profiles have none, or have changed
		was := rec.ExpandedDevices
		if root = rootDevice(was); root == "" {
			root, was = "root", map[string]map[string]string{"root": {"type": "disk", "path": "/"}}
		}
		expanded = was
	}
	return overrideDevice(devices, expanded, root, map[string]string{"pool": pool}), nil
}
