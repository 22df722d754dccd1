package pool

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"poolctl/pool/state"
)

// newHome is where an adopted pool's instances are now.
type newHome struct {
	pool   state.PoolRecord
	former string // what the pool called itself
	expand func(profiles []string, config map[string]string, devices map[string]map[string]string) (map[string]string, map[string]map[string]string, error)

	hasProfile, hasNetwork func(name string) bool
	// network is that of the default profile's nic; "" when it has none.
	network string
}

// settings are the configuration of an instance, or of a snapshot of one.
type settings struct {
	profiles        []string
	config          map[string]string
	devices         map[string]map[string]string
	expandedConfig  map[string]string
	expandedDevices map[string]map[string]string
}

// adapted are settings in their new place, and what the user is to know of them.
type adapted struct {
	settings
	notes []string
}

// adapt makes an instance's settings mean here what they meant where it comes
// from. A profile of the same name may say something else here: what it said
// there, and does not here, becomes the instance's own. Disks in the pool are
// found by its name here, and a nic of a network that is not here is put on the
// one that the profiles here have. Devices that only profiles here have are
// hidden, and so are disks and devices of the host's and what opens the host to
// the instance. Adapting again changes nothing.
func (h newHome) adapt(was settings) (adapted, error) {
	var out adapted
	out.profiles = slices.DeleteFunc(slices.Clone(was.profiles), func(p string) bool { return !h.hasProfile(p) })
	if out.profiles == nil {
		out.profiles = []string{}
	}
	out.config, out.devices = cloneOrEmpty(was.config), map[string]map[string]string{}
	_, byProfiles, err := h.expand(out.profiles, nil, nil)
	if err != nil {
		return out, err
	}
	wanted := map[string]map[string]string{}
	for name, dev := range was.expandedDevices {
		var note string
		if wanted[name], note = h.device(dev, byProfiles[name]); note != "" {
			out.notes = append(out.notes, fmt.Sprintf("device %s: %s", name, note))
		}
	}
	for name, dev := range was.devices {
		if wanted[name] == nil { // the expansion was not up to date
			wanted[name], _ = h.device(dev, byProfiles[name])
		}
		out.devices[name] = wanted[name]
	}
	for _, name := range hiddenDisks(wanted) { // its own also where a profile has hidden it
		out.devices[name] = wanted[name]
	}
	slices.Sort(out.notes)
	config, devices, err := h.expand(out.profiles, out.config, out.devices)
	if err != nil {
		return out, err
	}
	for k, v := range was.expandedConfig {
		if now, has := config[k]; (!has || now != v) && !strings.HasPrefix(k, volatilePrefix) {
			out.config[k] = v
		}
	}
	hideKeys(out.config)
	if isTrue(config[privilegedKey]) && out.config[privilegedKey] == "" && !isTrue(was.expandedConfig[privilegedKey]) {
		out.config[privilegedKey] = "false" // a profile here says so, which the pool's maker has but named
	}
	for name, dev := range wanted {
		if !maps.Equal(devices[name], dev) {
			out.devices[name] = dev
		}
	}
	h.mask(out.devices, wanted, devices)
	out.expandedConfig, out.expandedDevices, err = h.expand(out.profiles, out.config, out.devices)
	return out, err
}

// mask sees to it that there is one root disk, and that it is in this pool; and
// hides what else the profiles here would add: an instance without a network
// does not get one by being adopted. expanded is the expansion so far.
func (h newHome) mask(own, wanted, expanded map[string]map[string]string) {
	root := rootDevice(wanted)
	if root == "" {
		if root = rootDevice(expanded); root == "" {
			root = "root"
		}
		if expanded[root]["pool"] != h.pool.Name {
			own[root] = map[string]string{"type": "disk", "path": "/", "pool": h.pool.Name}
		}
	}
	for name, dev := range expanded {
		if name != root && wanted[name] == nil && dev["type"] != "none" {
			own[name] = map[string]string{"type": "none"}
		}
	}
}

// device is a device as it is to be here, a disk or device node of the host's, a proxy, or one of a type that there is not, hidden; byProfiles
// is what the profiles here have by its name. note tells of a network that is not here.
func (h newHome) device(dev, byProfiles map[string]string) (now map[string]string, note string) {
	now = maps.Clone(dev)
	switch dev["type"] {
	case "unix-char", "unix-block", "proxy": // what opens the host, or ports of it
		return hideDisk(dev), ""
	case "disk":
		if isHostDisk(dev) {
			return hideDisk(dev), ""
		}
		if dev["path"] == "/" || dev["pool"] == h.former {
			now["pool"] = h.pool.Name
		}
	case "nic":
		bridge := nicBridge(dev)
		if bridge == "" || h.hasNetwork(bridge) {
			break
		}
		other := h.network
		if b := nicBridge(byProfiles); b != "" && h.hasNetwork(b) {
			other = b
		}
		if other == "" {
			return now, fmt.Sprintf("there is no network %s here: poolctl network create %s", bridge, bridge)
		}
		delete(now, "nictype")
		delete(now, "parent")
		now["network"] = other
		return now, fmt.Sprintf("there is no network %s here, it is on %s now", bridge, other)
	case "none":
	default: // of LXD's and Incus's, which there is not here: gpu, usb, tpm and others
		return hideDisk(dev), ""
	}
	return now, ""
}

func cloneOrEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}
