package firewall

import (
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// limitBurst is how many bytes may come at once, as with LXD and Incus.
const limitBurst = 1 << 20

// limits is the chain that drops what is too much of what the instance sends, and
// marks the rest. It is after the filters: what these drop does not count.
func (n NIC) limits() *chain {
	c := &chain{
		name: "limits", kind: nftables.ChainTypeFilter, hook: nftables.ChainHookIngress,
		priority: *nftables.ChainPriorityFilter + 1, device: n.Link,
	}
	if n.Rate > 0 {
		c.add("limits.egress", []expr.Any{
			&expr.Limit{Type: expr.LimitTypePktBytes, Rate: n.Rate / 8, Unit: expr.LimitTimeSecond, Burst: limitBurst, Over: true},
		}, drop())
	}
	if n.Priority > 0 {
		c.add("limits.priority", []expr.Any{
			&expr.Immediate{Register: 1, Data: host32(n.Priority)},
			&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: 1},
		})
	}
	return c
}
