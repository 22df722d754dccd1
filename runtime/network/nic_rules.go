package network

import (
	"fmt"
	"net/netip"

	"poolctl/runtime/network/firewall"
)

// rules are what nftables is to do with what n sends. Limits are there too: the
// kernel's packet scheduler drops what is too much only with a module that small
// kernels lack.
func (n NIC) rules() (firewall.NIC, error) {
	hw, err := n.hwAddr()
	if err != nil {
		return firewall.NIC{}, err
	}
	r := firewall.NIC{
		Link: n.HostName, HWAddr: hw, MAC: n.MACFiltering, IPv4: n.IPv4Filtering, IPv6: n.IPv6Filtering,
		Rate: n.Egress, Priority: n.Priority,
	}
	for _, p := range n.prefixes() {
		r.Allowed = append(r.Allowed, netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	}
	r.Allowed = append(r.Allowed, n.Routes...) // what is behind it sends too
	if r.Filters() && hw == nil {
		return r, fmt.Errorf("%s cannot be filtered: it has no hardware address", n.Name)
	}
	return r, nil
}

// ruled says whether there are rules of nftables for n.
func (n NIC) ruled() bool {
	return n.MACFiltering || n.IPv4Filtering || n.IPv6Filtering || n.Egress > 0 || n.Priority > 0
}

// applyRules sets them in place of those that there are.
func (n NIC) applyRules() error {
	r, err := n.rules()
	if err == nil {
		err = r.Apply()
	}
	return err
}

// Tables are those of nftables with n's rules.
func (n NIC) Tables() []firewall.Table {
	r, err := n.rules()
	if err != nil || !n.ruled() {
		return nil // Attach has refused it
	}
	return r.Tables()
}

// RulesKept says whether the host's firewall has n's rules as they are to be.
func (n NIC) RulesKept() (bool, error) {
	if !n.ruled() {
		return true, nil
	}
	r, err := n.rules()
	kept := false
	if err == nil {
		kept, err = r.Applied()
	}
	if err != nil {
		return false, fmt.Errorf("cannot check the firewall rules of %s: %w", n.HostName, err)
	}
	return kept, nil
}
