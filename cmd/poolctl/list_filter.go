package main

import (
	"slices"
	"strings"

	"poolctl/cmd/poolctl/internal/match"
	"poolctl/pool"
)

// instanceMatches says whether all filters match.
func instanceMatches(in pool.Instance, filters []string) bool {
	for _, f := range filters {
		key, value, pair := strings.Cut(f, "=")
		if !pair && !match.Name(f, in.Name) {
			return false
		}
		if pair && !shorthandMatches(in, strings.ToLower(key), value) && !match.Pairs(key, value, in.ExpandedConfig) {
			return false
		}
	}
	return true
}

// shorthandMatches applies type=, status= and the like, of which the value may
// be several, between commas.
func shorthandMatches(in pool.Instance, key, value string) bool {
	return slices.ContainsFunc(strings.Split(value, ","), func(v string) bool {
		switch key {
		case "name":
			return match.Name(v, in.Name)
		case "location":
			return v == "none" // as on a host without a cluster
		case "type":
			return strings.EqualFold(in.Type, v)
		case "status":
			return strings.EqualFold(in.Status, v)
		case "architecture":
			return strings.EqualFold(in.Architecture, v)
		case "ipv4":
			return match.Address(v, addresses(in, "inet"))
		case "ipv6":
			return match.Address(v, addresses(in, "inet6"))
		}
		return false
	})
}

// addresses are those of all interfaces of the family.
func addresses(in pool.Instance, family string) []string {
	var out []string
	if in.State != nil {
		for _, i := range in.State.Network {
			for _, a := range i.Addresses {
				if a.Family == family {
					out = append(out, a.Address)
				}
			}
		}
	}
	return out
}
