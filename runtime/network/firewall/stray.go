package firewall

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
)

// Links lists the interfaces, sorted, that there are rules for, be the
// interfaces there or not. It is empty when the kernel has no nftables.
func Links() (_ []string, err error) {
	c, err := connect()
	if err != nil {
		return nil, ignoreUnsupported(err)
	}
	defer func() { err = errors.Join(err, c.CloseLasting()) }()
	var links []string
	for _, f := range families {
		tables, err := c.ListTablesOfFamily(f)
		if ignoreUnsupported(unsupported(err)) != nil {
			return nil, fmt.Errorf("cannot list nftables tables: %w", err)
		}
		for _, t := range tables {
			if link, ours := strings.CutPrefix(t.Name, tablePrefix); ours {
				links = append(links, link)
			}
		}
	}
	slices.Sort(links)
	return slices.Compact(links), nil
}

// Strays lists those of Links that are not there: the rules outlived them. The
// interfaces are looked for after the rules, which are made after them.
func Strays() ([]string, error) {
	links, err := Links()
	if err != nil {
		return nil, err
	}
	var strays []string
	for _, l := range links {
		gone, err := isGone(l)
		if err != nil {
			return nil, err
		}
		if gone {
			strays = append(strays, l)
		}
	}
	return strays, nil
}

// RemoveStray removes the rules of an interface unless it is there.
func RemoveStray(link string) error {
	gone, err := isGone(link)
	if err != nil || !gone {
		return err
	}
	return Remove(link)
}

func isGone(link string) (bool, error) {
	_, err := netlink.LinkByName(link)
	var notFound netlink.LinkNotFoundError
	if errors.As(err, &notFound) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look up %s: %w", link, err)
	}
	return false, nil
}
