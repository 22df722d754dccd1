package pool

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// newRecord is the record of a new instance, with the volatile keys that LXD
// gives one.
func (s *System) newRecord(ctx context.Context, o CreateOptions, pool state.PoolRecord, profiles []string, image tree.ImageRecord) (tree.Instance, error) {
	config := newConfig(o, image)
	withoutKeep(config)
	devices, err := s.newDevices(o, pool, profiles, config)
	if err != nil {
		return tree.Instance{}, err
	}
	_, expanded, err := s.expand(profiles, config, devices)
	if err != nil {
		return tree.Instance{}, err
	}
	for _, name := range nicsOf(expanded) {
		if err := s.checkNIC(expanded[name]); err != nil {
			return tree.Instance{}, fmt.Errorf("device %s: %w", name, err)
		}
		identifyNIC(name, expanded[name], config, config)
	}
	expandedConfig, expanded, err := s.expand(profiles, config, devices)
	if err != nil {
		return tree.Instance{}, err
	}
	config[volatileNext] = firstIDs(expandedConfig)
	expandedConfig[volatileNext] = config[volatileNext]
	used, err := profileInfo(s.profile, profiles)
	if err != nil {
		return tree.Instance{}, err
	}
	rec := tree.Instance{
		Pool: poolInfo(pool), ProfileInfo: used,
		Name: o.Name, Description: o.Description, Architecture: image.Architecture, Type: "container", Config: config, Devices: devices,
		Profiles: profiles, ExpandedConfig: expandedConfig, ExpandedDevices: expanded, CreatedAt: time.Now().UTC(),
		Ephemeral: o.Ephemeral,
	}
	return rec, nil
}

// newConfig is the configuration of a new instance: what is asked for over what
// its image says.
func newConfig(o CreateOptions, image tree.ImageRecord) map[string]string {
	config := map[string]string{
		"volatile.apply_template":         "create",
		"volatile.last_state.idmap":       "[]", // unshifted on disk: mapped when it is mounted
		"volatile.idmap.base":             "0",
		"volatile.uuid":                   newUUID(),
		"volatile.cloud-init.instance-id": newUUID(),
	}
	if image.Fingerprint != "" {
		config["volatile.base_image"] = image.Fingerprint
	}
	for k, v := range image.Properties {
		config["image."+k] = v
	}
	maps.Copy(config, o.Config)
	return config
}

// newDevices are a new instance's own devices: those asked for, with a root disk
// in its pool.
func (s *System) newDevices(o CreateOptions, pool state.PoolRecord, profiles []string, config map[string]string) (map[string]map[string]string, error) {
	devices := maps.Clone(o.Devices)
	if devices == nil {
		devices = map[string]map[string]string{}
	}
	for _, name := range sortedKeys(devices) {
		if err := errors.Join(checkDeviceName(name), s.checkDevice(name, devices[name])); err != nil {
			return nil, err
		}
	}
	if o.Network != "" {
		devices["eth0"] = map[string]string{"type": "nic", "name": "eth0", "network": o.Network}
	}
	_, expanded, err := s.expand(profiles, config, devices)
	if err != nil {
		return nil, err
	}
	if root := rootDevice(expanded); root == "" || expanded[root]["pool"] != pool.Name {
		own := map[string]string{"type": "disk", "path": "/"}
		if devices[root] != nil { // given for it: only the pool is another
			own = maps.Clone(devices[root])
		} else {
			root = "root"
		}
		own["pool"] = pool.Name
		devices[root] = own
	}
	if devices, err = s.overrideDevices(profiles, config, devices, o.DeviceOverrides); err != nil {
		return nil, err
	}
	return s.defaultSize(profiles, config, devices, pool)
}

// sizeOfNew is the size that a new instance is going to have; 0 for none. It is
// for what is refused before an image is downloaded: what is wrong with the
// options is told when the instance is made.
func (s *System) sizeOfNew(ctx context.Context, o CreateOptions, pool state.PoolRecord) int64 {
	profiles := o.Profiles
	if profiles == nil {
		profiles = []string{defaultProfile}
	}
	rec, err := s.newRecord(ctx, o, pool, profiles, tree.ImageRecord{})
	if err != nil {
		return 0
	}
	size, err := rootSize(rec.ExpandedDevices)
	if err != nil {
		return 0
	}
	return size
}

// poolInfo is what an instance's record tells LXD of its pool. `lxd recover` notes
// it down, and LXD attaches a file only where it has its own: that is the source of
// one that is elsewhere.
func poolInfo(rec state.PoolRecord) *tree.PoolInfo {
	config := rec.Config
	if file := config["source"]; rec.Kind == state.PoolFile && !isLXDs(file) {
		config = maps.Clone(config)
		config["source"] = filepath.Join(lxdDisks, rec.Name+".img")
	}
	return &tree.PoolInfo{
		Config: config, Description: rec.Description, Name: rec.Name, Driver: rec.Driver,
		UsedBy: []string{}, Status: "Created", Locations: []string{"none"},
	}
}

// lxdDisks is where LXD has the files of pools, with its usual directory.
const lxdDisks = "/var/lib/lxd/disks"

// isLXDs says whether a pool's file is where an LXD or Incus has its own.
func isLXDs(file string) bool {
	dir := filepath.Dir(file)
	return strings.HasSuffix(dir, "/lxd/disks") || strings.HasSuffix(dir, "/incus/disks")
}

// rootDevice names the device that is the root disk; "" when there is none.
func rootDevice(devices map[string]map[string]string) string {
	for _, n := range sortedKeys(devices) {
		if devices[n]["type"] == "disk" && devices[n]["path"] == "/" {
			return n
		}
	}
	return ""
}

// newUUID is a random UUID, version 4 (RFC 9562).
func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
