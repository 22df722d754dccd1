package wait

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// A chain that is not there, or has another number of rules, meets its condition, also after it did not.
func TestChainDiffers(t *testing.T) {
	name := fmt.Sprintf("wait_test_%d", os.Getpid())
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	flush := func() {
		t.Helper()
		if err := c.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	line := func(family nftables.TableFamily, rules int) string {
		return fmt.Sprintf("c 0 %d %d %s forward\n", family, rules, name)
	}
	differs := func(family nftables.TableFamily, rules int) bool {
		var c conditions
		c.n = copy(c.text[:], line(family, rules))
		return c.due(0)
	}
	if !differs(nftables.TableFamilyINet, 2) || !differs(nftables.TableFamilyINet, 0) {
		t.Error("a table that was never made is taken to be there")
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	defer func() { _ = c.Flush() }()
	flush()
	if !differs(nftables.TableFamilyINet, 0) {
		t.Error("a chain that was never made is taken to be there")
	}
	chain := c.AddChain(&nftables.Chain{Table: table, Name: "forward", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
	for range 2 {
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{&expr.Counter{}}})
	}
	flush()
	if differs(nftables.TableFamilyINet, 2) || !differs(nftables.TableFamilyINet, 3) || !differs(nftables.TableFamilyNetdev, 2) {
		t.Error("want it in its family only, with two rules")
	}
	var kept conditions // over several looks
	kept.n = copy(kept.text[:], line(nftables.TableFamilyINet, 2))
	for range 3 {
		if kept.due(0) {
			t.Error("nothing has changed")
		}
	}
	if kept.rules == 0 {
		t.Error("each look asks for each chain")
	}
	c.FlushTable(table)
	flush()
	for range 2 {
		if !kept.due(0) {
			t.Error("a table that was emptied is taken to be as it was")
		}
	}
	c.DelTable(table)
	flush()
	if !kept.due(0) {
		t.Error("a deleted table is taken to be there")
	}
}

func BenchmarkChainDiffers(b *testing.B) {
	name := []byte("none forward\x00")
	for b.Loop() {
		chainDiffers(1, 1, &name[0])
	}
}

func BenchmarkRuleset(b *testing.B) {
	for b.Loop() {
		ruleset()
	}
}
