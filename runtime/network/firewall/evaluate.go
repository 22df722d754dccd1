package firewall

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	mdnetlink "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// answer is what a match says of a packet.
type answer int

const (
	no answer = iota
	yes
	unknown // it looks at something that is not known of the packet here
)

// evaluator walks through another program's chains as the kernel does
// (net/netfilter/nf_tables_core.c, nft_do_chain) with a packet that is only
// thought of. What cannot be known never stops it, and lets it pass only by a
// rule that names the network's bridge.
type evaluator struct {
	conn   *nftables.Conn
	table  *nftables.Table
	bridge string
	rules  map[string][]*nftables.Rule
	sets   map[string][]nftables.SetElement
}

// outcome is the verdict of a chain: accept, drop, or return when no rule has
// decided.
type outcome int

const (
	returned outcome = iota
	accepted
	dropped
)

// chain gives a chain's verdict on p.
func (e *evaluator) chain(name string, p packet, depth int) (outcome, error) {
	const deepest = 16 // NFT_JUMP_STACK_SIZE
	if depth > deepest {
		return returned, fmt.Errorf("the chains of table %s are nested too deep", e.table.Name)
	}
	rules, known := e.rules[name]
	if !known {
		var err error
		if rules, err = e.conn.GetRules(e.table, &nftables.Chain{Name: name}); err != nil {
			return returned, fmt.Errorf("cannot list the rules of chain %s %s: %w", e.table.Name, name, err)
		}
		e.rules[name] = rules
	}
	for _, r := range rules {
		v, err := e.rule(r, p)
		if err != nil || v == nil {
			if err != nil {
				return returned, err
			}
			continue
		}
		switch v.Kind {
		case expr.VerdictAccept:
			return accepted, nil
		case expr.VerdictDrop:
			return dropped, nil
		case expr.VerdictReturn:
			return returned, nil
		case expr.VerdictJump, expr.VerdictGoto:
			o, err := e.chain(v.Chain, p, depth+1)
			if err != nil || o != returned || v.Kind == expr.VerdictGoto {
				return o, err
			}
		}
	}
	return returned, nil
}

// rule gives a rule's verdict on p; nil when it says nothing of it.
func (e *evaluator) rule(r *nftables.Rule, p packet) (*expr.Verdict, error) {
	var regs registers
	guessed, named := false, false
	for _, x := range r.Exprs {
		a := yes
		switch x := x.(type) {
		case *expr.Meta:
			if !x.SourceRegister {
				regs.set(x.Register, p.meta(x.Key))
			}
		case *expr.Ct:
			if !x.SourceRegister {
				regs.set(x.Register, p.ct(x.Key))
			}
		case *expr.Payload:
			if x.OperationType == expr.PayloadLoad {
				regs.set(x.DestRegister, p.bytes(x))
			}
		case *expr.Fib:
			regs.set(x.Register, nil)
			if x.ResultADDRTYPE && x.FlagDADDR {
				regs.set(x.Register, host32(p.addrType()))
			}
		case *expr.Immediate:
			regs.set(x.Register, x.Data)
		case *expr.Bitwise:
			regs.bitwise(x)
		case *expr.Cmp:
			a = regs.compare(x.Op, x.Register, x.Data)
			named = named || bytes.HasPrefix(x.Data, []byte(e.bridge))
		case *expr.Range:
			a = regs.within(x)
		case *expr.Lookup:
			v, found, err := e.lookup(x, &regs)
			if err != nil {
				return nil, err
			}
			if v != nil && found == yes && !guessed {
				return v, nil
			}
			a = found
		case *expr.Match:
			a = matches(x, p)
		case *expr.Counter, *expr.Log, *expr.Limit, *expr.Quota, *expr.Notrack, *expr.Objref, *expr.Dynset:
		case *expr.Verdict:
			if guessed && (x.Kind != expr.VerdictAccept || !named) {
				return nil, nil
			}
			return x, nil
		case *expr.Reject:
			if guessed {
				return nil, nil
			}
			return &expr.Verdict{Kind: expr.VerdictDrop}, nil
		case *expr.Target:
			if x.Name == "REJECT" && !guessed {
				return &expr.Verdict{Kind: expr.VerdictDrop}, nil
			}
			return nil, nil // all others of the filter table let it go on
		default:
			a = unknown
		}
		switch a {
		case no:
			return nil, nil
		case unknown:
			guessed = true
		}
	}
	return nil, nil
}

// bytes are those that a payload expression loads; nil when they are not known.
func (p packet) bytes(x *expr.Payload) []byte {
	var from []byte
	switch x.Base {
	case expr.PayloadBaseNetworkHeader:
		from = p.header()
	case expr.PayloadBaseTransportHeader:
		from = p.transport()
	default:
		return nil
	}
	if uint64(x.Offset)+uint64(x.Len) > uint64(len(from)) {
		return nil
	}
	return from[x.Offset : x.Offset+x.Len]
}

// matches evaluates what iptables calls a match.
func matches(m *expr.Match, p packet) answer {
	switch info := m.Info.(type) {
	case *xt.ConntrackMtinfo3:
		return conntrack(info.MatchFlags, info.InvertFlags, info.StateMask, p)
	case *xt.ConntrackMtinfo2:
		return conntrack(info.MatchFlags, info.InvertFlags, info.StateMask, p)
	case *xt.AddrTypeV1:
		const invertDest = 2 // XT_ADDRTYPE_INVERT_DEST of linux/netfilter/xt_addrtype.h
		if info.Source == 0 && info.Flags&^invertDest == 0 {
			return is(1<<p.addrType()&info.Dest != 0, info.Flags == invertDest)
		}
	case *xt.AddrType:
		if info.Source == 0 {
			return is(1<<p.addrType()&info.Dest != 0, info.InvertDest)
		}
	}
	switch m.Name {
	case "comment", "limit":
		return yes
	}
	return unknown
}

// conntrack evaluates the match of the state of a connection
// (linux/netfilter/xt_conntrack.h); of more than that nothing is known.
func conntrack(flags, invert, mask uint16, p packet) answer {
	const matchState = 1
	if flags != matchState {
		return unknown
	}
	return is(uint32(mask)&p.state() != 0, invert&matchState != 0)
}

func is(match, invert bool) answer {
	if match != invert {
		return yes
	}
	return no
}

// lookup searches a set or a map for what is in a register. v is the verdict of a
// map of verdicts.
func (e *evaluator) lookup(x *expr.Lookup, regs *registers) (v *expr.Verdict, found answer, err error) {
	elements, known := e.sets[x.SetName]
	if !known {
		set, err := e.conn.GetSetByName(e.table, x.SetName)
		if err == nil {
			elements, err = e.conn.GetSetElements(set)
		}
		if err != nil {
			return nil, no, fmt.Errorf("cannot list set %s of table %s: %w", x.SetName, e.table.Name, err)
		}
		e.sets[x.SetName] = elements
	}
	found = no
	var best *nftables.SetElement // the last interval that begins at or before the key
	for i := range elements {
		el := &elements[i]
		key := regs.get(x.SourceRegister, len(el.Key))
		if key == nil {
			return nil, unknown, nil
		}
		switch {
		case len(el.KeyEnd) > 0:
			if between(el.Key, key, el.KeyEnd) {
				best, found = el, yes
			}
		case bytes.Compare(el.Key, key) <= 0 && (best == nil || bytes.Compare(best.Key, el.Key) < 0):
			best = el
		}
	}
	if best != nil && (bytes.Equal(best.Key, regs.get(x.SourceRegister, len(best.Key))) || isInterval(elements)) && !best.IntervalEnd {
		found = yes
	}
	if x.Invert {
		return nil, no + yes - found, nil
	}
	if found == yes {
		switch {
		case x.IsDestRegSet && x.DestRegister != 0:
			regs.set(x.DestRegister, best.Val)
		case x.IsDestRegSet: // the register of verdicts
			v = verdictOf(best.Val)
		}
	}
	return v, found, nil
}

// verdictOf decodes the verdict in a map's element, which the library leaves as it
// is (linux/netfilter/nf_tables.h, enum nft_verdict_attributes); nil when it is
// none.
func verdictOf(data []byte) *expr.Verdict {
	d, err := mdnetlink.NewAttributeDecoder(data)
	if err != nil {
		return nil
	}
	d.ByteOrder = binary.BigEndian
	var v *expr.Verdict
	for d.Next() {
		switch d.Type() {
		case unix.NFTA_VERDICT_CODE:
			v = &expr.Verdict{Kind: expr.VerdictKind(int32(d.Uint32()))}
		case unix.NFTA_VERDICT_CHAIN:
			if v != nil {
				v.Chain = d.String()
			}
		}
	}
	return v
}

// between says whether each 4-byte field of key is in the range of the same
// field, as in a set of concatenations; it is right for shorter keys too.
func between(first, key, last []byte) bool {
	for i := 0; i < len(key); i += 4 {
		end := min(i+4, len(key))
		if bytes.Compare(key[i:end], first[i:end]) < 0 || bytes.Compare(key[i:end], last[i:end]) > 0 {
			return false
		}
	}
	return true
}

func isInterval(elements []nftables.SetElement) bool {
	for _, e := range elements {
		if e.IntervalEnd {
			return true
		}
	}
	return false
}

// registers are the kernel's: 16 of 4 bytes, of which 1 to 4 are the old names of
// four together (linux/netfilter/nf_tables.h).
type registers struct {
	data  [64]byte
	known [64]bool
}

func offset(register uint32) int {
	if register >= 8 {
		return int(register-8) * 4
	}
	return int(register-1) * 16
}

// set stores a value; nil is one that is not known.
func (r *registers) set(register uint32, value []byte) {
	at := offset(register)
	if at < 0 || at >= len(r.data) {
		return
	}
	clear(r.known[at:min(at+16, len(r.known))])
	for i, b := range value {
		if at+i < len(r.data) {
			r.data[at+i], r.known[at+i] = b, true
		}
	}
	for i := len(value); i%4 != 0 && at+i < len(r.data); i++ { // a register is filled with zeros
		r.data[at+i], r.known[at+i] = 0, true
	}
}

// get reads n bytes; nil when they are not known.
func (r *registers) get(register uint32, n int) []byte {
	at := offset(register)
	if at < 0 || at+n > len(r.data) {
		return nil
	}
	for i := at; i < at+n; i++ {
		if !r.known[i] {
			return nil
		}
	}
	return r.data[at : at+n]
}

func (r *registers) bitwise(x *expr.Bitwise) {
	value := bytes.Clone(r.get(x.SourceRegister, int(x.Len)))
	if len(x.Mask) != len(value) || len(x.Xor) != len(value) {
		value = nil
	}
	for i := range value {
		value[i] = value[i]&x.Mask[i] ^ x.Xor[i]
	}
	r.set(x.DestRegister, value)
}

func (r *registers) compare(op expr.CmpOp, register uint32, data []byte) answer {
	value := r.get(register, len(data))
	if value == nil {
		return unknown
	}
	c := bytes.Compare(value, data)
	ok := false
	switch op {
	case expr.CmpOpEq:
		ok = c == 0
	case expr.CmpOpNeq:
		ok = c != 0
	case expr.CmpOpLt:
		ok = c < 0
	case expr.CmpOpLte:
		ok = c <= 0
	case expr.CmpOpGt:
		ok = c > 0
	case expr.CmpOpGte:
		ok = c >= 0
	}
	return is(ok, false)
}

func (r *registers) within(x *expr.Range) answer {
	value := r.get(x.Register, len(x.FromData))
	if value == nil {
		return unknown
	}
	inside := bytes.Compare(value, x.FromData) >= 0 && bytes.Compare(value, x.ToData) <= 0
	return is(inside, x.Op != expr.CmpOpEq)
}
