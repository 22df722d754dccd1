package main

import "testing"

// TestIsOnOtherServer: a colon is a server's only where lxc has one.
func TestIsOnOtherServer(t *testing.T) {
	for ref, want := range map[string]bool{
		"host:": true, "host:c1": true, "host:c1/s0": true, "10.0.0.1:c1": true, "h-1.example:c1": true, "host:c1/8:00": true,
		"": false, "c1": false, "c1/8:00": false, "c1/x:y": false, ":c1": false, "/:": false, "a b:c1": false, "-h:c1": false,
	} {
		if got := isOnOtherServer(ref); got != want {
			t.Errorf("%q: %t", ref, got)
		}
	}
}
