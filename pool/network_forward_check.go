package pool

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"poolctl/pool/state"
	"poolctl/runtime/network"
	"poolctl/runtime/network/firewall"
)

// targetKey is the key of a forward's default target.
const targetKey = "target_address"

// parsePorts reads ports and ranges of them, separated by commas.
func parsePorts(v string) ([]firewall.PortRange, error) {
	var list []firewall.PortRange
	for word := range strings.SplitSeq(v, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(word), "-")
		if !isRange {
			last = first
		}
		a, errA := strconv.ParseUint(first, 10, 16)
		b, errB := strconv.ParseUint(last, 10, 16)
		if errA != nil || errB != nil || a == 0 || b < a {
			return nil, withHint(fmt.Errorf("%q is no port or range of ports", word), "for example 80 or 8000-8010,9000")
		}
		list = append(list, firewall.PortRange{First: uint16(a), Last: uint16(b)})
	}
	return list, nil
}

// pairPorts puts each listen port beside its target: the same one, the only one,
// or the one at its place.
func pairPorts(listen, target []firewall.PortRange) ([][2]firewall.PortRange, error) {
	var pairs [][2]firewall.PortRange
	if len(target) == 0 {
		target = listen
	}
	if len(target) == 1 && target[0].First == target[0].Last {
		for _, l := range listen {
			pairs = append(pairs, [2]firewall.PortRange{l, target[0]})
		}
		return pairs, nil
	}
	for len(listen) > 0 && len(target) > 0 {
		l, t := &listen[0], &target[0]
		n := min(l.Last-l.First, t.Last-t.First)
		pairs = append(pairs, [2]firewall.PortRange{{First: l.First, Last: l.First + n}, {First: t.First, Last: t.First + n}})
		lDone, tDone := l.First+n == l.Last, t.First+n == t.Last
		l.First, t.First = l.First+n+1, t.First+n+1
		if lDone {
			listen = listen[1:]
		}
		if tDone {
			target = target[1:]
		}
	}
	if len(listen) > 0 || len(target) > 0 {
		return nil, errors.New("there must be as many target ports as listen ports, or one")
	}
	return pairs, nil
}

// forwardRules are the rules of a network's forwards, all of which were checked.
func forwardRules(list []state.NetworkForward) ([]firewall.Forward, error) {
	var rules []firewall.Forward
	for _, f := range list {
		r, err := forwardRule(f)
		if err != nil {
			return nil, fmt.Errorf("forward %s: %w", f.ListenAddress, err)
		}
		rules = append(rules, r...)
	}
	return rules, nil
}

// forwardRule are the rules of one, those of its ports first.
func forwardRule(f state.NetworkForward) ([]firewall.Forward, error) {
	listen, err := netip.ParseAddr(f.ListenAddress)
	if err != nil {
		return nil, fmt.Errorf("%q is no address", f.ListenAddress)
	}
	if listen.IsUnspecified() {
		return nil, errors.New("it must be one address")
	}
	var rules []firewall.Forward
	for _, p := range f.Ports {
		r, err := portRules(listen, p)
		if err != nil {
			return nil, fmt.Errorf("port %s: %w", p.ListenPort, err)
		}
		for _, is := range rules {
			for _, n := range r {
				if is.Protocol == n.Protocol && is.Ports.Overlaps(n.Ports) {
					return nil, fmt.Errorf("%s port %s is listened to twice", n.Protocol, n.Ports)
				}
			}
		}
		rules = append(rules, r...)
	}
	for _, k := range sortedKeys(f.Config) {
		if k != targetKey && !isUserKey(k) {
			return nil, withHint(fmt.Errorf("unknown key %q", k), "the keys are %s and user.*", targetKey)
		}
	}
	if v := f.Config[targetKey]; v != "" {
		target, err := netip.ParseAddr(v)
		if err != nil {
			return nil, fmt.Errorf("%s=%s: it is no address", targetKey, shellWord(v))
		}
		rules = append(rules, firewall.Forward{Listen: listen, Target: target})
	}
	for _, r := range rules {
		if err := r.Validate(); err != nil {
			return nil, err
		}
	}
	return rules, nil
}

func portRules(listen netip.Addr, p state.NetworkForwardPort) ([]firewall.Forward, error) {
	target, err := netip.ParseAddr(p.TargetAddress)
	if err != nil {
		return nil, fmt.Errorf("target address %q is no address", p.TargetAddress)
	}
	from, err := parsePorts(p.ListenPort)
	if err != nil {
		return nil, err
	}
	var to []firewall.PortRange
	if p.TargetPort != "" {
		if to, err = parsePorts(p.TargetPort); err != nil {
			return nil, err
		}
	}
	pairs, err := pairPorts(from, to)
	if err != nil {
		return nil, err
	}
	var rules []firewall.Forward
	for i, pair := range pairs {
		for _, other := range pairs[:i] {
			if other[0].Overlaps(pair[0]) {
				return nil, fmt.Errorf("%s is listened to twice", pair[0])
			}
		}
		rules = append(rules, firewall.Forward{Listen: listen, Protocol: p.Protocol, Ports: pair[0], Target: target, TargetPorts: pair[1]})
	}
	return rules, nil
}

// checkForwards refuses targets that are not on the network, addresses that another
// network has, or publishes already, and ports that a proxy device listens on.
func (s *System) checkForwards(ctx context.Context, b network.Bridge, list []state.NetworkForward) error {
	for _, f := range b.Forwards {
		if f.Target == b.IPv4.Addr() || f.Target == b.IPv6.Addr() || !b.IPv4.Contains(f.Target) && !b.IPv6.Contains(f.Target) {
			return fmt.Errorf("forward %s: the target %s is no instance's address on the network", f.Listen, f.Target)
		}
	}
	if len(list) == 0 {
		return nil
	}
	if err := s.notProxied(ctx, b.Forwards); err != nil {
		return err
	}
	taken, err := s.networkSubnets(b.Name)
	if err != nil {
		return err
	}
	names, err := s.dir.ListNetworks()
	if err != nil {
		return err
	}
	for _, f := range list {
		listen, err := netip.ParseAddr(f.ListenAddress)
		if err != nil {
			return err
		}
		for _, p := range b.Subnets() {
			if p.Contains(listen) && listen != b.IPv4.Addr() && listen != b.IPv6.Addr() {
				return fmt.Errorf("forward %s: the address is one of the instances' on the network", listen)
			}
		}
		for p, owner := range taken {
			if p.Contains(listen) {
				return fmt.Errorf("forward %s: the address is on network %s", listen, owner)
			}
		}
		for _, n := range names {
			rec, err := s.dir.LoadNetwork(n)
			if err != nil || n == b.Name {
				continue
			}
			for _, other := range rec.Forwards {
				if sameAddress(other.ListenAddress, f.ListenAddress) {
					return fmt.Errorf("forward %s: network %s has it already", listen, n)
				}
			}
		}
	}
	return nil
}
