package pool

import (
	"strings"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// The state of a network comes with what of another program's stops its packets.
func TestNetworkInfoTellsObstacles(t *testing.T) {
	s := newSystem(t)
	name := testNetwork(t, s, "ni", nil)
	var told []string
	s.notice = func(line string) { told = append(told, line) }
	look := func() string {
		t.Helper()
		told = nil
		if _, err := s.NetworkInfo(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		return strings.Join(told, "\n")
	}
	stops := "the chain inet other_" + name + " in drops packets from instances to the DHCP server (IPv4)"
	if got := look(); strings.Contains(got, stops) {
		t.Fatalf("told before it is there: %s", got)
	}
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "other_" + name})
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "in", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(name), make([]byte, 16-len(name))...)},
		&expr.Verdict{Kind: expr.VerdictDrop},
	}})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.DelTable(table)
		if err := c.Flush(); err != nil {
			t.Error(err)
		}
	})
	if got := look(); !strings.Contains(got, stops) || !strings.Contains(got, "this opens it: ") {
		t.Errorf("want %q, got %q", stops, got)
	}
}
