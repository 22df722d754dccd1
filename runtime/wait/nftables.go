package wait

import (
	"syscall"
	"unsafe"
)

// Of linux/netfilter/nfnetlink.h and nf_tables.h.
const (
	netlinkNetfilter = 12
	getTable         = 10<<8 | 1 // NFNL_SUBSYS_NFTABLES, NFT_MSG_GETTABLE
	tableNameAttr    = 1         // NFTA_TABLE_NAME

	messageHeader = 16 // struct nlmsghdr
	familyHeader  = 4  // struct nfgenmsg
	attrHeader    = 4  // struct nlattr
)

// tableMessage is a request for a table, and the answer's beginning.
type tableMessage struct {
	length     uint32
	kind       uint16
	flags      uint16
	seq, pid   uint32
	family     uint8
	_          [3]byte
	attrLength uint16
	attrKind   uint16
	name       [64]byte
}

var message tableMessage

// tableGone says whether there is no nftables table of a family with the name, which
// ends with a zero. What cannot be asked is taken to be there.
func tableGone(family uint64, name *byte) bool {
	message = tableMessage{kind: getTable, flags: syscall.NLM_F_REQUEST, seq: 1, family: uint8(family), attrKind: tableNameAttr} //nolint:gosec // NFPROTO_*, of one byte
	n := 0
	for ; n < len(message.name)-1; n++ {
		c := *(*byte)(unsafe.Add(unsafe.Pointer(name), n))
		if c == 0 {
			break
		}
		message.name[n] = c
	}
	message.attrLength = uint16(attrHeader + n + 1)
	message.length = uint32(messageHeader + familyHeader + (attrHeader+n+1+3)&^3)
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, netlinkNetfilter)
	if err != nil {
		return false
	}
	bytes := (*[unsafe.Sizeof(message)]byte)(unsafe.Pointer(&message))[:]
	m, err := syscall.Write(fd, bytes[:message.length])
	if err == nil {
		m, err = syscall.Read(fd, bytes) // the kernel has answered by now
	}
	_ = syscall.Close(fd) // nothing is written to it any more
	// The errno of struct nlmsgerr, negative, is where a request has its family.
	return err == nil && m >= messageHeader+familyHeader && message.kind == syscall.NLMSG_ERROR &&
		*(*int32)(unsafe.Pointer(&message.family)) == -int32(syscall.ENOENT)
}
