package network

import (
	"slices"
	"testing"
)

func TestHostLinks(t *testing.T) {
	links, err := HostLinks()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(links, HostLink{Name: "lo", Type: "loopback"}) {
		t.Errorf("HostLinks() = %v: no loopback", links)
	}
}
