package pool

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"poolctl/pool/state"
)

// poolKey is one key of the configuration of pools: its name, which pools can
// have it, what values it takes, and what a change of it does.
type poolKey struct {
	name string
	// kinds are the pools that can have it (state.PoolFile, ...); nil for all.
	kinds []string
	// fixed is the hint on why it cannot be set once the pool is made; "" when it can.
	fixed string
	// check says what is wrong with a value, which is never "".
	check func(value string) error
	// apply makes a change effective: from is the pool as it is, to as it is
	// wanted, and both have all keys. It is called, under the locks of a change,
	// before the record is saved, and again with the two swapped when a later
	// step fails. nil: whoever reads the key next finds it.
	apply func(ctx context.Context, s *System, from, to state.PoolRecord) error
}

// What pools have a device of their own, and may say how it is formatted and mounted.
var ownFileSystem = []string{state.PoolFile, state.PoolDevice}

// poolKeys are all keys that poolctl knows, besides user.*: those of Incus's
// btrfs driver and of its volumes (volume.*), those of its server that concern
// the images (images.*), and compress and reserve.
func poolKeys() []poolKey {
	return append([]poolKey{
		{name: "size", kinds: []string{state.PoolFile}, check: checkSize, fixed: "poolctl pool set NAME size=SIZE resizes the pool"},
		{name: "source", check: anyValue, fixed: "what a pool lies on is chosen when it is made"},
		{name: "source.wipe", kinds: []string{state.PoolDevice}, check: anyValue, fixed: "it is for pool create"},
		{name: "btrfs.create_options", kinds: ownFileSystem, check: checkCreateOptions, fixed: "it is for pool create"},
		{name: "btrfs.mount_options", kinds: ownFileSystem, check: checkMountOptions, apply: applyMountOptions},
		{name: quotasKey, check: checkQuotas, apply: applyQuotas},
		{name: originalsKey, check: checkOriginals},
		{name: "compress", kinds: ownFileSystem, check: checkCompress, apply: applyMountOptions},
		{name: "reserve", kinds: []string{state.PoolFile}, check: checkBool, apply: applyReserve},
		{name: cacheExpiryKey, check: checkDays},
		{name: autoUpdateCachedKey, check: checkBool},
		{name: trashKey, check: checkTrash},
	}, volumeKeys()...)
}

// volumeKeys are the defaults for volumes that are made later.
func volumeKeys() []poolKey {
	return []poolKey{
		{name: "volume.size", check: checkSize},
		{name: "volume.security.shifted", check: checkBool},
		{name: "volume.security.unmapped", check: checkBool},
		{name: "volume.snapshots.expiry", check: checkExpiry},
		{name: "volume.snapshots.pattern", check: anyValue},
		{name: "volume.snapshots.schedule", check: checkSchedule},
		{name: "volume.snapshots.retention", check: checkRetention},
	}
}

// findPoolKey is the registry's entry of a key; every user.* has one.
func findPoolKey(name string) (poolKey, error) {
	if isUserKey(name) {
		return poolKey{name: name, check: anyValue}, nil
	}
	keys := poolKeys()
	if i := slices.IndexFunc(keys, func(k poolKey) bool { return k.name == name }); i >= 0 {
		return keys[i], nil
	}
	if strings.HasPrefix(name, "volume.block.") || name == "volume.security.shared" {
		return poolKey{}, withHint(fmt.Errorf("unknown key %q", name), "it is for block volumes, which btrfs pools do not have")
	}
	names := make([]string, 0, len(keys)+1)
	for _, k := range keys {
		names = append(names, k.name)
	}
	return poolKey{}, withHint(fmt.Errorf("unknown key %q", name), "the keys are %s and user.*", strings.Join(names, ", "))
}

// checkPoolConfig validates the whole configuration of a pool of that kind. An
// empty value is no value and always right.
func checkPoolConfig(kind string, config map[string]string) error {
	for _, name := range sortedKeys(config) {
		k, err := findPoolKey(name)
		if err != nil {
			return err
		}
		value := config[name]
		if value == "" {
			continue
		}
		if err := k.forKind(kind); err != nil {
			return err
		}
		if err := k.check(value); err != nil {
			return fmt.Errorf("%s=%s: %w", name, value, err)
		}
	}
	return checkCompressOnce(config)
}

// forKind refuses a key that pools of a kind cannot have.
func (k poolKey) forKind(kind string) error {
	if k.kinds != nil && !slices.Contains(k.kinds, kind) {
		return fmt.Errorf("%s is not for %s", k.name, kindNames[kind])
	}
	return nil
}

// kindNames say for what a key is not.
var kindNames = map[string]string{
	state.PoolFile:      "a pool in a file",
	state.PoolDevice:    "a pool on a device",
	state.PoolDirectory: "a pool in a subvolume: the file system around it is not poolctl's",
}

// sortedKeys are the keys of a map in a fixed order, so that of several errors
// it is always the same that is told.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
