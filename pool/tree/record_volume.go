package tree

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// volume is an entry of the section "volume": LXD's record of the instance's storage volume.
type volume struct {
	Name        string `json:"name"`
	Type        string `json:"type"`
	ContentType string `json:"content_type"`
	Project     string `json:"project"`
	Location    string `json:"location"`
	*newVolumeFields
}

// newVolumeFields are those that a volume gets when it is new; later they are what LXD made of them.
type newVolumeFields struct {
	Config      map[string]string `json:"config"`
	Description string            `json:"description"`
	UsedBy      []string          `json:"used_by"`
	CreatedAt   time.Time         `json:"created_at"`
}

func newVolume(name, project string, old json.RawMessage) volume {
	v := volume{Name: name, Type: "container", ContentType: "filesystem", Project: project, Location: "none"}
	if len(old) == 0 {
		v.newVolumeFields = &newVolumeFields{Config: map[string]string{}, UsedBy: []string{}}
	}
	return v
}

// volumeSnapshot is an entry of the section "volume_snapshots".
type volumeSnapshot struct {
	Name        string            `json:"name"`
	Description string            `json:"description"`
	ExpiresAt   time.Time         `json:"expires_at"`
	Config      map[string]string `json:"config"`
	ContentType string            `json:"content_type"`
	CreatedAt   time.Time         `json:"created_at"`
}

// volumeSnapshots is the section "volume_snapshots" for these snapshots: the entries that are there in old stay as LXD made them.
func volumeSnapshots(snaps []entry, old []json.RawMessage) ([]json.RawMessage, error) {
	before := make(map[string]json.RawMessage, len(old))
	for _, raw := range old {
		before[entryName(raw)] = raw
	}
	all := make([]json.RawMessage, 0, len(snaps))
	for i := range snaps {
		s := &snaps[i].Snapshot
		raw := before[s.Name]
		if raw == nil {
			var err error
			raw, err = marshal(volumeSnapshot{
				Name: s.Name, Config: map[string]string{}, ContentType: "filesystem", // the times are those of the snapshot's entry
			})
			if err != nil {
				return nil, err
			}
		}
		all = append(all, raw)
	}
	return all, nil
}

// entryName is the name in an entry of either list; "" for what is none.
func entryName(raw json.RawMessage) string {
	if after, ok := bytes.CutPrefix(raw, []byte(`{"name":"`)); ok {
		if end := bytes.IndexByte(after, '"'); end >= 0 && bytes.IndexByte(after[:end], '\\') < 0 {
			return string(after[:end])
		}
	}
	var v struct {
		Name string `json:"name"`
	}
	_ = json.Unmarshal(raw, &v) // what is none has no name
	return v.Name
}

// renameVolumeSnapshot gives an entry of "volume_snapshots" another name.
func (d *document) renameVolumeSnapshot(from, to string) error {
	list := slices.Clone(d.lists[sectionVolumeSnapshots])
	for i, raw := range list {
		if entryName(raw) != from {
			continue
		}
		members := object(raw)
		name, err := marshal(to)
		if err != nil {
			return err
		}
		members["name"] = name
		if list[i], err = marshal(members); err != nil {
			return err
		}
	}
	d.lists = maps.Clone(d.lists)
	d.lists[sectionVolumeSnapshots] = list
	return nil
}
