package pool

import (
	"fmt"
	"strings"
	"testing"

	"poolctl/pool/state"
)

func TestForwardRules(t *testing.T) {
	port := func(protocol, listen, target string) state.NetworkForwardPort {
		return state.NetworkForwardPort{Protocol: protocol, ListenPort: listen, TargetPort: target, TargetAddress: "10.1.2.9"}
	}
	for name, c := range map[string]struct {
		ports []state.NetworkForwardPort
		want  string // the rules, or part of the error
	}{
		"same":        {[]state.NetworkForwardPort{port("tcp", "80,8000-8010", "")}, "tcp 80>80 tcp 8000-8010>8000-8010"},
		"one":         {[]state.NetworkForwardPort{port("tcp", "80,8000-8010", "99")}, "tcp 80>99 tcp 8000-8010>99"},
		"many":        {[]state.NetworkForwardPort{port("udp", "1-3,10", "21,22-24")}, "udp 1>21 udp 2-3>22-23 udp 10>24"},
		"highest":     {[]state.NetworkForwardPort{port("udp", "65534-65535", "1-2")}, "udp 65534-65535>1-2"},
		"protocols":   {[]state.NetworkForwardPort{port("udp", "53", ""), port("tcp", "53", "")}, "udp 53>53 tcp 53>53"},
		"fewer":       {[]state.NetworkForwardPort{port("tcp", "1-3", "1-2")}, "as many target ports"},
		"more":        {[]state.NetworkForwardPort{port("tcp", "1-3", "1-4")}, "as many target ports"},
		"twice":       {[]state.NetworkForwardPort{port("tcp", "1-3", ""), port("tcp", "3", "")}, "twice"},
		"twice in it": {[]state.NetworkForwardPort{port("tcp", "1-3,2", "")}, "twice"},
		"zero":        {[]state.NetworkForwardPort{port("tcp", "0", "")}, "no port"},
		"too high":    {[]state.NetworkForwardPort{port("tcp", "65536", "")}, "no port"},
		"backwards":   {[]state.NetworkForwardPort{port("tcp", "9-1", "")}, "no port"},
		"empty":       {[]state.NetworkForwardPort{port("tcp", "", "")}, "no port"},
		"protocol":    {[]state.NetworkForwardPort{port("sctp", "1", "")}, "unknown"},
	} {
		rules, err := forwardRule(state.NetworkForward{ListenAddress: "192.0.2.1", Ports: c.ports})
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var got []string
		for _, r := range rules {
			got = append(got, fmt.Sprintf("%s %s>%s", r.Protocol, r.Ports, r.TargetPorts))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
	for name, f := range map[string]state.NetworkForward{
		"no address":     {ListenAddress: "web"},
		"every address":  {ListenAddress: "0.0.0.0"},
		"loopback":       {ListenAddress: "127.0.0.1", Config: map[string]string{"target_address": "10.1.2.9"}},
		"target's kind":  {ListenAddress: "192.0.2.1", Config: map[string]string{"target_address": "fd42::1"}},
		"target":         {ListenAddress: "192.0.2.1", Config: map[string]string{"target_address": "x"}},
		"key":            {ListenAddress: "192.0.2.1", Config: map[string]string{"target": "10.1.2.9"}},
		"port's address": {ListenAddress: "192.0.2.1", Ports: []state.NetworkForwardPort{{Protocol: "tcp", ListenPort: "1"}}},
	} {
		if rules, err := forwardRule(f); err == nil {
			t.Errorf("%s is accepted: %+v", name, rules)
		}
	}
}

func FuzzParsePorts(f *testing.F) {
	for _, s := range []string{"80", "1-3,10", "65535", "0", "-", ",", "9-1"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		listen, err := parsePorts(a)
		if err != nil {
			return
		}
		target, err := parsePorts(b)
		if err != nil {
			return
		}
		pairs, err := pairPorts(listen, target)
		if err != nil {
			return
		}
		for _, p := range pairs {
			if p[0].First == 0 || p[0].First > p[0].Last || p[1].First > p[1].Last {
				t.Errorf("%q, %q: %v", a, b, pairs)
			}
		}
	})
}
