package tree

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
)

const (
	recordFile = "backup.yaml"
	// maxRecord bounds a backup.yaml, in bytes: one of LXD's takes some 3 KB for the instance and for each snapshot.
	maxRecord = 16 << 20
	// statusStopped is LXD's number for it (shared/api). Whether an instance runs is never read from here.
	statusStopped = 102
)

var errNoContainer = errors.New(`it has no section "` + sectionContainer + `"`)

// record is a backup.yaml (LXD 5.0, lxd/backup/config) as far as it is understood here.
type record struct {
	Container *Instance
	entries   []entry
	doc       document
}

// detail says how much of a record is decoded.
type detail int

const (
	// alone leaves out the snapshots.
	alone detail = iota
	// listed leaves out the sections "pool" and "profiles", and the configuration of the snapshots: those are brief.
	listed
	// brief leaves out the configuration of the snapshots.
	brief
	// whole leaves out nothing.
	whole
)

// decodeRecord reads a backup.yaml: JSON, which is what this package writes since it parses ten times as fast, or any
// other YAML.
func decodeRecord(raw []byte, how detail) (record, error) {
	doc, err := parseDocument(raw)
	if err != nil {
		return record{}, err
	}
	rec, err := decodeDocument(doc, how)
	if err == nil && how != alone {
		rec.entries, err = decodeEntries(doc, how != whole)
	}
	return rec, err
}

// decodeDocument decodes all but the snapshots.
func decodeDocument(doc document, how detail) (record, error) {
	rec := record{doc: doc}
	for _, section := range []string{sectionContainer, "instance"} { // as LXD calls it from version 6 on
		if member, there := doc.members[section]; there && rec.Container == nil {
			if err := json.Unmarshal(member, &rec.Container); err != nil {
				return record{}, err
			}
		}
	}
	if rec.Container == nil {
		return record{}, errNoContainer
	}
	rec.Container.normalise()
	if how != listed {
		if err := rec.decodeSurroundings(); err != nil {
			return record{}, err
		}
	}
	return rec, nil
}

// decodeSurroundings decodes the pool and the profiles.
func (r *record) decodeSurroundings() error {
	var pools []*PoolInfo
	for section, to := range map[string]any{"pool": &r.Container.Pool, "pools": &pools, "profiles": &r.Container.ProfileInfo} {
		if member, there := r.doc.members[section]; there {
			if err := json.Unmarshal(member, to); err != nil {
				return err
			}
		}
	}
	if r.Container.Pool == nil && len(pools) > 0 { // from LXD 6 on
		r.Container.Pool = pools[0]
	}
	return nil
}

// encodeRecord is the backup.yaml of inst with the snapshots snaps. What old, the present content, has
// beyond the fields known here is kept; an empty one has nothing.
func encodeRecord(old document, inst *Instance, snaps []entry) (document, error) {
	top := newDocument()
	maps.Copy(top.members, old.members)
	inst.normalise()
	name := inst.Name
	if inst.Project != "default" {
		name = strings.TrimPrefix(name, inst.Project+"_")
	}
	var err error
	add := func(key string, value any) {
		if err == nil {
			top.members[key], err = overlay(top.members[key], value)
		}
	}
	section := sectionContainer
	if top.members[section] == nil && top.members["instance"] != nil {
		section = "instance"
	}
	add(section, struct {
		*Instance
		Name       string `json:"name"`
		Status     string `json:"status"`
		StatusCode int    `json:"status_code"`
	}{inst, name, "Stopped", statusStopped})
	if inst.Pool != nil && top.members["pools"] == nil {
		add("pool", inst.Pool)
	} else if inst.Pool != nil {
		add("pools", []*PoolInfo{inst.Pool})
	}
	if inst.ProfileInfo != nil || top.members["profiles"] == nil {
		add("profiles", orEmpty(inst.ProfileInfo))
	}
	add("volume", newVolume(name, inst.Project, top.members["volume"]))
	if err != nil {
		return document{}, err
	}
	entries := make([]json.RawMessage, len(snaps))
	for i := range snaps {
		if entries[i], err = snaps[i].encode(); err != nil {
			return document{}, err
		}
	}
	top.lists[sectionSnapshots] = entries
	top.lists[sectionVolumeSnapshots], err = volumeSnapshots(snaps, old.lists[sectionVolumeSnapshots])
	return top, err
}

// overlay lays value over old: the members of an object that value does not have stay, and so it goes for the elements of
// a list of objects that have the same "name".
func overlay(old json.RawMessage, value any) (json.RawMessage, error) {
	fresh, err := marshal(value)
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
	return marshal(members)
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
	return marshal(list)
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
