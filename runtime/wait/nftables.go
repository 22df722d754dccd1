package wait

import (
	"syscall"
	"unsafe"
)

// Of linux/netfilter/nfnetlink.h and nf_tables.h.
const (
	netlinkNetfilter = 12
	subsystem        = 10 << 8        // NFNL_SUBSYS_NFTABLES
	getChain         = subsystem | 4  // NFT_MSG_GETCHAIN
	getGeneration    = subsystem | 16 // NFT_MSG_GETGEN
	chainTableAttr   = 1              // NFTA_CHAIN_TABLE
	chainNameAttr    = 3              // NFTA_CHAIN_NAME
	chainUseAttr     = 6              // NFTA_CHAIN_USE
	generationAttr   = 1              // NFTA_GEN_ID

	messageHeader = 16 // struct nlmsghdr
	familyHeader  = 4  // struct nfgenmsg
	attrHeader    = 4  // struct nlattr
)

// nftMessage is a request to nftables, and then the answer to it.
type nftMessage struct {
	length   uint32
	kind     uint16
	flags    uint16
	seq, pid uint32
	family   uint8
	version  uint8
	resource uint16
	attrs    [1024]byte
}

var message nftMessage

// start begins a request.
func (m *nftMessage) start(kind uint16, family uint64) {
	*m = nftMessage{length: messageHeader + familyHeader, kind: kind, flags: syscall.NLM_F_REQUEST, seq: 1, family: uint8(family)} //nolint:gosec // NFPROTO_*, of one byte
}

// addText adds an attribute: the text up to a space or the zero that ends it. It
// returns what comes after a space.
func (m *nftMessage) addText(kind uint16, text *byte) (rest *byte) {
	at := int(m.length) - messageHeader - familyHeader
	n := at + attrHeader
	c := *text
	for ; c != 0 && c != ' ' && n < len(m.attrs)/2; n++ {
		m.attrs[n] = c
		text = (*byte)(unsafe.Add(unsafe.Pointer(text), 1))
		c = *text
	}
	n++ // the text's end
	*(*uint16)(unsafe.Pointer(&m.attrs[at])) = uint16(n - at)
	*(*uint16)(unsafe.Pointer(&m.attrs[at+2])) = kind
	m.length = uint32(messageHeader + familyHeader + (n+3)&^3)
	if c == ' ' {
		text = (*byte)(unsafe.Add(unsafe.Pointer(text), 1))
	}
	return text
}

// ask has the kernel answer the request in place of it, and returns how many bytes of
// attributes there are; less than 0 when it could not be asked.
func (m *nftMessage) ask() int {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC|syscall.SOCK_NONBLOCK, netlinkNetfilter)
	if err != nil {
		return -1
	}
	bytes := (*[unsafe.Sizeof(message)]byte)(unsafe.Pointer(m))[:]
	n, err := syscall.Write(fd, bytes[:m.length])
	if err == nil {
		n, err = syscall.Read(fd, bytes) // the kernel has answered by now
	}
	_ = syscall.Close(fd) // nothing is written to it any more
	if err != nil {
		return -1
	}
	return n - messageHeader - familyHeader
}

// refused is the error of an answer to a request that has none.
func (m *nftMessage) refused() (syscall.Errno, bool) {
	// struct nlmsgerr has the errno, negative, where a request has its family.
	return syscall.Errno(-*(*int32)(unsafe.Pointer(&m.family))), m.kind == syscall.NLMSG_ERROR //nolint:gosec // an errno is small
}

// number is that of 32 bits in an attribute among n bytes of them.
func (m *nftMessage) number(n int, attr uint16) (uint32, bool) {
	for at := 0; at+attrHeader <= min(n, len(m.attrs)); {
		length := int(*(*uint16)(unsafe.Pointer(&m.attrs[at])))
		if length < attrHeader || at+length > n {
			break
		}
		if *(*uint16)(unsafe.Pointer(&m.attrs[at+2]))&0x3fff == attr && length == attrHeader+4 {
			b := m.attrs[at+attrHeader:]
			return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]), true
		}
		at += (length + 3) &^ 3
	}
	return 0, false
}

// chainDiffers says whether a chain, "TABLE CHAIN" with a zero at the end, is not there
// with so many rules. What cannot be asked is taken to be so.
func chainDiffers(family, rules uint64, name *byte) bool {
	message.start(getChain, family)
	message.addText(chainNameAttr, message.addText(chainTableAttr, name))
	n := message.ask()
	if n < 0 {
		return false
	}
	if errno, is := message.refused(); is {
		return errno == syscall.ENOENT
	}
	use, ok := message.number(n, chainUseAttr)
	return ok && uint64(use) != rules
}

// ruleset is a number that is another one after each change of nftables' rules,
// whoever makes it; 0 when it is not known.
func ruleset() uint32 {
	message.start(getGeneration, 0)
	n := message.ask()
	if n < 0 || message.kind == syscall.NLMSG_ERROR {
		return 0
	}
	id, _ := message.number(n, generationAttr) // 0 then
	return id
}
