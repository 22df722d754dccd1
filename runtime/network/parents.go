package network

import (
	"fmt"

	"github.com/vishvananda/netlink"
)

// noLinkError says that the host has no interface of a name.
type noLinkError struct{ name string }

func (e *noLinkError) Error() string { return "the host has no interface " + e.name }

// Hint tells the user how to see what there is.
func (e *noLinkError) Hint() string { return "ip link shows them" }

// hostLink finds an interface of the host's.
func hostLink(h *netlink.Handle, name string) (netlink.Link, error) {
	link, err := h.LinkByName(name)
	if isNotFound(err) {
		return nil, &noLinkError{name}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up %s: %w", name, err)
	}
	return link, nil
}

// CheckLink refuses a name of which the host has no interface.
func CheckLink(name string) error {
	_, err := hostLink(&netlink.Handle{}, name)
	return err
}

// CheckBridge refuses a name of which the host has no bridge.
func CheckBridge(name string) error {
	link, err := hostLink(&netlink.Handle{}, name)
	if err == nil && link.Type() != "bridge" {
		err = fmt.Errorf("%s is not a bridge but a %s link", name, link.Type())
	}
	return err
}
