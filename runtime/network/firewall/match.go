package firewall

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The functions here build the expressions of one match or statement each, as
// nft itself does (nft --debug=netlink shows them).

func be16(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }

func host32(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// meta compares a value that the kernel knows of the packet.
func meta(key expr.MetaKey, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: data}}
}

// ifname is an interface's name as the kernel compares it: with all its bytes.
func ifname(link string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, link)
	return b
}

func iif(link string) []expr.Any    { return meta(expr.MetaKeyIIFNAME, expr.CmpOpEq, ifname(link)) }
func iifNot(link string) []expr.Any { return meta(expr.MetaKeyIIFNAME, expr.CmpOpNeq, ifname(link)) }
func oif(link string) []expr.Any    { return meta(expr.MetaKeyOIFNAME, expr.CmpOpEq, ifname(link)) }
func oifNot(link string) []expr.Any { return meta(expr.MetaKeyOIFNAME, expr.CmpOpNeq, ifname(link)) }

func iifGroup(group uint32) []expr.Any {
	return meta(expr.MetaKeyIIFGROUP, expr.CmpOpEq, host32(group))
}

func oifGroup(group uint32) []expr.Any {
	return meta(expr.MetaKeyOIFGROUP, expr.CmpOpEq, host32(group))
}

// family matches packets of an address's family.
func family(is4 bool) []expr.Any {
	proto := byte(unix.NFPROTO_IPV6)
	if is4 {
		proto = unix.NFPROTO_IPV4
	}
	return meta(expr.MetaKeyNFPROTO, expr.CmpOpEq, []byte{proto})
}

func l4proto(proto byte) []expr.Any { return meta(expr.MetaKeyL4PROTO, expr.CmpOpEq, []byte{proto}) }

// load reads bytes of the packet into register 1.
func load(base expr.PayloadBase, offset, length uint32) *expr.Payload {
	return &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length}
}

// payload compares bytes of the packet. A packet that ends before them matches
// neither equal nor unequal.
func payload(base expr.PayloadBase, offset uint32, op expr.CmpOp, data []byte) []expr.Any {
	return []expr.Any{load(base, offset, uint32(len(data))), &expr.Cmp{Op: op, Register: 1, Data: data}}
}

func transport(offset uint32, op expr.CmpOp, data ...byte) []expr.Any {
	return payload(expr.PayloadBaseTransportHeader, offset, op, data)
}

// netHeader compares an address or a part of the network's header.
func netHeader(offset uint32, op expr.CmpOp, data ...byte) []expr.Any {
	return payload(expr.PayloadBaseNetworkHeader, offset, op, data)
}

// prefix compares an address at offset of a header with a subnet.
func prefix(base expr.PayloadBase, offset uint32, op expr.CmpOp, p netip.Prefix) []expr.Any {
	size := uint32(p.Addr().BitLen() / 8)
	if p.IsSingleIP() {
		return payload(base, offset, op, p.Addr().AsSlice())
	}
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return []expr.Any{
		load(base, offset, size),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: op, Register: 1, Data: p.Masked().Addr().AsSlice()},
	}
}

func saddr(op expr.CmpOp, p netip.Prefix) []expr.Any {
	if p.Addr().Is4() {
		return prefix(expr.PayloadBaseNetworkHeader, 12, op, p)
	}
	return prefix(expr.PayloadBaseNetworkHeader, 8, op, p)
}

func daddr(op expr.CmpOp, p netip.Prefix) []expr.Any {
	if p.Addr().Is4() {
		return prefix(expr.PayloadBaseNetworkHeader, 16, op, p)
	}
	return prefix(expr.PayloadBaseNetworkHeader, 24, op, p)
}

func single(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }

// localDestination matches packets to an address of the host.
func localDestination() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: host32(unix.RTN_LOCAL)},
	}
}

// dport matches destination ports (the same bytes in TCP and UDP).
func dport(p PortRange) []expr.Any {
	if p.First == p.Last {
		return transport(2, expr.CmpOpEq, be16(p.First)...)
	}
	return []expr.Any{
		load(expr.PayloadBaseTransportHeader, 2, 2),
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: be16(p.First)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: be16(p.Last)},
	}
}

// statusDstNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const statusDstNAT = 1 << 5

// translated matches packets of connections whose destination was translated, or
// others.
func translated(is bool) []expr.Any {
	op := expr.CmpOpEq
	if is {
		op = expr.CmpOpNeq
	}
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: host32(statusDstNAT), Xor: host32(0)},
		&expr.Cmp{Op: op, Register: 1, Data: host32(0)},
	}
}

func verdict(k expr.VerdictKind) []expr.Any { return []expr.Any{&expr.Verdict{Kind: k}} }

func drop() []expr.Any   { return verdict(expr.VerdictDrop) }
func accept() []expr.Any { return verdict(expr.VerdictAccept) }

// reject answers that it is prohibited (ICMP and ICMPv6 alike), so that the
// sender need not wait for nothing.
func reject() []expr.Any {
	return []expr.Any{&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}}
}

// snat gives packets the source address a, or, when that is not valid, the one
// of the interface that they leave by.
func snat(a netip.Addr) []expr.Any {
	if !a.IsValid() {
		return []expr.Any{&expr.Masq{}}
	}
	return []expr.Any{
		&expr.Immediate{Register: 1, Data: a.AsSlice()},
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: nfproto(a), RegAddrMin: 1, RegAddrMax: 1},
	}
}

func nfproto(a netip.Addr) uint32 {
	if a.Is4() {
		return unix.NFPROTO_IPV4
	}
	return unix.NFPROTO_IPV6
}

// saddrOf, daddrOf and daddrNotIn match the packets of the address's family
// whose source or destination is (not) in p: in a table for both families the
// bytes mean nothing without that.
func saddrOf(p netip.Prefix) []expr.Any {
	return append(family(p.Addr().Is4()), saddr(expr.CmpOpEq, p)...)
}

func daddrOf(p netip.Prefix) []expr.Any {
	return append(family(p.Addr().Is4()), daddr(expr.CmpOpEq, p)...)
}

func daddrNotIn(p netip.Prefix) []expr.Any { return daddr(expr.CmpOpNeq, p) }
