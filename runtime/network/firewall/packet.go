package firewall

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// packet is one for which other programs' rules are looked at.
type packet struct {
	what     string // "from the network to the outside", for messages
	iif, oif string // oif is empty for one to the host
	src, dst netip.Addr
	proto    byte // unix.IPPROTO_TCP or UDP
	from, to uint16
	reply    bool // of a connection that is known; otherwise it begins one
	local    bool // dst is the host's
	// translated says that the destination was another one before.
	translated bool
}

func (p packet) is4() bool { return p.dst.Is4() }

// header is the network header, transport the first bytes of the other.
func (p packet) header() []byte {
	if p.is4() {
		h := make([]byte, 20)
		h[0], h[8], h[9] = 0x45, 64, p.proto
		binary.BigEndian.PutUint16(h[2:], 60)
		copy(h[12:], p.src.AsSlice())
		copy(h[16:], p.dst.AsSlice())
		return h
	}
	h := make([]byte, 40)
	h[0], h[6], h[7] = 0x60, p.proto, 64
	binary.BigEndian.PutUint16(h[4:], 40)
	copy(h[8:], p.src.AsSlice())
	copy(h[24:], p.dst.AsSlice())
	return h
}

func (p packet) transport() []byte {
	t := make([]byte, 20)
	binary.BigEndian.PutUint16(t, p.from)
	binary.BigEndian.PutUint16(t[2:], p.to)
	if p.proto == unix.IPPROTO_TCP {
		t[12], t[13] = 0x50, 0x02 // SYN
		if p.reply {
			t[13] = 0x12 // and ACK
		}
	}
	return t
}

// meta is what the kernel knows of the packet; nil when that is not known here.
func (p packet) meta(key expr.MetaKey) []byte {
	switch key {
	case expr.MetaKeyIIFNAME:
		return ifname(p.iif)
	case expr.MetaKeyOIFNAME:
		return ifname(p.oif)
	case expr.MetaKeyIIF:
		return host32(linkIndex(p.iif))
	case expr.MetaKeyOIF:
		return host32(linkIndex(p.oif))
	case expr.MetaKeyNFPROTO:
		if p.is4() {
			return []byte{unix.NFPROTO_IPV4}
		}
		return []byte{unix.NFPROTO_IPV6}
	case expr.MetaKeyPROTOCOL:
		if p.is4() {
			return be16(unix.ETH_P_IP)
		}
		return be16(unix.ETH_P_IPV6)
	case expr.MetaKeyL4PROTO:
		return []byte{p.proto}
	case expr.MetaKeyMARK:
		return host32(0)
	}
	return nil
}

// Bits of the state of a connection (include/net/netfilter/nf_conntrack.h,
// NF_CT_STATE_BIT, and enum ip_conntrack_info).
const (
	stateEstablished = 1 << 1
	stateNew         = 1 << 3
)

func (p packet) state() uint32 {
	if p.reply {
		return stateEstablished
	}
	return stateNew
}

func (p packet) ct(key expr.CtKey) []byte {
	switch key {
	case expr.CtKeySTATE:
		return host32(p.state())
	case expr.CtKeySTATUS:
		if p.translated {
			return host32(statusDstNAT)
		}
		return host32(0)
	case expr.CtKeyMARK:
		return host32(0)
	case expr.CtKeyDIRECTION:
		if p.reply {
			return []byte{1}
		}
		return []byte{0}
	}
	return nil
}

func (p packet) addrType() uint32 {
	switch {
	case p.local:
		return unix.RTN_LOCAL
	case p.dst == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return unix.RTN_BROADCAST
	}
	return unix.RTN_UNICAST
}
