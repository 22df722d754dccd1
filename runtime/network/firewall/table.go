package firewall

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	mdnetlink "github.com/mdlayher/netlink"
)

// tablePrefix begins the names of all tables; the interface's name follows.
const tablePrefix = "poolctl_"

func tableName(link string) string { return tablePrefix + link }

// table is what a table of the kernel should be.
type table struct {
	family nftables.TableFamily
	name   string
	chains []*chain
}

// chain is a base chain with policy accept.
type chain struct {
	name     string
	kind     nftables.ChainType
	hook     *nftables.ChainHook
	priority nftables.ChainPriority
	device   string // of the ingress hook
	rules    []rule
}

// rule is a list of expressions and the comment that nft shows beside it.
type rule struct {
	comment string
	exprs   []expr.Any
	// ports, when not empty, fills the anonymous map that a portMap among exprs
	// looks up.
	ports []portPair
}

type portPair struct{ from, to uint16 }

func (c *chain) add(comment string, parts ...[]expr.Any) {
	c.rules = append(c.rules, rule{comment: comment, exprs: slices.Concat(parts...)})
}

// userData is what marks a rule as made here with these very expressions: the
// comment (the TLV of type 0, which nft shows) and a digest of the rule, in a
// type that nft does not know and leaves alone.
func (r rule) userData() []byte {
	const typeDigest userdata.Type = 0x70
	var text []byte
	for _, e := range r.exprs {
		text = fmt.Appendf(text, "%T %+v\n", e, e)
	}
	digest := sha256.Sum256(fmt.Appendf(text, "%v", r.ports))
	out := userdata.AppendString(nil, userdata.TypeComment, r.comment)
	return userdata.Append(out, typeDigest, digest[:12])
}

// connect opens a socket for several requests. Its buffers hold the answers to
// a table of thousands of rules: the kernel acknowledges and echoes each.
func connect() (*nftables.Conn, error) {
	const buffer = 8 << 20
	size := func(c *mdnetlink.Conn) error {
		return errors.Join(c.SetReadBuffer(buffer), c.SetWriteBuffer(buffer))
	}
	c, err := nftables.New(nftables.AsLasting(), nftables.WithSockOptions(size))
	if err != nil {
		return nil, unsupported(fmt.Errorf("cannot open an nftables socket: %w", err))
	}
	return c, nil
}

// apply makes the kernel's table what t says, in one transaction; when it is
// that already, nothing is written. A table without chains is removed.
func (t table) apply() (err error) {
	c, err := connect()
	if IsUnsupported(err) && len(t.chains) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.CloseLasting()) }()
	if len(t.chains) == 0 {
		if err := t.delete(c); err != nil && !IsUnsupported(err) {
			return err
		}
		return nil
	}
	same, err := t.matches(c)
	if err != nil || same {
		return err
	}
	// Adding first makes the deletion succeed whether there was one or not.
	kt := &nftables.Table{Family: t.family, Name: t.name}
	c.AddTable(kt)
	c.DelTable(kt)
	c.AddTable(kt)
	accept := nftables.ChainPolicyAccept
	for _, ch := range t.chains {
		kc := c.AddChain(&nftables.Chain{
			Table: kt, Name: ch.name, Type: ch.kind, Hooknum: ch.hook,
			Priority: &ch.priority, Policy: &accept, Device: ch.device,
		})
		for _, r := range ch.rules {
			if err := addRule(c, kt, kc, r); err != nil {
				return err
			}
		}
	}
	if err := c.Flush(); err != nil {
		return unsupported(fmt.Errorf("cannot set the rules of table %s: %w", t.name, err))
	}
	return nil
}

// applied says whether the kernel's table is what t says.
func (t table) applied() (_ bool, err error) {
	c, err := connect()
	if err != nil {
		return len(t.chains) == 0 && IsUnsupported(err), ignoreUnsupported(err)
	}
	defer func() { err = errors.Join(err, c.CloseLasting()) }()
	same, err := t.matches(c)
	return same || len(t.chains) == 0 && IsUnsupported(err), ignoreUnsupported(err)
}

// addRule queues a rule, and its map of ports before it.
func addRule(c *nftables.Conn, kt *nftables.Table, kc *nftables.Chain, r rule) error {
	exprs := r.exprs
	if len(r.ports) > 0 {
		set := &nftables.Set{
			Table: kt, Anonymous: true, Constant: true, IsMap: true,
			KeyType: nftables.TypeInetService, DataType: nftables.TypeInetService,
		}
		elements := make([]nftables.SetElement, len(r.ports))
		for i, p := range r.ports {
			elements[i] = nftables.SetElement{Key: be16(p.from), Val: be16(p.to)}
		}
		if err := c.AddSet(set, elements); err != nil {
			return fmt.Errorf("cannot set the ports of table %s: %w", kt.Name, err)
		}
		exprs = slices.Clone(exprs)
		for i, e := range exprs {
			if l, ok := e.(*expr.Lookup); ok {
				l := *l
				l.SetName, l.SetID = set.Name, set.ID
				exprs[i] = &l
			}
		}
	}
	c.AddRule(&nftables.Rule{Table: kt, Chain: kc, Exprs: exprs, UserData: r.userData()})
	return nil
}

// matches says whether the kernel's table has these chains with these rules, in
// this order, and nothing else.
func (t table) matches(c *nftables.Conn) (bool, error) {
	all, err := c.ListChainsOfTableFamily(t.family)
	if err != nil {
		return false, unsupported(fmt.Errorf("cannot list nftables chains: %w", err))
	}
	kt := &nftables.Table{Family: t.family, Name: t.name}
	var have int
	for _, kc := range all {
		if kc.Table.Name != t.name {
			continue
		}
		have++
		i := slices.IndexFunc(t.chains, func(ch *chain) bool { return ch.name == kc.Name })
		if i < 0 || !t.chains[i].hooked(kc) {
			return false, nil
		}
		rules, err := c.GetRules(kt, kc)
		if err != nil {
			return false, fmt.Errorf("cannot list the rules of table %s: %w", t.name, err)
		}
		if !slices.EqualFunc(rules, t.chains[i].rules, func(k *nftables.Rule, r rule) bool {
			return bytes.Equal(k.UserData, r.userData())
		}) {
			return false, nil
		}
	}
	return have == len(t.chains), nil
}

// hooked says whether a chain of the kernel is at the hook where it should be.
func (c *chain) hooked(k *nftables.Chain) bool {
	return k.Hooknum != nil && *k.Hooknum == *c.hook && k.Priority != nil && *k.Priority == c.priority &&
		k.Policy != nil && *k.Policy == nftables.ChainPolicyAccept && k.Type == c.kind
}

// delete removes the table; that there is none is no error.
func (t table) delete(c *nftables.Conn) error {
	tables, err := c.ListTablesOfFamily(t.family)
	if err != nil {
		return unsupported(fmt.Errorf("cannot list nftables tables: %w", err))
	}
	if !slices.ContainsFunc(tables, func(k *nftables.Table) bool { return k.Name == t.name }) {
		return nil
	}
	kt := &nftables.Table{Family: t.family, Name: t.name}
	c.AddTable(kt) // for the case that it goes just now
	c.DelTable(kt)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("cannot remove table %s: %w", t.name, err)
	}
	return nil
}

// families are those that an interface's tables can be in.
var families = []nftables.TableFamily{nftables.TableFamilyINet, nftables.TableFamilyNetdev}

// Remove removes all rules of an interface, be it a network's bridge or the
// host end of an instance's. That there are none, or that the kernel has no
// nftables, is no error.
func Remove(link string) (err error) {
	c, err := connect()
	if IsUnsupported(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.CloseLasting()) }()
	for _, f := range families {
		if err := (table{family: f, name: tableName(link)}).delete(c); err != nil && !IsUnsupported(err) {
			return err
		}
	}
	return nil
}
