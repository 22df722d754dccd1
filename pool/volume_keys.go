package pool

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"poolctl/pool/state"
)

// volumeKey is one key of the configuration of custom volumes.
type volumeKey struct {
	name  string
	check func(value string) error
	// initial keys are used when the volume is made, and cannot be changed.
	initial bool
}

// customKeys are Incus's keys of custom volumes on btrfs, besides user.*.
// What snapshots.schedule and snapshots.retention ask for, RunSnapshots does.
func customKeys() []volumeKey {
	return []volumeKey{
		{name: "size", check: checkVolumeSize},
		{name: "security.shifted", check: checkBool},
		{name: "security.unmapped", check: checkBool},
		{name: snapshotExpiryKey, check: checkExpiry},
		{name: snapshotPatternKey, check: checkPattern},
		{name: snapshotScheduleKey, check: checkSchedule},
		{name: snapshotRetentionKey, check: checkRetention},
		{name: "initial.uid", check: checkID, initial: true},
		{name: "initial.gid", check: checkID, initial: true},
		{name: "initial.mode", check: checkMode, initial: true},
		{name: volatileUUID, check: anyValue, initial: true},
	}
}

// volatileUUID is a key that tells a volume from its copies.
const volatileUUID = "volatile.uuid"

// checkVolumeConfig validates the whole configuration of a custom volume. An
// empty value is no value and always right.
func checkVolumeConfig(config map[string]string) error {
	keys := customKeys()
	for _, name := range sortedKeys(config) {
		if isUserKey(name) {
			continue
		}
		i := slices.IndexFunc(keys, func(k volumeKey) bool { return k.name == name })
		if i < 0 {
			return unknownVolumeKey(name)
		}
		if value := config[name]; value != "" {
			if err := keys[i].check(value); err != nil {
				return fmt.Errorf("%s=%s: %w", name, value, err)
			}
		}
	}
	if isTrue(config["security.shifted"]) && isTrue(config["security.unmapped"]) {
		return errors.New("security.shifted and security.unmapped exclude each other")
	}
	return nil
}

func unknownVolumeKey(name string) error {
	err := fmt.Errorf("unknown key %q", name)
	if strings.HasPrefix(name, "block.") || name == "security.shared" {
		return withHint(err, "it is for block volumes, which btrfs pools do not have here")
	}
	var names []string
	for _, k := range customKeys() {
		if k.name != volatileUUID {
			names = append(names, k.name)
		}
	}
	return withHint(err, "the keys are %s and user.*", strings.Join(names, ", "))
}

// checkInitial refuses a change of what only a new volume can be given.
func checkInitial(from, to map[string]string) error {
	for _, k := range customKeys() {
		if k.initial && from[k.name] != to[k.name] {
			return withHint(fmt.Errorf("%s cannot be changed", k.name), "it is used when a volume is made")
		}
	}
	return nil
}

// volumeDefaults lays the configuration of a new volume over the pool's
// volume.* keys.
func volumeDefaults(pool state.PoolRecord, config map[string]string) map[string]string {
	out := map[string]string{}
	for _, k := range customKeys() {
		if v := pool.Config["volume."+k.name]; v != "" {
			out[k.name] = v
		}
	}
	for name, v := range config {
		if v == "" {
			delete(out, name)
			continue
		}
		out[name] = v
	}
	// A default does not stand against what the user wants of this volume.
	for a, b := range map[string]string{"security.shifted": "security.unmapped", "security.unmapped": "security.shifted"} {
		if isTrue(config[a]) && config[b] == "" {
			delete(out, b)
		}
	}
	return out
}

// checkVolumeSize takes a size; 0 is none.
func checkVolumeSize(v string) error {
	_, err := ParseSize(v)
	return err
}

func checkID(v string) error {
	if n, err := strconv.ParseUint(v, 10, 32); err != nil || n == 1<<32-1 {
		return errors.New("not the number of a user or group")
	}
	return nil
}

func checkMode(v string) error {
	if n, err := strconv.ParseUint(v, 8, 32); err != nil || n > 0o7777 {
		return withHint(errors.New("not a mode"), "for example 0750")
	}
	return nil
}
