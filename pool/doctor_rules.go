package pool

import (
	"context"
	"strings"

	"poolctl/runtime/network"
	"poolctl/runtime/network/firewall"
)

// networkRules tells of a network's firewall rules that are not there as they
// should be, and of other programs' that drop its packets. f is how Up is told of.
func (d *doctor) networkRules(object string, bridge network.Bridge, f Finding) {
	kept, err := bridge.RulesKept()
	if err != nil {
		d.failed(object, err)
		return
	}
	if !kept {
		f.Severity, f.Problem, f.Remedy = SeverityWarning, "its firewall rules are not there as they should be: NAT and isolation fail", "poolctl doctor --fix"
		f.does = "its rules were set"
		d.add(f)
	}
	obstacles, err := bridge.Obstacles()
	if err != nil {
		d.failed(object, err)
		return
	}
	for _, o := range obstacles {
		d.add(Finding{Severity: SeverityWarning, Object: object, Problem: o.String(), Remedy: strings.Join(o.Commands, "; ")})
	}
}

// instanceRules tells of filters and limits of running instances' interfaces, and of what
// their proxy devices publish, that are not there as they should be.
func (d *doctor) instanceRules() {
	for _, in := range d.running {
		nics, published, err := d.runningRules(in)
		if err != nil {
			continue // it has just ended
		}
		for _, n := range nics {
			kept, err := n.RulesKept()
			if err != nil {
				d.failed("instance "+in, err)
			} else if !kept {
				d.lostRules(in, "the firewall rules of "+n.Device+" are not there as they should be: its filters and limits fail",
					func(context.Context) error { return n.Rule() })
			}
		}
		for _, p := range published {
			kept, err := p.Applied()
			if err != nil {
				d.failed("instance "+in, err)
			} else if !kept {
				d.lostRules(in, "the firewall rules of its proxy devices are not there as they should be: their ports lead nowhere",
					func(ctx context.Context) error { return d.mendProxyRules(ctx, in) })
			}
		}
	}
}

func (d *doctor) lostRules(instance, problem string, fix func(context.Context) error) {
	d.add(Finding{
		Severity: SeverityWarning, Object: "instance " + instance, Problem: problem, Remedy: "poolctl doctor --fix",
		does: "its rules were set", fix: fix,
	})
}

// strayRules tells of firewall rules that were made for interfaces which are gone.
func (d *doctor) strayRules() {
	links, err := firewall.Strays()
	if err != nil {
		d.failed("firewall rules", err)
		return
	}
	for _, link := range links {
		d.add(Finding{
			Severity: SeverityWarning, Object: "firewall rules of " + link, Problem: "the interface is gone",
			Remedy: "poolctl doctor --fix takes them away", does: "they were taken away",
			fix: func(context.Context) error { return firewall.RemoveStray(link) },
		})
	}
}

// tellObstaclesOf tells what of other programs' stops the packets of a network; nothing of
// another interface.
func (s *System) tellObstaclesOf(name string) {
	rec, err := s.dir.LoadNetwork(name)
	if err != nil {
		return
	}
	if bridge, err := s.bridge(rec); err == nil {
		s.tellObstacles(bridge)
	}
}

// tellObstacles tells, when a network came up, what of other programs' stops its
// packets and what opens it.
func (s *System) tellObstacles(bridge network.Bridge) {
	obstacles, err := bridge.Obstacles()
	if err != nil {
		s.noticef("%s", err)
		return
	}
	for _, o := range obstacles {
		s.noticef("network %s: %s; this opens it: %s", bridge.Name, o, strings.Join(o.Commands, "; "))
	}
}
