package pool

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"poolctl/pool/crash"
	"poolctl/runtime"
	"poolctl/runtime/proxy"
)

// isProxy says whether a device passes connections on.
func isProxy(dev map[string]string) bool { return dev["type"] == "proxy" }

// proxyKeys are the keys that such a device can have
// (https://linuxcontainers.org/incus/docs/main/reference/devices_proxy/).
var proxyKeys = []string{"listen", "connect", "bind", "uid", "gid", "mode", "security.uid", "security.gid", "nat", "proxy_protocol"}

// proxyOf is what the configuration of such a device says.
func proxyOf(name string, dev map[string]string) (d proxy.Device, err error) {
	if err := checkKeys(dev, proxyKeys...); err != nil {
		return d, err
	}
	d = proxy.Device{Name: name, Mode: proxy.DefaultMode}
	for _, a := range []struct {
		key  string
		into *proxy.Address
	}{{"listen", &d.Listen}, {"connect", &d.Connect}} {
		if dev[a.key] == "" {
			return d, withHint(fmt.Errorf("it has no %s", a.key), "%s=tcp:ADDRESS:PORT, udp:ADDRESS:PORT or unix:PATH", a.key)
		}
		if *a.into, err = proxy.Parse(dev[a.key]); err != nil {
			return d, fmt.Errorf("%s: %w", a.key, err)
		}
	}
	switch dev["bind"] {
	case "", "host":
	case "instance", "guest", "container": // the latter two are older names for it, also in LXD
		d.Inside = true
	default:
		return d, fmt.Errorf("invalid bind %q: want host or instance", dev["bind"])
	}
	if err := proxyIDs(&d, dev); err != nil {
		return d, err
	}
	for _, k := range []string{"nat", "proxy_protocol"} {
		if v := dev[k]; v != "" {
			if err := checkBool(v); err != nil {
				return d, fmt.Errorf("%s=%s: %w", k, v, err)
			}
		}
	}
	d.ProxyProtocol, d.NAT = isTrue(dev["proxy_protocol"]), isTrue(dev["nat"])
	return d, d.Validate()
}

// proxyIDs reads the keys that are numbers.
func proxyIDs(d *proxy.Device, dev map[string]string) error {
	if d.Listen.Kind != proxy.Unix || d.Listen.Abstract {
		for _, k := range []string{"uid", "gid", "mode"} {
			if dev[k] != "" {
				return fmt.Errorf("%s is for a socket with a path: listen=unix:/PATH", k)
			}
		}
	}
	for _, k := range []struct {
		key  string
		base int
		most uint64
		set  func(v uint32)
	}{
		{"uid", 10, 1<<32 - 2, func(v uint32) { d.UID = v }},
		{"gid", 10, 1<<32 - 2, func(v uint32) { d.GID = v }},
		{"mode", 8, 0o777, func(v uint32) { d.Mode = v }},
		{"security.uid", 10, 1<<32 - 2, func(v uint32) { d.SecurityUID = &v }},
		{"security.gid", 10, 1<<32 - 2, func(v uint32) { d.SecurityGID = &v }},
	} {
		text := dev[k.key]
		if text == "" {
			continue
		}
		v, err := strconv.ParseUint(text, k.base, 64)
		if err != nil || v > k.most {
			want := fmt.Sprintf("a number from 0 to %d", k.most)
			if k.base == 8 {
				want = "permissions in octal: 0644"
			}
			return fmt.Errorf("invalid %s %q: want %s", k.key, text, want)
		}
		k.set(uint32(v))
	}
	return nil
}

// proxiesOf are the proxy devices among devices, sorted by their names.
func proxiesOf(devices map[string]map[string]string) ([]proxy.Device, error) {
	var out []proxy.Device
	for _, n := range sortedKeys(devices) {
		if !isProxy(devices[n]) {
			continue
		}
		d, err := proxyOf(n, devices[n])
		if err == nil && d.NAT {
			d.Connect.IP, err = natTarget(d, devices)
		}
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", n, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// natTarget is the address of the instance that a device with nat leads to, which has to
// be one that a nic has for good: that of the first such nic, if it is to be any.
func natTarget(d proxy.Device, devices map[string]map[string]string) (netip.Addr, error) {
	key := "ipv6.address"
	if d.Connect.IP.Is4() {
		key = "ipv4.address"
	}
	for _, n := range sortedKeys(devices) {
		if !isNIC(devices[n]) {
			continue
		}
		for text := range strings.SplitSeq(devices[n][key], ",") { // a routed one may have several
			ip, err := netip.ParseAddr(strings.TrimSpace(text))
			if err == nil && (ip == d.Connect.IP || d.Connect.IP.IsUnspecified()) {
				return ip, nil
			}
		}
	}
	what := "an address"
	if !d.Connect.IP.IsUnspecified() {
		what = d.Connect.IP.String()
	}
	return netip.Addr{}, withHint(fmt.Errorf("nat needs a nic that has %s for good", what), "poolctl config device set NAME NIC %s=ADDRESS", key)
}

// plugProxies makes a change of the devices of an instance effective, as far as proxy
// devices are concerned, and returns how to take it back. Those of one that does not run
// have been checked.
func (s *System) plugProxies(ctx context.Context, instance string, was, now map[string]map[string]string) (undo func(context.Context) error, err error) {
	nothing := func(context.Context) error { return nil }
	gone, added, err := changedProxies(was, now)
	if err != nil {
		return nil, err
	}
	if len(gone)+len(added) == 0 {
		return nothing, nil
	}
	live, err := s.runningInstance(instance)
	if errors.Is(err, runtime.ErrNotRunning) {
		return nothing, nil
	} else if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, live.Close()) }()
	if err := s.proxiesFree(instance, added); err != nil {
		return nil, err
	}
	return s.replugProxies(ctx, live, instance, gone, added)
}

// replugProxies takes proxy devices from a running instance and gives it others.
func (s *System) replugProxies(ctx context.Context, live *runtime.Instance, instance string, gone []string, come []proxy.Device) (undo func(context.Context) error, err error) {
	had, err := live.Proxies()
	if err != nil {
		return nil, err
	}
	var steps undoSteps
	for _, n := range gone {
		if err := live.DetachProxy(ctx, n); err != nil {
			return nil, steps.failed(ctx, err)
		}
		if i := slices.IndexFunc(had, func(d proxy.Device) bool { return d.Name == n }); i >= 0 {
			steps.add(s.ifRunning(instance, func(ctx context.Context, live *runtime.Instance) error { return live.AttachProxy(ctx, had[i]) }))
		}
		crash.Point("pool.proxy.detached")
	}
	for _, d := range come {
		if err := live.AttachProxy(ctx, d); err != nil {
			return nil, steps.failed(ctx, err)
		}
		steps.add(s.ifRunning(instance, func(ctx context.Context, live *runtime.Instance) error { return live.DetachProxy(ctx, d.Name) }))
		crash.Point("pool.proxy.attached")
	}
	return steps.run, nil
}

// changedProxies names the proxy devices that go, and says which ones come. Those with nat
// do both when the nics change, whose addresses and interfaces they are for.
func changedProxies(was, now map[string]map[string]string) (gone []string, come []proxy.Device, err error) {
	names := changedDevices(was, now)
	nics := len(changedNICs(was, now)) > 0
	touched := func(n string, dev map[string]string) bool {
		return isProxy(dev) && (slices.Contains(names, n) || nics && isTrue(dev["nat"]))
	}
	for _, n := range sortedKeys(was) {
		if touched(n, was[n]) {
			gone = append(gone, n)
		}
	}
	if !slices.ContainsFunc(sortedKeys(now), func(n string) bool { return touched(n, now[n]) }) {
		return gone, nil, nil
	}
	come, err = proxiesOf(now)
	return gone, slices.DeleteFunc(come, func(d proxy.Device) bool { return !touched(d.Name, now[d.Name]) }), err
}

// settleProxies has a running instance, which may have the proxy devices of other, have
// those of want.
func settleProxies(ctx context.Context, live *runtime.Instance, want, other map[string]map[string]string) error {
	gone, come, err := changedProxies(other, want)
	if err != nil {
		return err
	}
	for _, d := range come { // they may be there already
		gone = append(gone, d.Name)
	}
	for _, n := range gone {
		err = errors.Join(err, live.DetachProxy(ctx, n))
	}
	for _, d := range come {
		err = errors.Join(err, live.AttachProxy(ctx, d))
	}
	return err
}
