package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"poolctl/pool/cloudinit"
)

// instanceKey is one key of the configuration of instances and profiles: its
// name, what values it takes, and what a change of it does to a running instance.
type instanceKey struct {
	// name is the whole name, or with a "*" at its end any that begins so
	// (environment.*, volatile.*).
	name string
	// check says what is wrong with a value, which is never "".
	check func(value string) error
	// apply makes a change effective in a running instance, before the record is
	// saved, and again with from and to swapped when a later step fails. Both are
	// the whole expanded configuration; it may be called once for each key that
	// has changed, and has to give the same result then. nil: the next start, or
	// whoever reads the key next, finds it.
	apply func(ctx context.Context, s *System, in *lockedInstance, from, to map[string]string) error
}

// instanceKeys are all keys that poolctl knows: those of Incus that concern
// containers on one host, by the part of the name in front of the dot.
func instanceKeys() []instanceKey {
	return slices.Concat(generalKeys(), securityKeys(), limitKeys(), restartKeys(), bootKeys(), snapshotKeys())
}

// generalKeys are those that have no meaning for the runtime itself.
func generalKeys() []instanceKey {
	return []instanceKey{
		{name: "user.*", check: anyValue},
		{name: "environment.*", check: checkEnvironment, apply: applyEnvironment},
		{name: "image.*", check: anyValue},
		{name: "volatile.*", check: anyValue},
		{name: "cloud-init.network-config", check: cloudinit.CheckMapping},
		{name: "cloud-init.user-data", check: cloudinit.CheckData},
		{name: "cloud-init.vendor-data", check: cloudinit.CheckData},
		{name: "cloud-init.ssh-keys.*", check: anyValue},
	}
}

// checkEnvironment refuses what no environment can hold.
func checkEnvironment(v string) error {
	if strings.Contains(v, "\x00") {
		return errors.New("it contains a zero byte")
	}
	return nil
}

// findInstanceKey is the registry's entry of a key.
func findInstanceKey(name string) (instanceKey, error) {
	keys := instanceKeys()
	if i := slices.IndexFunc(keys, func(k instanceKey) bool { return k.matches(name) }); i >= 0 {
		return keys[i], nil
	}
	if err := foreignKey(name); err != nil {
		return instanceKey{}, err
	}
	return instanceKey{}, withHint(fmt.Errorf("unknown key %q", name), "%s", similarKeys(name, keys))
}

// matches says whether the entry is that of a key.
func (k instanceKey) matches(name string) bool {
	prefix, wild := strings.CutSuffix(k.name, "*")
	if !wild {
		return k.name == name
	}
	return len(name) > len(prefix) && strings.HasPrefix(name, prefix)
}

// similarKeys is the hint for an unknown key: the known ones of its group, or
// the groups.
func similarKeys(name string, keys []instanceKey) string {
	group, _, _ := strings.Cut(name, ".")
	var same, groups []string
	for _, k := range keys {
		g, _, _ := strings.Cut(k.name, ".")
		if g == group {
			same = append(same, k.name)
		}
		if !slices.Contains(groups, g+".*") {
			groups = append(groups, g+".*")
		}
	}
	if len(same) > 0 {
		return "the keys are " + strings.Join(same, ", ")
	}
	slices.Sort(groups)
	return "the keys are " + strings.Join(groups, ", ")
}

// checkInstanceConfig validates keys and values of an instance or a profile. An
// empty value is no value and always right.
func checkInstanceConfig(config map[string]string) error {
	for _, name := range sortedKeys(config) {
		k, err := findInstanceKey(name)
		if err != nil {
			return err
		}
		if v := config[name]; v != "" {
			if err := k.check(v); err != nil {
				return fmt.Errorf("%s=%s: %w", name, v, err)
			}
		}
	}
	return nil
}
