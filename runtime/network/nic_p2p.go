package network

import (
	"context"
	"errors"
	"os"

	"github.com/vishvananda/netlink"
)

// defaultMTU is Ethernet's.
const defaultMTU = 1500

type p2p struct{}

func (p2p) attach(_ context.Context, host, guest *netlink.Handle, n NIC, ns *os.File) (_ netlink.Link, err error) {
	mtu := defaultMTU
	if n.MTU != 0 {
		mtu = n.MTU
	}
	veth, err := addVeth(host, n, mtu, 0, ns)
	if err != nil {
		return nil, err
	}
	n.HostName = veth.Name
	defer func() {
		if err != nil {
			err = errors.Join(err, p2p{}.detach(n, ns))
		}
	}()
	return finishPair(host, guest, n, veth)
}

func (p2p) detach(n NIC, _ *os.File) error {
	return removePair(n)
}
