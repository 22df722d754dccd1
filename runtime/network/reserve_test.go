package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func itoa(n int) string { return strconv.Itoa(n) }

// idleBridge describes a network that is never brought up.
func idleBridge(t testing.TB) Bridge {
	t.Helper()
	dir := t.TempDir()
	return Bridge{
		Name: "ptidle", IPv4: netip.MustParsePrefix("10.1.2.1/24"), IPv6: netip.MustParsePrefix("fd42:1:2:3::1/64"), DHCP4: true, DHCP6: true,
		Dir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"),
	}
}

func TestReserve(t *testing.T) {
	b := idleBridge(t)
	v4, v6, err := b.Reserve("web", "00:16:3e:01:02:03", netip.Addr{}, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	if !b.isHost(v4) || v4 == b.IPv4.Addr() {
		t.Errorf("IPv4 %s", v4)
	}
	if want := netip.MustParseAddr("fd42:1:2:3:216:3eff:fe01:203"); v6 != want {
		t.Errorf("IPv6 %s, want %s", v6, want)
	}
	// Stable, however the hardware address is written and whoever has it; the
	// same without the record, and unlike other ones'.
	for _, c := range []struct{ name, hw string }{{"web", "00:16:3e:01:02:03"}, {"web", "00-16-3E-01-02-03"}, {"renamed", "00:16:3e:01:02:03"}} {
		again4, again6, err := b.Reserve(c.name, c.hw, netip.Addr{}, netip.Addr{})
		if err != nil || again4 != v4 || again6 != v6 {
			t.Errorf("%v: %s %s %v", c, again4, again6, err)
		}
	}
	other, _, err := b.Reserve("db", "00:16:3e:01:02:04", netip.Addr{}, netip.Addr{})
	if err != nil || other == v4 {
		t.Errorf("IPv4 %s, %v", other, err)
	}
	list, err := b.Reservations()
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	for _, r := range list {
		if r.HWAddr == "00:16:3e:01:02:03" {
			if diff := cmp.Diff(Reservation{"00:16:3e:01:02:03", "renamed", v4, v6}, r, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		}
	}
	for range 2 {
		if err := b.Release("00:16:3E:01:02:03"); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := b.Reservations(); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	if again, _, err := b.Reserve("web", "00:16:3e:01:02:03", netip.Addr{}, netip.Addr{}); err != nil || again != v4 {
		t.Errorf("IPv4 %s, before %s, %v", again, v4, err)
	}
	// Another subnet means another address, and no IPv4 none.
	b.IPv4 = netip.MustParsePrefix("10.1.3.1/24")
	if moved, _, err := b.Reserve("web", "00:16:3e:01:02:03", netip.Addr{}, netip.Addr{}); err != nil || !b.isHost(moved) {
		t.Errorf("IPv4 %s, %v", moved, err)
	}
	b.IPv4, b.IPv6 = netip.Prefix{}, netip.Prefix{}
	if v4, v6, err := b.Reserve("web", "00:16:3e:01:02:03", netip.Addr{}, netip.Addr{}); err != nil || v4.IsValid() || v6.IsValid() {
		t.Errorf("%s %s %v", v4, v6, err)
	}
}

func TestReserveRefused(t *testing.T) {
	b := idleBridge(t)
	for _, c := range []struct{ instance, hw string }{
		{"web", ""},
		{"web", "00:16:3e:01:02"},
		{"web", "../../etc/passwd"},
		{"web", "01:16:3e:01:02:03"},
		{"web", "00:00:00:00:00:00"},
		{"web", "00:16:3e:01:02:03:04:05"},
		{"", "00:16:3e:01:02:03"},
		{"a,b", "00:16:3e:01:02:03"},
		{"a\nb", "00:16:3e:01:02:03"},
		{"-a", "00:16:3e:01:02:03"},
		{strings.Repeat("a", 64), "00:16:3e:01:02:03"},
	} {
		if _, _, err := b.Reserve(c.instance, c.hw, netip.Addr{}, netip.Addr{}); err == nil {
			t.Errorf("Reserve(%q, %q) is accepted", c.instance, c.hw)
		}
	}
	if err := b.Release("nonsense"); err == nil {
		t.Error("Release(nonsense) is accepted")
	}
	if list, err := b.Reservations(); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
}

// TestReserveAll: a whole network can be given away, by many at once, and each
// address once.
func TestReserveAll(t *testing.T) {
	b := idleBridge(t)
	b.IPv4 = netip.MustParsePrefix("10.1.2.9/26")
	const hosts = 61 // 64 without the network's, the broadcast and the bridge's own
	var mu sync.Mutex
	seen := map[netip.Addr]string{}
	var wg sync.WaitGroup
	for i := range hosts {
		wg.Go(func() {
			hw := fmt.Sprintf("00:16:3e:00:00:%02x", i)
			v4, _, err := b.Reserve("i"+itoa(i), hw, netip.Addr{}, netip.Addr{})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			} else if other := seen[v4]; other != "" || !b.isHost(v4) || v4 == b.IPv4.Addr() {
				t.Errorf("%s given to %s and %q", v4, hw, other)
			}
			seen[v4] = hw
		})
	}
	wg.Wait()
	if _, _, err := b.Reserve("late", RandomHWAddr(), netip.Addr{}, netip.Addr{}); !errors.Is(err, ErrExhausted) {
		t.Errorf("error %v", err)
	}
	if err := b.Release("00:16:3e:00:00:07"); err != nil {
		t.Fatal(err)
	}
	v4, _, err := b.Reserve("late", RandomHWAddr(), netip.Addr{}, netip.Addr{})
	if err != nil || seen[v4] != "00:16:3e:00:00:07" {
		t.Errorf("%s, %v", v4, err)
	}
}

// TestReserveLeased: an address that is still leased to a released hardware
// address is the last to be taken.
func TestReserveLeased(t *testing.T) {
	b := idleBridge(t)
	b.IPv4 = netip.MustParsePrefix("10.1.2.1/29")
	if err := os.MkdirAll(b.RunDir, 0o755); err != nil {
		t.Fatal(err)
	}
	leases := "1790000000 00:16:3e:aa:aa:aa 10.1.2.3 gone *\n1790000000 00:16:3e:aa:aa:ab 10.1.2.4 gone 01:00\nduid 00:01\nnonsense\n"
	if err := os.WriteFile(b.leaseFile(), []byte(leases), 0o644); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		v4, _, err := b.Reserve("web", RandomHWAddr(), netip.Addr{}, netip.Addr{})
		isLeased := v4 == netip.MustParseAddr("10.1.2.3") || v4 == netip.MustParseAddr("10.1.2.4")
		if err != nil || isLeased != (i >= 3) {
			t.Errorf("%d: %s, %v", i, v4, err)
		}
	}
}

// TestReserveLeftovers: a half-written file of a killed process goes away, and one whose
// content a power loss took; a damaged reservation is named and nothing is given twice.
func TestReserveLeftovers(t *testing.T) {
	b := idleBridge(t)
	if _, _, err := b.Reserve("web", "00:16:3e:01:02:03", netip.Addr{}, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	left := filepath.Join(b.hostsDir(), tempPrefix+"123")
	if err := os.WriteFile(left, []byte("00:16"), 0o600); err != nil {
		t.Fatal(err)
	}
	empty, zeros := filepath.Join(b.hostsDir(), "00:16:3e:01:02:10"), filepath.Join(b.hostsDir(), "00:16:3e:01:02:11")
	if err := errors.Join(os.WriteFile(empty, nil, 0o600), os.WriteFile(zeros, make([]byte, 40), 0o600)); err != nil {
		t.Fatal(err)
	}
	if list, err := b.Reservations(); err != nil || len(list) != 1 {
		t.Error(list, err)
	}
	if _, _, err := b.Reserve("db", "00:16:3e:01:02:04", netip.Addr{}, netip.Addr{}); err != nil {
		t.Error(err)
	}
	for _, path := range []string{left, empty, zeros} {
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s stays: %v", path, err)
		}
	}
	damaged := filepath.Join(b.hostsDir(), "00:16:3e:01:02:03")
	if err := os.WriteFile(damaged, []byte("00:16"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Reserve("third", "00:16:3e:01:02:05", netip.Addr{}, netip.Addr{}); err == nil || !strings.Contains(err.Error(), damaged) {
		t.Errorf("error %v", err)
	}
	if err := b.Release("00:16:3e:01:02:03"); err != nil {
		t.Error(err)
	}
	if _, _, err := b.Reserve("third", "00:16:3e:01:02:05", netip.Addr{}, netip.Addr{}); err != nil {
		t.Error(err)
	}
}

func TestReservationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hw := net.HardwareAddr(rapid.SliceOfN(rapid.Byte(), 6, 6).Draw(t, "hw"))
		hw[0] &^= 1
		hw[5] |= 1
		r := Reservation{HWAddr: hw.String(), Instance: rapid.StringMatching(`[a-z0-9]([a-z0-9.-]{0,5}[a-z0-9])?|ignore|infinite|[0-9]{1,3}[smhdw]`).Draw(t, "name")}
		if rapid.Bool().Draw(t, "v4") {
			r.IPv4 = fromUint32(rapid.Uint32().Draw(t, "addr"))
		}
		if rapid.Bool().Draw(t, "v6") {
			r.IPv6 = withLow64(netip.MustParseAddr("fd42:1:2:3::"), rapid.Uint64().Draw(t, "addr6"))
		}
		text := r.format(rapid.Bool().Draw(t, "named"))
		got, err := parseReservation(text)
		if err != nil || got != r {
			t.Fatalf("%+v -> %q -> %+v, %v", r, text, got, err)
		}
	})
}

func FuzzParseReservation(f *testing.F) {
	f.Add([]byte("00:16:3e:01:02:03,10.1.2.3,web\n"))
	f.Add([]byte("00:16:3e:01:02:03,web\n"))
	f.Add([]byte("00:16:3e:01:02:03,10.1.2.3\n# ignore\n"))
	f.Add([]byte("00:16:3e:01:02:03,10.1.2.3,1h\n"))
	f.Add([]byte("00:16:3e:01:02:03,[fd42::1],web\n"))
	f.Add([]byte("00:16:3e:01:02:03,10.1.2.3,[fd42::1]\n# web\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parseReservation(data)
		if err != nil {
			return
		}
		for _, named := range []bool{false, true} {
			again, err := parseReservation(r.format(named))
			if err != nil || again != r {
				t.Errorf("%q -> %+v -> %q -> %+v, %v", data, r, r.format(named), again, err)
			}
			if strings.Count(string(r.format(named)), "\n") > 2 {
				t.Errorf("%q has more than two lines", r.format(named))
			}
		}
	})
}

func FuzzParseLeases(f *testing.F) {
	f.Add([]byte("1790000000 00:16:3e:aa:aa:aa 10.1.2.3 web 01:00:16:3e:aa:aa:aa\nduid 00:01:00:01\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for hw, addr := range parseLeases(data) {
			if _, err := parseHWAddr(hw); err != nil || !addr.Is4() {
				t.Errorf("%q, %s", hw, addr)
			}
		}
	})
}

func TestValidateName(t *testing.T) {
	for name, ok := range map[string]bool{
		"poolbr0": true, "br-1_2.3": true, "ab": true, "abcdefghijklmno": true,
		"": false, "a": false, "abcdefghijklmnop": false, "..": false, "a/b": false, "a b": false,
		"a:b": false, "a\tb": false, "a\x00b": false, "-ab": false, "bücke": false, "%d": false, "a,b": false,
	} {
		if err := ValidateName(name); (err == nil) != ok {
			t.Errorf("ValidateName(%q) = %v", name, err)
		}
	}
}

func TestValidate(t *testing.T) {
	good := idleBridge(t)
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, p := range []string{"10.1.2.0/24", "10.1.2.255/24", "10.1.2.1/31", "10.1.2.1/32", "10.0.0.1/7", "fd42::1/64"} {
		b := good
		b.IPv4 = netip.MustParsePrefix(p)
		if err := b.Validate(); err == nil {
			t.Errorf("IPv4 %s is accepted", p)
		}
	}
	for _, p := range []string{"fd42::/64", "fd42::1/63", "fd42::1/65", "10.1.2.1/24", "::ffff:10.1.2.1/64"} {
		b := good
		b.IPv6 = netip.MustParsePrefix(p)
		if err := b.Validate(); err == nil {
			t.Errorf("IPv6 %s is accepted", p)
		}
	}
	for _, b := range []Bridge{{Name: "ok"}, {Name: "ok", Dir: "relative", RunDir: "/run/x"}, {Name: "/", Dir: "/a", RunDir: "/b"}} {
		if err := b.Up(context.Background()); err == nil {
			t.Errorf("%+v is accepted", b)
		}
		if err := b.Down(context.Background()); err == nil {
			t.Errorf("%+v is accepted", b)
		}
	}
}

func TestRandom(t *testing.T) {
	hw := RandomHWAddr()
	if _, err := parseHWAddr(hw); err != nil || !strings.HasPrefix(hw, "00:16:3e:") || hw == RandomHWAddr() {
		t.Errorf("%s, %v", hw, err)
	}
	name := RandomHostName()
	if err := ValidateName(name); err != nil || len(name) != 12 || name == RandomHostName() {
		t.Errorf("%s, %v", name, err)
	}
}

func TestPickFree(t *testing.T) {
	all10 := []used{{prefix: netip.MustParsePrefix("10.0.0.0/8")}}
	p, ok := pickFree(all10, random4)
	if !ok || !netip.MustParsePrefix("172.16.0.0/12").Overlaps(p) {
		t.Errorf("%s, %v", p, ok)
	}
	private := append(all10, used{prefix: netip.MustParsePrefix("172.16.0.0/12")})
	p, ok = pickFree(private, random4)
	if !ok || !netip.MustParsePrefix("192.168.0.0/16").Overlaps(p) || p.Bits() != 24 {
		t.Errorf("%s, %v", p, ok)
	}
	if p, ok := pickFree(append(private, used{prefix: netip.MustParsePrefix("192.168.0.0/16")}), random4); ok {
		t.Errorf("%s", p)
	}
	v4, v6, err := RandomSubnets()
	if err != nil || v4.Bits() != 24 || v6.Bits() != 64 || !strings.HasPrefix(v6.String(), "fd42:") {
		t.Error(v4, v6, err)
	}
}

// TestReserveTogether: two interfaces get each other's addresses at once, and nobody else's.
func TestReserveTogether(t *testing.T) {
	b := idleBridge(t)
	a1 := b.IPv4.Addr().Next()
	a2 := a1.Next()
	a3 := a2.Next()
	ask := func(x, y netip.Addr) ([]Reservation, error) {
		return b.ReserveAll("web", []Ask{{"eth0", "00:16:3e:00:00:01", x, netip.Addr{}}, {"eth1", "00:16:3e:00:00:02", y, netip.Addr{}}})
	}
	if _, _, err := b.Reserve("db", "00:16:3e:00:00:03", a3, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range [][2]netip.Addr{{a1, a2}, {a2, a1}, {a1, a2}} {
		list, err := ask(want[0], want[1])
		if err != nil || list[0].IPv4 != want[0] || list[1].IPv4 != want[1] {
			t.Fatalf("%v, %v", list, err)
		}
	}
	for problem, want := range map[string][2]netip.Addr{
		"device eth1: cannot reserve an address of network ptidle: 10.1.2.4 is reserved for the instance db":  {a2, a3},
		"device eth0: cannot reserve an address of network ptidle: 10.1.2.2 is reserved for the instance web": {a1, a1},
	} {
		if _, err := ask(want[0], want[1]); err == nil || err.Error() != problem {
			t.Errorf("want %s, got %v", problem, err)
		}
	}
	// One that asks for nothing gets neither what it had, if the other asks for that, nor what others have.
	list, err := ask(netip.Addr{}, a1)
	if err != nil || list[1].IPv4 != a1 || !b.isHost(list[0].IPv4) || list[0].IPv4 == a1 || list[0].IPv4 == a3 {
		t.Errorf("%v, %v", list, err)
	}
	if all, err := b.Reservations(); err != nil || len(all) != 3 {
		t.Errorf("%v, %v", all, err)
	}
}

// Reservations that are made together are all made or none: of two that are to swap their addresses, of which one cannot be
// written, both stay as they were.
func TestReserveAllOrNone(t *testing.T) {
	b := idleBridge(t)
	ask := func(hw, v4 string) Ask { return Ask{HWAddr: hw, IPv4: netip.MustParseAddr(v4)} }
	base := b.IPv4.Masked().Addr().Next().Next()
	one, two := base.Next().String(), base.Next().Next().String()
	const first, second, third = "00:16:3e:01:02:01", "00:16:3e:01:02:02", "00:16:3e:01:02:03"
	if _, err := b.ReserveAll("web", []Ask{ask(first, one), ask(second, two)}); err != nil {
		t.Fatal(err)
	}
	before := reservedTexts(t, b)
	stuck := filepath.Join(b.hostsDir(), second)
	if out, err := exec.Command("chattr", "+i", stuck).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	_, swapped := b.ReserveAll("web", []Ask{ask(first, two), {HWAddr: third}, ask(second, one)})
	if out, err := exec.Command("chattr", "-i", stuck).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	if swapped == nil {
		t.Fatal("a file that cannot be changed was changed")
	}
	if after := reservedTexts(t, b); !maps.Equal(before, after) {
		t.Errorf("reserved after a failure: %v, before: %v", after, before)
	}
	if _, err := b.ReserveAll("web", []Ask{ask(first, two), {HWAddr: third}, ask(second, one)}); err != nil {
		t.Errorf("after the failure: %v", err)
	}
}

// reservedTexts are the files of a network's reservations and of its names.
func reservedTexts(t *testing.T, b Bridge) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, dir := range []string{b.hostsDir(), b.namesDir()} {
		files, err := readSmallFiles(dir)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		for name, data := range files {
			texts[filepath.Base(dir)+"/"+name] = string(data)
		}
	}
	return texts
}
