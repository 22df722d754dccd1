package network

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// shape has the host end of a pair send at most that many bits in a second to the instance,
// what is more waiting in a queue (man tc-htb), in place of what was set before; 0
// for no limit.
func shape(h *netlink.Handle, link netlink.Link, bits uint64) error {
	if err := shapeLink(h, link, bits); err != nil {
		return fmt.Errorf("cannot limit what goes to the instance by %s: %w", link.Attrs().Name, err)
	}
	return nil
}

func shapeLink(h *netlink.Handle, link netlink.Link, bits uint64) error {
	root := netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT}
	if bits == 0 {
		qdiscs, err := dump(func() ([]netlink.Qdisc, error) { return h.QdiscList(link) })
		if err != nil {
			return err
		}
		for _, q := range qdiscs {
			if q.Type() == "htb" && q.Attrs().Handle == root.Handle {
				return h.QdiscDel(q)
			}
		}
		return nil
	}
	qdisc := netlink.NewHtb(root)
	qdisc.Defcls = 0x10
	if err := h.QdiscAdd(qdisc); err != nil && !errors.Is(err, unix.EEXIST) { // else it is there, with another limit
		if errors.Is(err, unix.ENOENT) {
			return &MissingError{What: "the kernel's packet scheduler htb", How: "modprobe sch_htb"}
		}
		return err
	}
	// What may be sent at once: two of the largest packets that the kernel hands down
	// in one piece, or what the rate is in 10 ms.
	burst := uint32(min(max(2*65536, bits/8/100), 64<<20))
	class := netlink.NewHtbClass(
		netlink.ClassAttrs{LinkIndex: root.LinkIndex, Parent: root.Handle, Handle: netlink.MakeHandle(1, 0x10)},
		netlink.HtbClassAttrs{Rate: bits, Buffer: burst, Cbuffer: burst, Quantum: 65536},
	)
	return h.ClassReplace(class)
}
