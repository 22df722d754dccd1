package checkconfig

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// inNetwork runs f in a network namespace that ends with it, with all devices.
func inNetwork(f func(h *netlink.Handle) error) error {
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return errNotTried // a line of its own says so
		}
		h, err := netlink.NewHandle(unix.NETLINK_ROUTE) // without a family it asks for xfrm and more, which a kernel may lack
		if err != nil {
			return err
		}
		defer h.Close()
		return f(h)
	})
}

// link makes a network device of a kind; macvlan and vlan on one end of a veth.
func link(kind string) func(*prober) error {
	return func(*prober) error {
		return inNetwork(func(h *netlink.Handle) error {
			attrs := netlink.LinkAttrs{Name: "probe0"}
			var made netlink.Link
			switch kind {
			case "veth":
				made = &netlink.Veth{LinkAttrs: attrs, PeerName: "probe1"}
			case "bridge":
				made = &netlink.Bridge{LinkAttrs: attrs}
			default:
				below := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "below0"}, PeerName: "below1"}
				if err := h.LinkAdd(below); err != nil {
					return errNotTried
				}
				found, err := h.LinkByName("below0")
				if err != nil {
					return err
				}
				attrs.ParentIndex = found.Attrs().Index
				if made = (&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}); kind == "vlan" {
					made = &netlink.Vlan{LinkAttrs: attrs, VlanId: 1}
				}
			}
			err := h.LinkAdd(made)
			if errors.Is(err, unix.EOPNOTSUPP) {
				return fmt.Errorf("the kernel makes no device of type %s", kind)
			}
			return err
		})
	}
}

// nftables asks for the generation of the rules (linux/netfilter/nf_tables.h,
// NFT_MSG_GETGEN).
func (p *prober) nftables() error {
	const getGeneration = 16
	return onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return errNotTried
		}
		req := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|getGeneration, 0)
		req.AddData(&nl.Nfgenmsg{NfgenFamily: unix.AF_UNSPEC, Version: nl.NFNETLINK_V0})
		_, err := req.Execute(unix.NETLINK_NETFILTER, 0)
		return err
	})
}
