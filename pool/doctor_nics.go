package pool

import (
	"context"
	"fmt"
	"slices"

	"poolctl/runtime/network"
)

// nicParents tells of interfaces of the host's that instances' nics are on, and that are
// gone: unplugged, renamed, or a VLAN or bridge that nobody made after a reboot.
func (d *doctor) nicParents(ctx context.Context, networks []string) {
	all, err := d.records(ctx)
	if err != nil {
		d.failed("instances", err)
		return
	}
	for _, name := range networks {
		d.externalLinks(name)
	}
	lent := d.lentLinks()
	for _, in := range all {
		for _, n := range nicsOf(in.ExpandedDevices) {
			dev := in.ExpandedDevices[n]
			parent := dev["parent"]
			if dev["network"] != "" || parent == "" || slices.Contains(networks, parent) || slices.Contains(lent, parent) {
				continue
			}
			if network.CheckLink(parent) == nil {
				continue
			}
			does := "it cannot start"
			if slices.Contains(d.running, in.Name) {
				does = "it has no network by it"
			}
			verb := "set"
			if in.Devices[n] == nil { // a profile's
				verb = "override"
			}
			d.add(Finding{
				Severity: SeverityWarning, Object: "instance " + in.Name,
				Problem: fmt.Sprintf("the host has no interface %s any more, which its device %s is on: %s", parent, n, does),
				Remedy:  fmt.Sprintf("make %s again (ip link shows what there is), or poolctl config device %s %s %s parent=LINK", parent, verb, in.Name, n),
			})
		}
	}
}

// externalLinks tells of the host's interfaces that are to be on a network's bridge and
// are not there.
func (d *doctor) externalLinks(name string) {
	rec, err := d.dir.LoadNetwork(name)
	if err != nil {
		return // told already
	}
	bridge, err := d.bridge(rec)
	if err != nil {
		return // told already
	}
	for _, l := range bridge.MissingExternal() {
		d.add(Finding{
			Severity: SeverityWarning, Object: "network " + name,
			Problem: "the host has no interface " + l + " any more, which is to be on its bridge (bridge.external_interfaces)",
			Remedy:  "make " + l + " again: the next start on the network puts it there; or poolctl network set " + name + " bridge.external_interfaces=",
		})
	}
}

// lentLinks are the host's interfaces that running instances have.
func (d *doctor) lentLinks() (out []string) {
	for _, in := range d.running {
		nics, err := d.runningNICs(in)
		if err != nil {
			continue // it has just ended
		}
		for _, n := range nics {
			if n.Kind == network.Physical && n.Was != nil {
				out = append(out, n.Was.Name)
			}
		}
	}
	return out
}
