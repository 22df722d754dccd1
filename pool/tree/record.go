package tree

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

const (
	recordFile = "backup.yaml"
	// maxRecord bounds a backup.yaml, in bytes: one of LXD's takes some 3 KB for the instance and for each snapshot.
	maxRecord = 16 << 20
	// statusStopped is LXD's number for it (shared/api). Whether an instance runs is never read from here.
	statusStopped = 102
)

var errNoContainer = errors.New(`it has no section "container"`)

// record is a backup.yaml (LXD 5.0, lxd/backup/config) as far as it is understood here.
type record struct {
	Container *Instance `json:"container"`
	// Instance is what LXD calls the section from version 6 on.
	Instance  *Instance     `json:"instance"`
	Snapshots []Snapshot    `json:"snapshots"`
	Pool      *PoolInfo     `json:"pool"`
	Pools     []*PoolInfo   `json:"pools"` // instead of Pool, from LXD 6 on
	Profiles  []ProfileInfo `json:"profiles"`
}

// decodeRecord reads a backup.yaml: JSON, which is what this package writes since it parses ten times as fast, or any
// other YAML.
func decodeRecord(raw []byte) (record, error) {
	var rec record
	asJSON, err := toJSON(raw)
	if err != nil {
		return rec, err
	}
	if err := json.Unmarshal(asJSON, &rec); err != nil {
		return record{}, err
	}
	if rec.Container == nil {
		rec.Container = rec.Instance
	}
	if rec.Container == nil {
		return record{}, errNoContainer
	}
	rec.Container.normalise()
	if rec.Pool == nil && len(rec.Pools) > 0 {
		rec.Pool = rec.Pools[0]
	}
	rec.Container.Pool, rec.Container.ProfileInfo = rec.Pool, rec.Profiles
	for i := range rec.Snapshots {
		rec.Snapshots[i].normalise()
	}
	return rec, nil
}

// listRecord is a record as far as a list needs it: skipping the rest halves the time it takes.
type listRecord struct {
	Container *Instance `json:"container"`
	Instance  *Instance `json:"instance"`
	Snapshots []struct {
		Name      string    `json:"name"`
		CreatedAt time.Time `json:"created_at"`
		ExpiresAt time.Time `json:"expires_at"`
		Stateful  bool      `json:"stateful"`
	} `json:"snapshots"`
}

// decodeListed is decodeRecord without the sections "pool" and "profiles" and the configuration of the snapshots.
func decodeListed(raw []byte) (record, error) {
	var rec listRecord
	asJSON, err := toJSON(raw)
	if err == nil {
		err = json.Unmarshal(asJSON, &rec)
	}
	if rec.Container == nil {
		rec.Container = rec.Instance
	}
	if err == nil && rec.Container == nil {
		err = errNoContainer
	}
	if err != nil {
		return record{}, err
	}
	rec.Container.normalise()
	light := record{Container: rec.Container}
	for _, s := range rec.Snapshots {
		light.Snapshots = append(light.Snapshots, Snapshot{
			Name: s.Name, CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt, Stateful: s.Stateful, Size: -1,
		})
	}
	return light, nil
}

// toJSON turns YAML into JSON. What begins as a JSON object and is one stays as it is.
func toJSON(raw []byte) ([]byte, error) {
	trimmed := bytes.TrimSpace(raw)
	if len(trimmed) == 0 {
		return nil, errors.New("it is empty")
	}
	if trimmed[0] == '{' && trimmed[len(trimmed)-1] == '}' {
		return trimmed, nil
	}
	var v map[string]any
	if err := yaml.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// encodeRecord is the content of the backup.yaml of inst with the snapshots snaps. What old, the present content, has
// beyond the fields known here is kept; nil, or what cannot be read, has nothing.
func encodeRecord(old []byte, inst *Instance, snaps []Snapshot) ([]byte, error) {
	top := object(old)
	inst.normalise()
	name := inst.Name
	if inst.Project != "default" {
		name = strings.TrimPrefix(name, inst.Project+"_")
	}
	var err error
	add := func(key string, value any) {
		if err == nil {
			top[key], err = overlay(top[key], value)
		}
	}
	section := "container"
	if top[section] == nil && top["instance"] != nil {
		section = "instance"
	}
	add(section, struct {
		*Instance
		Name       string `json:"name"`
		Status     string `json:"status"`
		StatusCode int    `json:"status_code"`
	}{inst, name, "Stopped", statusStopped})
	if inst.Pool != nil && top["pools"] == nil {
		add("pool", inst.Pool)
	} else if inst.Pool != nil {
		add("pools", []*PoolInfo{inst.Pool})
	}
	if inst.ProfileInfo != nil || top["profiles"] == nil {
		add("profiles", orEmpty(inst.ProfileInfo))
	}
	add("snapshots", snaps)
	add("volume", newVolume(name, inst.Project, top["volume"]))
	add("volume_snapshots", volumeSnapshots(snaps, top["volume_snapshots"]))
	if err != nil {
		return nil, err
	}
	raw, err := json.MarshalIndent(top, "", "  ")
	return append(raw, '\n'), err
}

// object decodes a JSON or YAML object into its members; what is none has no members.
func object(raw []byte) map[string]json.RawMessage {
	members := map[string]json.RawMessage{}
	if asJSON, err := toJSON(raw); err == nil && json.Unmarshal(asJSON, &members) == nil && members != nil {
		return members
	}
	return map[string]json.RawMessage{}
}

// overlay lays value over old: the members of an object that value does not have stay, and so it goes for the elements of
// a list of objects that have the same "name".
func overlay(old json.RawMessage, value any) (json.RawMessage, error) {
	fresh, err := json.Marshal(value)
	if err != nil || len(old) == 0 {
		return fresh, err
	}
	var list []map[string]json.RawMessage
	if fresh[0] == '[' && json.Unmarshal(fresh, &list) == nil {
		return overlayList(old, list)
	}
	members := object(old)
	var over map[string]json.RawMessage
	if err := json.Unmarshal(fresh, &over); err != nil {
		return nil, err
	}
	maps.Copy(members, over)
	return json.Marshal(members)
}

func overlayList(old json.RawMessage, list []map[string]json.RawMessage) (json.RawMessage, error) {
	var before []map[string]json.RawMessage
	if json.Unmarshal(old, &before) == nil {
		named := map[string]map[string]json.RawMessage{}
		for _, b := range before {
			named[string(b["name"])] = b
		}
		for i, fresh := range list {
			if b := named[string(fresh["name"])]; b != nil {
				merged := maps.Clone(b)
				maps.Copy(merged, fresh)
				list[i] = merged
			}
		}
	}
	return json.Marshal(list)
}

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

// volumeSnapshots is the section "volume_snapshots": the entries that are there in old stay as LXD made them.
func volumeSnapshots(snaps []Snapshot, old json.RawMessage) []any {
	var before []map[string]json.RawMessage
	if json.Unmarshal(old, &before) != nil {
		before = nil
	}
	all := make([]any, 0, len(snaps))
	for _, s := range snaps {
		name, _ := json.Marshal(s.Name) // a string always has a form
		i := slices.IndexFunc(before, func(b map[string]json.RawMessage) bool { return bytes.Equal(b["name"], name) })
		if i >= 0 {
			all = append(all, before[i])
			continue
		}
		all = append(all, volumeSnapshot{
			Name: s.Name, ExpiresAt: s.ExpiresAt, Config: map[string]string{}, ContentType: "filesystem", CreatedAt: s.CreatedAt,
		})
	}
	return all
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// readRecord reads the record of the volume at path, with its bytes.
func readRecord(path string) (record, []byte, error) {
	return readRecordWith(path, decodeRecord)
}

func readRecordWith(path string, decode func([]byte) (record, error)) (record, []byte, error) {
	file := path + "/" + recordFile
	raw, err := readFile(file, maxRecord)
	if err != nil {
		return record{}, nil, err
	}
	rec, err := decode(raw)
	if err != nil {
		return record{}, raw, fmt.Errorf("%s is damaged: %w", file, err)
	}
	return rec, raw, nil
}
