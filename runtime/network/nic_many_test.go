package network

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// startLimit is what the network may cost each start of an instance.
const startLimit = 15 * time.Millisecond

// TestHundred attaches a hundred, most of them at once, each with addresses of its own
// that the host and another reach. The first and the last ones are attached one after
// the other: the least of them, which other work on the machine has disturbed least,
// must keep to startLimit.
func TestHundred(t *testing.T) {
	const many = 100
	b := testBridge(t)
	mustUp(t, b)
	pids := make([]int, many)
	for i := range pids {
		pids[i] = guest(t, false)
	}
	nics, costs := make([]NIC, many), make([]time.Duration, many)
	one := func(i int) {
		n, err := Prepare(NIC{Kind: Bridged, Name: "eth0", HWAddr: RandomHWAddr()})
		begin := time.Now()
		var v4, v6 netip.Addr
		if err == nil {
			err = b.Up(t.Context()) // as each start does
		}
		if err == nil {
			v4, v6, err = b.Reserve(fmt.Sprintf("c%d", i), n.HWAddr, netip.Addr{}, netip.Addr{})
		}
		if err == nil {
			n = b.Plan(n, v4, v6)
			err = Attach(t.Context(), n, pids[i])
		}
		costs[i] = time.Since(begin)
		if err != nil {
			t.Error(err)
		}
		nics[i] = n
	}
	const alone = 20
	measured := func(first int, when string) {
		for i := first; i < first+alone; i++ {
			one(i)
		}
		c := slices.Sorted(slices.Values(costs[first : first+alone]))
		t.Logf("one after the other, %s: least %v, median %v, most %v", when, c[0], c[alone/2], c[alone-1])
		if c[0] > startLimit {
			t.Errorf("a start spends %v on the network, %s: more than %v", c[0], when, startLimit)
		}
	}
	measured(0, "on an empty network")
	begin := time.Now()
	var wg sync.WaitGroup
	for i := alone; i < many-alone; i++ {
		wg.Go(func() { one(i) })
	}
	wg.Wait()
	t.Logf("%d at once: %v", many-2*alone, time.Since(begin))
	measured(many-alone, "on a full network")
	seen := map[netip.Addr]bool{}
	for i, n := range nics {
		for _, p := range []netip.Prefix{n.IPv4, n.IPv6} {
			if !p.IsValid() || seen[p.Addr()] {
				t.Fatalf("%d: address %s is none or another's", i, p)
			}
			seen[p.Addr()] = true
		}
	}
	var reached sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, n := range nics {
		reached.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			other := pids[(i+1)%many]
			for _, a := range []string{n.IPv4.Addr().String(), n.IPv6.Addr().String()} {
				if out, err := in(t, other, "ping", "-c1", "-W5", a); err != nil {
					t.Errorf("%s: %v: %s", a, err, out)
				}
			}
		})
	}
	reached.Wait()
	for _, n := range nics {
		if err := Detach(n, nil); err != nil {
			t.Error(err)
		}
	}
}
