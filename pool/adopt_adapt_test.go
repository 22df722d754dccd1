package pool

import (
	"maps"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/pool/state"
)

type devices = map[string]map[string]string

func rootIn(pool string) map[string]string {
	return map[string]string{"type": "disk", "path": "/", "pool": pool}
}

func nicOn(network string) map[string]string {
	return map[string]string{"type": "nic", "name": "eth0", "network": network}
}

// homeWith is a host with the profile "default", as given, and "web", and the networks named.
func homeWith(def devices, networks ...string) newHome {
	profiles := map[string]state.Profile{
		"default": {Devices: def},
		"web":     {Config: map[string]string{"user.tier": "here"}, Devices: devices{}},
	}
	h := newHome{
		pool: state.PoolRecord{Name: "new"}, former: "old",
		hasProfile: func(n string) bool { return profiles[n].Devices != nil },
		hasNetwork: func(n string) bool { return strings.Contains(" "+strings.Join(networks, " ")+" ", " "+n+" ") },
		expand: func(names []string, config map[string]string, devs devices) (map[string]string, devices, error) {
			c, d := map[string]string{}, devices{}
			for _, n := range names {
				maps.Copy(c, profiles[n].Config)
				maps.Copy(d, profiles[n].Devices)
			}
			maps.Copy(c, config)
			maps.Copy(d, devs)
			return c, d, nil
		},
	}
	for _, dev := range def {
		if b := nicBridge(dev); b != "" {
			h.network = b
		}
	}
	return h
}

// TestAdapt: what an instance's profiles, pool and networks meant where it comes from, it means here too.
func TestAdapt(t *testing.T) {
	empty := devices{}
	for name, tc := range map[string]struct {
		home            newHome
		was             settings
		config          map[string]string
		devices         devices
		profiles        []string
		expandedDevices devices
		notes           int
	}{
		"the root was the profile's, which here has another pool": {
			home:            homeWith(devices{"root": rootIn("other")}),
			was:             settings{profiles: []string{"default"}, devices: empty, expandedDevices: devices{"root": rootIn("old")}},
			devices:         devices{"root": rootIn("new")},
			profiles:        []string{"default"},
			expandedDevices: devices{"root": rootIn("new")},
		},
		"the profile's root here has another name": {
			home:            homeWith(devices{"disk0": rootIn("other")}),
			was:             settings{profiles: []string{"default"}, expandedDevices: devices{"root": rootIn("old")}},
			devices:         devices{"root": rootIn("new"), "disk0": {"type": "none"}},
			profiles:        []string{"default"},
			expandedDevices: devices{"root": rootIn("new"), "disk0": {"type": "none"}},
		},
		"a volume, and a root with a size": {
			home: homeWith(empty),
			was: settings{
				devices:         devices{"data": {"type": "disk", "pool": "old", "source": "v", "path": "/data"}, "far": {"type": "disk", "pool": "elsewhere", "source": "v", "path": "/far"}},
				expandedDevices: devices{"root": {"type": "disk", "path": "/", "pool": "old", "size": "5GiB"}},
			},
			devices: devices{
				"data": {"type": "disk", "pool": "new", "source": "v", "path": "/data"}, "far": {"type": "disk", "pool": "elsewhere", "source": "v", "path": "/far"},
				"root": {"type": "disk", "path": "/", "pool": "new", "size": "5GiB"},
			},
			profiles: []string{},
			expandedDevices: devices{
				"data": {"type": "disk", "pool": "new", "source": "v", "path": "/data"}, "far": {"type": "disk", "pool": "elsewhere", "source": "v", "path": "/far"},
				"root": {"type": "disk", "path": "/", "pool": "new", "size": "5GiB"},
			},
		},
		"a profile says something else here": {
			home: homeWith(empty),
			was: settings{
				profiles: []string{"web"}, config: map[string]string{"user.own": "1"},
				expandedConfig:  map[string]string{"user.own": "1", "user.tier": "there", "limits.memory": "1GiB", "volatile.x": "y"},
				expandedDevices: devices{"root": rootIn("old")},
			},
			config:          map[string]string{"user.own": "1", "user.tier": "there", "limits.memory": "1GiB"},
			devices:         devices{"root": rootIn("new")},
			profiles:        []string{"web"},
			expandedDevices: devices{"root": rootIn("new")},
		},
		"a profile that is nowhere": {
			home:            homeWith(empty),
			was:             settings{profiles: []string{"gone"}, expandedConfig: map[string]string{"a": "b"}, expandedDevices: devices{"root": rootIn("old")}},
			config:          map[string]string{"a": "b"},
			devices:         devices{"root": rootIn("new")},
			profiles:        []string{},
			expandedDevices: devices{"root": rootIn("new")},
		},
		"the profile's nic here is on another network": {
			home:            homeWith(devices{"root": rootIn("new"), "eth0": nicOn("here0")}, "here0"),
			was:             settings{profiles: []string{"default"}, expandedDevices: devices{"root": rootIn("old"), "eth0": nicOn("lxdbr0")}},
			devices:         empty,
			profiles:        []string{"default"},
			expandedDevices: devices{"root": rootIn("new"), "eth0": nicOn("here0")},
			notes:           1,
		},
		"its own nic, of a bridge": {
			home: homeWith(devices{"root": rootIn("new"), "eth0": nicOn("here0")}, "here0"),
			was: settings{
				profiles: []string{"default"}, devices: devices{"eth1": {"type": "nic", "nictype": "bridged", "parent": "br9", "hwaddr": "00:16:3e:00:00:01"}},
				expandedDevices: devices{"root": rootIn("old"), "eth1": {"type": "nic", "nictype": "bridged", "parent": "br9", "hwaddr": "00:16:3e:00:00:01"}},
			},
			devices:  devices{"eth1": {"type": "nic", "network": "here0", "hwaddr": "00:16:3e:00:00:01"}, "eth0": {"type": "none"}},
			profiles: []string{"default"},
			expandedDevices: devices{
				"root": rootIn("new"), "eth0": {"type": "none"}, "eth1": {"type": "nic", "network": "here0", "hwaddr": "00:16:3e:00:00:01"},
			},
			notes: 1,
		},
		"no network here": {
			home:            homeWith(empty),
			was:             settings{profiles: []string{"default"}, expandedDevices: devices{"root": rootIn("old"), "eth0": nicOn("lxdbr0")}},
			devices:         devices{"root": rootIn("new"), "eth0": nicOn("lxdbr0")},
			profiles:        []string{"default"},
			expandedDevices: devices{"root": rootIn("new"), "eth0": nicOn("lxdbr0")},
			notes:           1,
		},
		"its network is here": {
			home:            homeWith(devices{"root": rootIn("new"), "eth0": nicOn("here0")}, "here0", "lxdbr0"),
			was:             settings{profiles: []string{"default"}, expandedDevices: devices{"root": rootIn("old"), "eth0": nicOn("lxdbr0")}},
			devices:         devices{"eth0": nicOn("lxdbr0")},
			profiles:        []string{"default"},
			expandedDevices: devices{"root": rootIn("new"), "eth0": nicOn("lxdbr0")},
		},
		"disks of the host's, its own and a profile's": {
			home: homeWith(devices{"root": rootIn("new"), "p": {"type": "disk", "source": "/srv", "path": "/srv"}}),
			was: settings{
				profiles: []string{"default"},
				devices:  devices{"etc": {"type": "disk", "source": "/etc", "path": "/hostetc", "shift": "true"}, "late": {"type": "disk", "source": "/var", "path": "/v"}},
				expandedDevices: devices{
					"root": rootIn("old"), "p": {"type": "disk", "source": "/srv", "path": "/srv"},
					"etc": {"type": "disk", "source": "/etc", "path": "/hostetc", "shift": "true"},
				},
			},
			devices: devices{
				"p":    {"type": "none", "user.was.type": "disk", "user.was.source": "/srv", "user.was.path": "/srv"},
				"etc":  {"type": "none", "user.was.type": "disk", "user.was.source": "/etc", "user.was.path": "/hostetc", "user.was.shift": "true"},
				"late": {"type": "none", "user.was.type": "disk", "user.was.source": "/var", "user.was.path": "/v"},
			},
			profiles: []string{"default"},
			expandedDevices: devices{
				"root": rootIn("new"), "p": {"type": "none", "user.was.type": "disk", "user.was.source": "/srv", "user.was.path": "/srv"},
				"etc":  {"type": "none", "user.was.type": "disk", "user.was.source": "/etc", "user.was.path": "/hostetc", "user.was.shift": "true"},
				"late": {"type": "none", "user.was.type": "disk", "user.was.source": "/var", "user.was.path": "/v"},
			},
		},
		"nothing is said at all": {
			home:            homeWith(empty),
			devices:         devices{"root": rootIn("new")},
			profiles:        []string{},
			expandedDevices: devices{"root": rootIn("new")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.config == nil {
				tc.config = map[string]string{}
			}
			got, err := tc.home.adapt(tc.was)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]any{tc.config, tc.devices, tc.profiles, tc.expandedDevices}, []any{got.config, got.devices, got.profiles, got.expandedDevices}); diff != "" {
				t.Error(diff)
			}
			if len(got.notes) != tc.notes {
				t.Errorf("notes: %q", got.notes)
			}
			tc.home.former = "new" // as a recovered adoption finds it, or one of the same name
			again, err := tc.home.adapt(got.settings)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(got.devices, again.devices); diff != "" || !maps.Equal(got.config, again.config) {
				t.Errorf("adapting again changes it: %s %v", diff, again.config)
			}
		})
	}
}
