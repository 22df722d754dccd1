package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"poolctl/pool/checkconfig"
)

func TestCheckconfigText(t *testing.T) {
	r := checkconfig.Report{
		Kernel: "6.1.0", Config: "/boot/config-6.1.0", CgroupV1: []string{}, CgroupV2: []string{"/sys/fs/cgroup"},
		Features: []checkconfig.Feature{
			{Group: "Namespaces", Name: "User namespace", Status: checkconfig.Enabled, Required: true},
			{Group: "Control groups", Name: "Cgroup namespace", Status: checkconfig.Missing, Required: true, Detail: "no space left on device"},
			{Group: "Misc", Name: "Vlan", Status: checkconfig.Missing},
			{Group: "Misc", Name: "Macvlan", Status: checkconfig.Unknown},
		},
	}
	want := `Kernel 6.1.0, its configuration found at /boot/config-6.1.0

--- Namespaces ---
User namespace: enabled

--- Control groups ---
Cgroup namespace: required, no space left on device
Cgroup v1 mount points:
Cgroup v2 mount points:
 - /sys/fs/cgroup

--- Misc ---
Vlan: missing
Macvlan: unknown
`
	if diff := cmp.Diff(want, checkconfigText(r, false)); diff != "" {
		t.Error(diff)
	}
	for i, want := range []string{"\x1b[32menabled\x1b[0m", "\x1b[31mrequired\x1b[0m, no space left on device", "\x1b[33mmissing\x1b[0m", "\x1b[33munknown\x1b[0m"} {
		if got := statusText(r.Features[i], true); got != want {
			t.Errorf("in colour: %q, want %q", got, want)
		}
	}
}
