package tree

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// Instance is the record of an instance: the section "container" of its backup.yaml, in the fields of LXD 5.0 (package
// shared/api), and what belongs to it. What is running, the kernel knows: it is not in here.
type Instance struct {
	// Name is the name of the instance's directory. In a pool of LXD's, instances of a project other than the default one
	// are called PROJECT_NAME there.
	Name            string    `json:"-"`
	Description     string    `json:"description"`
	Architecture    string    `json:"architecture"` // x86_64
	Type            string    `json:"type"`         // container
	Ephemeral       bool      `json:"ephemeral"`
	Stateful        bool      `json:"stateful"`
	Config          Config    `json:"config"`
	Devices         Devices   `json:"devices"`
	Profiles        []string  `json:"profiles"`
	ExpandedConfig  Config    `json:"expanded_config"`
	ExpandedDevices Devices   `json:"expanded_devices"`
	CreatedAt       time.Time `json:"created_at"`
	LastUsedAt      time.Time `json:"last_used_at"` // 1970: never
	Project         string    `json:"project"`      // "default"
	Location        string    `json:"location"`     // "none"

	// Pool and ProfileInfo are the sections "pool" and "profiles", which `lxd recover` wants. nil leaves in the file what
	// it has.
	Pool        *PoolInfo     `json:"-"`
	ProfileInfo []ProfileInfo `json:"-"`
	// Snapshots are those that exist, oldest first. They are not changed through this field.
	Snapshots []Snapshot `json:"-"`
	// Limit is what a new or restored volume is limited to (Tree.SetLimit); 0 is no limit. It is not read back: the root disk's
	// "size" says what is wanted.
	Limit int64 `json:"-"`
	// Broken says why the record cannot be read: then only Name and Snapshots are set.
	Broken error `json:"-"`
}

// Snapshot is a snapshot of an instance: one entry of the section "snapshots". That it exists is told by its subvolume.
type Snapshot struct {
	Name            string    `json:"name"`
	CreatedAt       time.Time `json:"created_at"`
	ExpiresAt       time.Time `json:"expires_at"` // zero: never
	LastUsedAt      time.Time `json:"last_used_at"`
	Stateful        bool      `json:"stateful"`
	Ephemeral       bool      `json:"ephemeral"`
	Architecture    string    `json:"architecture"`
	Config          Config    `json:"config"`
	Devices         Devices   `json:"devices"`
	Profiles        []string  `json:"profiles"`
	ExpandedConfig  Config    `json:"expanded_config"`
	ExpandedDevices Devices   `json:"expanded_devices"`
	Size            int64     `json:"size"` // -1: unknown
}

// PoolInfo is the section "pool": the pool that the instance is in, for `lxd recover`.
type PoolInfo struct {
	Config      PoolConfig `json:"config"`
	Description string     `json:"description"`
	Name        string     `json:"name"`
	Driver      string     `json:"driver"`
	UsedBy      []string   `json:"used_by"`
	Status      string     `json:"status"`
	Locations   []string   `json:"locations"`
}

// ProfileInfo is an entry of the section "profiles": one profile that the instance uses, for `lxd recover`.
type ProfileInfo struct {
	Name        string                       `json:"name"`
	Description string                       `json:"description"`
	Config      map[string]string            `json:"config"`
	Devices     map[string]map[string]string `json:"devices"`
	UsedBy      []string                     `json:"used_by"`
}

// normalise fills in what a hand-written or foreign record may leave out, so that maps can be written to.
func (i *Instance) normalise() {
	if i.Type == "" {
		i.Type = "container"
	}
	if i.Project == "" {
		i.Project = "default"
	}
	if i.Location == "" {
		i.Location = "none"
	}
	if i.LastUsedAt.IsZero() {
		i.LastUsedAt = time.Unix(0, 0).UTC()
	}
	if i.Profiles == nil {
		i.Profiles = []string{}
	}
	fillMaps(&i.Config, &i.ExpandedConfig)
	fillMaps(&i.Devices, &i.ExpandedDevices)
	takeBackAll([]Config{i.Config, i.ExpandedConfig}, []Devices{i.Devices, i.ExpandedDevices})
}

func (s *Snapshot) normalise() {
	if s.Profiles == nil {
		s.Profiles = []string{}
	}
	fillMaps(&s.Config, &s.ExpandedConfig)
	fillMaps(&s.Devices, &s.ExpandedDevices)
	takeBackAll([]Config{s.Config, s.ExpandedConfig}, []Devices{s.Devices, s.ExpandedDevices})
}

func fillMaps[M ~map[string]V, V any](maps ...*M) {
	for _, m := range maps {
		if *m == nil {
			*m = M{}
		}
	}
}

// Keys of the ids on this host that an instance had when it was started last, and that it is to have. They are not part of what a
// snapshot is: its entry is without them.
const (
	IDMapCurrentKey = "volatile.idmap.current"
	IDMapNextKey    = "volatile.idmap.next"
)

// snapshotOf is the entry of a snapshot that is made of the instance now.
func (i *Instance) snapshotOf(name string, now time.Time) Snapshot {
	return Snapshot{
		Name: name, CreatedAt: now, Stateful: false, Ephemeral: i.Ephemeral, Architecture: i.Architecture, Config: withoutIDs(i.Config),
		Devices: i.Devices, Profiles: i.Profiles, ExpandedConfig: withoutIDs(i.ExpandedConfig), ExpandedDevices: i.ExpandedDevices, Size: -1,
	}
}

// withoutIDs is a configuration without those keys.
func withoutIDs(config map[string]string) map[string]string {
	out := maps.Clone(config)
	delete(out, IDMapCurrentKey)
	delete(out, IDMapNextKey)
	return out
}

// oldestFirst sorts snapshots by their age, and those of one moment by name.
func oldestFirst(snaps []Snapshot) {
	slices.SortFunc(snaps, func(a, b Snapshot) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), cmp.Compare(a.Name, b.Name))
	})
}
