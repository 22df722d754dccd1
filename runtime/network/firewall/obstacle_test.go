package firewall

import (
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestObstacles: chains as docker, ufw, firewalld and others make them stop the
// network's packets although the own rules do not; they are told of with whose
// they are, and what is told opens them: the packets pass, and nothing is told.
func TestObstacles(t *testing.T) {
	w := newWorld(t)
	w.a.Forwards = []Forward{{Listen: w.up4, Protocol: "tcp", Ports: PortRange{80, 80}, Target: w.a1.v4, TargetPorts: PortRange{7000, 7000}}}
	w.apply(t)
	run(t, "ip", "route", "add", "default", "via", "198.51.100.2")
	if _, err := os.Stat("/proc/sys/net/bridge"); err != nil {
		t.Fatal("the kernel has no br_netfilter: modprobe br_netfilter")
	}
	if found, err := w.a.Obstacles(); err != nil || len(found) != 0 {
		t.Fatalf("obstacles on an empty host: %v, %v", found, err)
	}
	docker := `iptables -P FORWARD DROP
		iptables -N DOCKER-USER
		iptables -A DOCKER-USER -j RETURN
		iptables -N DOCKER-FORWARD
		iptables -A FORWARD -j DOCKER-USER
		iptables -A FORWARD -j DOCKER-FORWARD
		iptables -A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		iptables -A DOCKER-FORWARD -i docker0 ! -o docker0 -j ACCEPT
		iptables -A DOCKER-FORWARD -i docker0 -o docker0 -j ACCEPT`
	ufw := `iptables -P FORWARD DROP
		iptables -P INPUT DROP
		iptables -N ufw-before-input
		iptables -N ufw-not-local
		iptables -N ufw-user-input
		iptables -N ufw-user-forward
		iptables -A INPUT -j ufw-before-input
		iptables -A ufw-before-input -i lo -j ACCEPT
		iptables -A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		iptables -A ufw-before-input -p udp --sport 67 --dport 68 -j ACCEPT
		iptables -A ufw-before-input -j ufw-not-local
		iptables -A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN
		iptables -A ufw-not-local -m addrtype --dst-type BROADCAST -j RETURN
		iptables -A ufw-not-local -m limit --limit 3/min -j LOG
		iptables -A ufw-not-local -j DROP
		iptables -A ufw-before-input -j ufw-user-input
		iptables -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
		iptables -A FORWARD -j ufw-user-forward`
	// What the commands of ufw and firewalld come to.
	means := map[string]string{
		"ufw allow in on brA":                                            "iptables -A ufw-user-input -i brA -j ACCEPT",
		"ufw route allow in on brA":                                      "iptables -A ufw-user-forward -i brA -j ACCEPT",
		"ufw route allow out on brA":                                     "iptables -A ufw-user-forward -o brA -j ACCEPT",
		"firewall-cmd --zone=trusted --change-interface=brA":             "nft add element inet firewalld zones { brA : goto trusted }",
		"firewall-cmd --permanent --zone=trusted --change-interface=brA": "true",
	}
	firewalld := `nft add table inet firewalld
		nft add chain inet firewalld trusted
		nft add rule inet firewalld trusted accept
		nft add map inet firewalld zones { type ifname : verdict; }
		nft add chain inet firewalld filter_FORWARD { type filter hook forward priority 10; policy accept; }
		nft add rule inet firewalld filter_FORWARD ct state { established, related } accept
		nft add rule inet firewalld filter_FORWARD ct status dnat accept
		nft add rule inet firewalld filter_FORWARD iifname lo accept
		nft add rule inet firewalld filter_FORWARD ip daddr { 192.0.2.128/25, 203.0.113.0/24 } accept
		nft add rule inet firewalld filter_FORWARD iifname vmap @zones
		nft add rule inet firewalld filter_FORWARD reject with icmpx admin-prohibited`
	for name, c := range map[string]struct {
		rules, program string
		chains         []string
	}{
		"docker":    {docker, "docker", []string{"ip filter FORWARD"}},
		"ufw":       {ufw, "ufw", []string{"ip filter FORWARD", "ip filter INPUT"}},
		"firewalld": {firewalld, "firewalld", []string{"inet firewalld filter_FORWARD"}},
		"iptables":  {"iptables -P FORWARD DROP", "", []string{"ip filter FORWARD"}},
		"nft": {
			"nft add table inet mine\nnft add chain inet mine other { type filter hook forward priority 5; policy drop; }", "",
			[]string{"inet mine other"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { run(t, "nft", "flush ruleset"); w.apply(t) })
			script(t, c.rules)
			w.a1.refused(t, "tcp", w.outside.v4, 7000)
			found, err := w.a.Obstacles()
			check(t, err)
			var chains []string
			for _, o := range found {
				chains = append(chains, o.Chain)
				if o.Program != c.program || len(o.Packets) == 0 || !strings.Contains(o.String(), o.Chain) {
					t.Errorf("%+v", o)
				}
				for _, command := range o.Commands {
					if m := means[command]; m != "" {
						command = m
					}
					script(t, command)
				}
			}
			slices.Sort(chains)
			if !slices.Equal(chains, c.chains) {
				t.Errorf("obstacles %q: %v", chains, found)
			}
			w.a1.asks(t, "tcp", w.outside.v4, 7000, "7000 "+w.up4.String())
			w.a1.asks(t, "tcp", w.a2.v4, 7000, "7000 "+w.a1.v4.String())
			w.outside.asks(t, "tcp", w.up4, 80, "7000 "+w.outside.v4.String())
			if found, err := w.a.Obstacles(); err != nil || len(found) != 0 {
				t.Errorf("obstacles after it was opened: %v, %v\n%s", found, err, ruleset(t))
			}
			// Another network has the same obstacle still.
			if found, err := w.b.Obstacles(); err != nil || len(found) == 0 {
				t.Errorf("obstacles of another network: %v, %v", found, err)
			}
		})
	}
}

func script(t *testing.T, lines string) {
	t.Helper()
	for _, l := range strings.Split(lines, "\n") {
		run(t, "sh", "-c", strings.NewReplacer("{ ", "'{ ", " }", " }'").Replace(strings.TrimSpace(l)))
	}
}

// TestRegisters: values are found again, and what is not known is not taken for
// zero.
func TestRegisters(t *testing.T) {
	var r registers
	if r.get(1, 4) != nil || r.get(200, 4) != nil || r.get(0, 4) != nil {
		t.Error("an unknown register has a value")
	}
	r.set(1, netip.MustParseAddr("192.0.2.1").AsSlice())
	if got := r.get(8, 4); !slices.Equal(got, []byte{192, 0, 2, 1}) {
		t.Errorf("%v", got)
	}
	r.set(9, []byte{7})
	if got := r.get(9, 4); !slices.Equal(got, []byte{7, 0, 0, 0}) {
		t.Errorf("%v", got)
	}
	r.set(9, nil)
	if r.get(9, 1) != nil {
		t.Error("the value stays")
	}
}
