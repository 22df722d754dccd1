package wait

import (
	"fmt"
	"os"
	"testing"

	"github.com/google/nftables"
)

// A table that is not there meets its condition, one that is does not.
func TestTableGone(t *testing.T) {
	name := fmt.Sprintf("wait_test_%d", os.Getpid())
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	gone := func(family nftables.TableFamily) bool {
		var c conditions
		c.n = copy(c.text[:], fmt.Sprintf("w 0 %d 0 %s\n", family, name))
		return c.due(0)
	}
	if !gone(nftables.TableFamilyINet) {
		t.Error("a table that was never made is taken to be there")
	}
	table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: name})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if gone(nftables.TableFamilyINet) || !gone(nftables.TableFamilyNetdev) {
		t.Error("want it in its family only")
	}
	c.DelTable(table)
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	if !gone(nftables.TableFamilyINet) {
		t.Error("a deleted table is taken to be there")
	}
}

func BenchmarkTableGone(b *testing.B) {
	name := []byte("none\x00")
	for b.Loop() {
		tableGone(1, &name[0])
	}
}
