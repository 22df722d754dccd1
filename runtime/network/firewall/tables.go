package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"

	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Table is a table of nftables with rules that are made here.
type Table struct {
	Family byte   // NFPROTO_INET or NFPROTO_NETDEV (linux/netfilter.h)
	Name   string // "poolctl_lxdbr0"
	Chains []Chain
}

// Chain is one of its chains.
type Chain struct {
	Name  string
	Rules int // how many it has
}

// Tables are those that Apply makes; none without any rules.
func (n Network) Tables() []Table { return n.table().named() }

// Tables are those that Apply makes; none without any rules.
func (n NIC) Tables() []Table { return n.table().named() }

// Tables are those that Apply makes; none without any forward.
func (p Published) Tables() []Table { return p.table().named() }

// Applied says whether the kernel's rules are what n says.
func (n NIC) Applied() (bool, error) { return n.table().applied() }

// Applied says whether the kernel's rules are what p says.
func (p Published) Applied() (bool, error) { return p.table().applied() }

func (t table) named() []Table {
	if len(t.chains) == 0 {
		return nil
	}
	out := Table{Family: byte(t.family), Name: t.name}
	for _, c := range t.chains {
		out.Chains = append(out.Chains, Chain{c.name, len(c.rules)})
	}
	return []Table{out}
}

// Counted says whether each chain is there with as many rules as it should have,
// whatever these are. It is cheap: a request for each chain, which lists no rules.
func (t Table) Counted() (_ bool, err error) {
	c, err := mdnetlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return false, unsupported(fmt.Errorf("cannot open an nftables socket: %w", err))
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	for _, ch := range t.Chains {
		n, err := countRules(c, t, ch.Name)
		if errors.Is(err, unix.ENOENT) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("cannot look for chain %s of nftables table %s: %w", ch.Name, t.Name, err)
		}
		if n != ch.Rules {
			return false, nil
		}
	}
	return true, nil
}

// countRules asks for a chain (linux/netfilter/nf_tables.h, NFT_MSG_GETCHAIN): as
// nothing jumps to a base chain, what uses it are its rules.
func countRules(c *mdnetlink.Conn, t Table, chain string) (int, error) {
	attrs := mdnetlink.NewAttributeEncoder()
	attrs.String(unix.NFTA_CHAIN_TABLE, t.Name)
	attrs.String(unix.NFTA_CHAIN_NAME, chain)
	data, err := attrs.Encode()
	if err != nil {
		return 0, err
	}
	const familyHeader = 4 // struct nfgenmsg
	answers, err := c.Execute(mdnetlink.Message{
		Header: mdnetlink.Header{Type: unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN, Flags: mdnetlink.Request},
		Data:   append([]byte{t.Family, 0, 0, 0}, data...),
	})
	if err != nil {
		return 0, err
	}
	for _, a := range answers {
		if len(a.Data) < familyHeader {
			continue
		}
		d, err := mdnetlink.NewAttributeDecoder(a.Data[familyHeader:])
		if err != nil {
			return 0, err
		}
		d.ByteOrder = binary.BigEndian
		for d.Next() {
			if d.Type() == unix.NFTA_CHAIN_USE {
				return int(d.Uint32()), nil
			}
		}
		if err := d.Err(); err != nil {
			return 0, err
		}
	}
	return 0, errors.New("the kernel does not say how many rules it has")
}
