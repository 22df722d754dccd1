package pool

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"poolctl/pool/tree"
)

// changedDevices names the devices of which the expanded configuration differs.
func changedDevices(was, now map[string]map[string]string) []string {
	var out []string
	for _, n := range sortedKeys(was) {
		if d, still := now[n]; !still || !maps.Equal(d, was[n]) {
			out = append(out, n)
		}
	}
	for _, n := range sortedKeys(now) {
		if _, had := was[n]; !had {
			out = append(out, n)
		}
	}
	return out
}

// checkDevices checks the devices that a change changes, and that the root disk
// stays in its pool.
func (s *System) checkDevices(ctx context.Context, in *lockedInstance, was, now tree.Instance) error {
	changed := changedDevices(was.ExpandedDevices, now.ExpandedDevices)
	for _, n := range changed {
		if dev, there := now.ExpandedDevices[n]; there {
			if err := checkDeviceName(n); err != nil {
				return err
			}
			if err := s.checkDevice(n, dev); err != nil {
				return err
			}
		}
	}
	if err := s.checkNICs(ctx, now, changed); err != nil {
		return err
	}
	if err := s.checkProxies(now.ExpandedDevices, changed); err != nil {
		return err
	}
	root := rootDevice(now.ExpandedDevices)
	if root == "" {
		return errors.New("it would have no root disk: a disk with path=/")
	}
	if pool := now.ExpandedDevices[root]["pool"]; pool != in.openedPool.rec.Name {
		return fmt.Errorf("device %s: the root disk is in pool %s and cannot move to %q by this", root, in.openedPool.rec.Name, pool)
	}
	return nil
}

// checkDevice validates one device by its type.
func (s *System) checkDevice(name string, dev map[string]string) (err error) {
	switch {
	case isRootDisk(dev):
		err = errors.Join(checkKeys(dev, append([]string{"pool", "path", "size"}, diskLimitKeys...)...), checkDiskLimits(dev))
		if err == nil && dev["size"] != "" {
			err = checkSize(dev["size"])
		}
	case isDisk(dev):
		err = checkDisk(dev)
	case isUnixDevice(dev):
		err = checkUnixDevice(dev)
	case isProxy(dev):
		_, err = proxyOf(name, dev)
	case dev["type"] == "nic":
		err = s.checkNIC(dev)
	case dev["type"] == "none":
		err = checkKeys(dev)
	default:
		err = withHint(fmt.Errorf("type %q is unknown", dev["type"]), "the types are %s", deviceTypes())
	}
	if err != nil {
		return fmt.Errorf("device %s: %w", name, err)
	}
	return nil
}

func isRootDisk(dev map[string]string) bool { return dev["type"] == "disk" && dev["path"] == "/" }

// checkKeys refuses keys besides "type", user.* and those given.
func checkKeys(dev map[string]string, known ...string) error {
	for _, k := range sortedKeys(dev) {
		if k != "type" && !isUserKey(k) && !slices.Contains(known, k) {
			return withHint(fmt.Errorf("unknown key %q", k), "the keys of a %s are %v", dev["type"], known)
		}
	}
	return nil
}

// checkDeviceName takes what can be a device's name: Incus's rule is 1 to 64
// characters; those that would not print, or end a word, are refused too.
func checkDeviceName(name string) error {
	if name == "" || len(name) > 64 {
		return fmt.Errorf("%q cannot be a device's name: 1 to 64 characters", name)
	}
	if i := slices.IndexFunc([]rune(name), func(c rune) bool { return c <= ' ' || c == '/' || c == ',' || c == '=' || c == 0x7f }); i >= 0 {
		return fmt.Errorf("%q cannot be a device's name: no spaces and none of / , =", name)
	}
	return nil
}
