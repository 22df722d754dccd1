package network

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

// A start does not read all reservations again, and what was changed in the meantime, or left half done, is put right all the same.
func TestSynced(t *testing.T) {
	b := idleBridge(t)
	b.DNSMode = DNSManaged
	sync := func() {
		t.Helper()
		if err := b.syncReservations(); err != nil {
			t.Fatal(err)
		}
	}
	synced := func(want bool) {
		t.Helper()
		if is, err := b.isSynced(); err != nil || is != want {
			t.Errorf("synced: %v, %v", is, err)
		}
	}
	reserve := func(hwaddr string) {
		t.Helper()
		if _, _, err := b.Reserve("web", hwaddr, netip.Addr{}, netip.Addr{}); err != nil {
			t.Fatal(err)
		}
	}
	const one, two = "00:16:3e:00:00:01", "00:16:3e:00:00:02"
	reserve(one)
	synced(false)
	sync()
	synced(true)
	reserve(two) // all is known of it
	synced(true)
	name := filepath.Join(b.namesDir(), two)
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	synced(false)
	sync()
	if _, err := os.Stat(name); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(b.namesDir(), "00:16:3e:00:00:03"), []byte("10.1.2.9 gone\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sync()
	if err := b.Release(two); err != nil {
		t.Fatal(err)
	}
	synced(true)
	if left, err := os.ReadDir(b.namesDir()); err != nil || len(left) != 1 || left[0].Name() != one {
		t.Errorf("names are left: %v, %v", left, err)
	}
	was := b
	b.IPv4 = netip.MustParsePrefix("10.9.9.1/24") // another network
	synced(false)
	sync()
	list, err := b.Reservations()
	if err != nil || len(list) != 1 || !b.IPv4.Contains(list[0].IPv4) {
		t.Errorf("%v, %v", list, err)
	}
	if err := was.SetReservations(list); err != nil {
		t.Fatal(err)
	}
	synced(false)
	b.DNSMode = DNSNone
	for range 2 {
		sync()
		synced(true)
	}
	if _, err := os.Stat(b.namesDir()); !os.IsNotExist(err) {
		t.Errorf("names without dns.mode: %v", err)
	}
}
