package firewall

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Table is a table of nftables with rules that are made here.
type Table struct {
	Family byte   // NFPROTO_INET or NFPROTO_NETDEV (linux/netfilter.h)
	Name   string // "poolctl_lxdbr0"
}

// Tables are those that Apply makes; none without any rules.
func (n Network) Tables() []Table { return n.table().named() }

// Tables are those that Apply makes; none without any rules.
func (n NIC) Tables() []Table { return n.table().named() }

// Applied says whether the kernel's rules are what n says.
func (n NIC) Applied() (bool, error) { return n.table().applied() }

func (t table) named() []Table {
	if len(t.chains) == 0 {
		return nil
	}
	return []Table{{byte(t.family), t.name}}
}

// Exists says whether the table is there, whatever is in it. It is cheap: one request for one table.
func (t Table) Exists() (bool, error) {
	c, err := connect()
	if err != nil {
		return false, err
	}
	_, err = c.ListTableOfFamily(t.Name, nftables.TableFamily(t.Family))
	if closeErr := c.CloseLasting(); closeErr != nil {
		return false, closeErr
	}
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot look for nftables table %s: %w", t.Name, err)
	}
	return true, nil
}
