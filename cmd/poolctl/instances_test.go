package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"poolctl/cmd/poolctl/internal/output"
	"poolctl/pool"
	"poolctl/runtime/network"
)

// sampleInstances are c1, running, c10 and c2: what LXD 5.0.2 had when the
// texts expected below were made with its client.
func sampleInstances() []pool.Instance {
	at := time.Date(2026, 11, 23, 23, 56, 54, 0, time.UTC)
	address := func(family, address, bits, scope string) network.Address {
		return network.Address{Family: family, Address: address, Netmask: bits, Scope: scope}
	}
	c1 := pool.Instance{
		Name: "c1", Status: "Running", Type: "container", Architecture: "x86_64", CreatedAt: at, LastUsedAt: at, Pool: "default",
		Profiles: []string{"default", "web"}, Config: map[string]string{"volatile.base_image": "ef1a4fe020b6e0705a23f155e167aa57"},
		Disks: map[string]pool.DiskUsage{"root": {Usage: 1 << 20}}, ExpandedDevices: map[string]map[string]string{"root": {"type": "disk", "path": "/"}},
		ExpandedConfig: map[string]string{"user.comment": "the first one", "security.privileged": "true"},
		Snapshots:      []pool.Snapshot{{Name: "snap0", CreatedAt: at}, {Name: "s1", CreatedAt: at}},
		State: &pool.InstanceState{
			PID: 15023, Processes: 5, CPU: 1724 * time.Millisecond, Memory: 3715072, MemoryPeak: 10338304,
			StartedAt: at, MemoryLimit: 32 << 20, Swap: 4096, SwapPeak: 8192, OOMKills: 3,
			Network: []network.Interface{
				{
					Name: "lo", State: "up", Type: "loopback", MTU: 65536,
					Addresses: []network.Address{address("inet", "127.0.0.1", "8", "local"), address("inet6", "::1", "128", "local")},
				},
				{
					Name: "eth0", HostName: "veth0a842de8", HWAddr: "00:16:3e:ef:c1:09", State: "up", Type: "broadcast", MTU: 1500,
					Addresses: []network.Address{
						address("inet", "10.119.77.163", "24", "global"), address("inet", "10.119.77.2", "24", "global"),
						address("inet6", "fd42:119:77:0:216:3eff:feef:c109", "64", "global"), address("inet6", "fe80::216:3eff:feef:c109", "64", "link"),
					},
					Counters: network.Counters{BytesReceived: 2218, BytesSent: 1286, PacketsReceived: 12, PacketsSent: 9},
				},
			},
		},
	}
	stopped := func(name string) pool.Instance {
		return pool.Instance{Name: name, Status: "Stopped", Type: "container", Architecture: "x86_64", Pool: "default", CreatedAt: at, Description: "of " + name}
	}
	return []pool.Instance{c1, stopped("c10"), stopped("c2")}
}

const infoC1 = `Name: c1
Status: RUNNING
Type: container
Architecture: x86_64
Storage pool: default
PID: 15023
Created: 2026/11/23 23:56 UTC
Last Used: 2026/11/23 23:56 UTC
Started: 2026/11/23 23:56 UTC

Resources:
  Processes: 5
  Disk usage:
    root: 1.00MiB
  CPU usage:
    CPU usage (in seconds): 1
  Memory usage:
    Memory (current): 3.54MiB
    Memory (peak): 9.86MiB
    Memory (limit): 32.00MiB
    Swap (current): 4.00KiB
    Swap (peak): 8.00KiB
    Killed for want of memory: 3
  Network usage:
    lo:
      Type: loopback
      State: UP
      MTU: 65536
      Bytes received: 0B
      Bytes sent: 0B
      Packets received: 0
      Packets sent: 0
      IP addresses:
        inet:  127.0.0.1/8 (local)
        inet6: ::1/128 (local)
    eth0:
      Type: broadcast
      State: UP
      Host interface: veth0a842de8
      MAC address: 00:16:3e:ef:c1:09
      MTU: 1500
      Bytes received: 2.22kB
      Bytes sent: 1.29kB
      Packets received: 12
      Packets sent: 9
      IP addresses:
        inet:  10.119.77.163/24 (global)
        inet:  10.119.77.2/24 (global)
        inet6: fd42:119:77:0:216:3eff:feef:c109/64 (global)
        inet6: fe80::216:3eff:feef:c109/64 (link)

Snapshots:
+-------+----------------------+------------+----------+
| NAME  |       TAKEN AT       | EXPIRES AT | STATEFUL |
+-------+----------------------+------------+----------+
| snap0 | 2026/11/23 23:56 UTC |            | NO       |
+-------+----------------------+------------+----------+
| s1    | 2026/11/23 23:56 UTC |            | NO       |
+-------+----------------------+------------+----------+
`

func TestInstanceText(t *testing.T) {
	in := sampleInstances()
	if diff := cmp.Diff(infoC1, instanceText(in[0])); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	broken := pool.Instance{Name: "b", Status: "Broken", Type: "container", Problem: "cannot read its record", Pool: "p"}
	if diff := cmp.Diff("Name: b\nStatus: BROKEN\nProblem: cannot read its record\nType: container\nArchitecture: \nStorage pool: p\n", instanceText(broken)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

const listed = `+------+---------+----------------------+-----------------------------------------+-----------+-----------+
| NAME |  STATE  |         IPV4         |                  IPV6                   |   TYPE    | SNAPSHOTS |
+------+---------+----------------------+-----------------------------------------+-----------+-----------+
| c1   | RUNNING | 10.119.77.2 (eth0)   | fd42:119:77:0:216:3eff:feef:c109 (eth0) | CONTAINER | 2         |
|      |         | 10.119.77.163 (eth0) |                                         |           |           |
+------+---------+----------------------+-----------------------------------------+-----------+-----------+
| c2   | STOPPED |                      |                                         | CONTAINER | 0         |
+------+---------+----------------------+-----------------------------------------+-----------+-----------+
| c10  | STOPPED |                      |                                         | CONTAINER | 0         |
+------+---------+----------------------+-----------------------------------------+-----------+-----------+
`

func TestInstanceList(t *testing.T) {
	for _, c := range []struct {
		format, columns string
		filters         []string
		want            string
	}{
		{output.Table, defaultColumns, nil, listed},
		{output.CSV, defaultColumns, []string{"status=running"}, "c1,RUNNING,\"10.119.77.2 (eth0)\n10.119.77.163 (eth0)\",fd42:119:77:0:216:3eff:feef:c109 (eth0),CONTAINER,2\n"},
		{output.CSV, "n,p,PabcdfFlmNu", []string{"c1"}, "c1,15023,\"default\nweb\",x86_64,default,2026/11/23 23:56 UTC,,ef1a4fe020b6,ef1a4fe020b6e0705a23f155e167aa57,2026/11/23 23:56 UTC,3.54MiB,5,1s\n" +
			"c10,,,x86_64,default,2026/11/23 23:56 UTC,of c10,,,,,,\n"},
		{output.CSV, "nDeLMU,devices:root.path", []string{"name=c1$"}, "c1,1.00MiB,default,none,11.1%,2026/11/23 23:56 UTC,/\n"},
		{output.CSV, "nM", []string{"name=^c2$", "location=none"}, "c2,\n"},
		{output.CSV, "n", []string{"location=elsewhere"}, ""},
		{output.CSV, "n,user.comment:COMMENT:5", []string{"^c1$"}, "c1,the f\n"},
		{output.CSV, "n", []string{"c"}, "c1\nc2\nc10\n"},
		{output.CSV, "n", []string{"c1"}, "c1\nc10\n"},
		{output.CSV, "n", []string{".*0"}, "c10\n"},
		{output.CSV, "n", []string{"s.privileged=true"}, "c1\n"},
		{output.CSV, "n", []string{"status=running,stopped", "c2"}, "c2\n"},
		{output.CSV, "n", []string{"ipv4=10.119.77.0/24"}, "c1\n"},
		{output.CSV, "n", []string{"ipv6=fd42::/16", "type=container", "architecture=X86_64"}, "c1\n"},
		{output.CSV, "n", []string{"type=virtual-machine"}, ""},
		{output.CSV, "n", []string{"user.comment=the"}, ""},
	} {
		cols, err := listColumns(c.columns)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := instanceList(sampleInstances(), c.filters, cols).Write(&b, c.format); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%s %q %q (-want +got):\n%s", c.format, c.columns, c.filters, diff)
		}
	}
}

func TestListColumns(t *testing.T) {
	cols, err := listColumns("n,user.my_key,config:user.a:HEAD:0,S")
	if err != nil {
		t.Fatal(err)
	}
	var headings []string
	for _, c := range cols {
		headings = append(headings, c.heading)
	}
	if diff := cmp.Diff([]string{"NAME", "USER MY KEY", "HEAD", "SNAPSHOTS"}, headings); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	in := pool.Instance{ExpandedConfig: map[string]string{"user.a": "日本語四五"}}
	if got := cols[2].cell(in); got != "日本語四" {
		t.Errorf("a column as wide as its heading: %q", got)
	}
	for _, bad := range []string{"X", "n,user.a:b:c", "user.a:b:-2", ":x", "user.a:b:1:2", "", "n,,s", ",n", "devices:root"} {
		if _, err := listColumns(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestInstanceViews(t *testing.T) {
	var b strings.Builder
	cols, err := listColumns("n")
	if err != nil {
		t.Fatal(err)
	}
	if err := instanceList(sampleInstances(), []string{"^c1"}, cols).Write(&b, output.JSON); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"name":"c1","status":"Running","status_code":103`, `"pid":15023,"processes":5,"cpu":{"usage":1724000000,"allocated_time":0}`,
		`"memory":{"usage":3715072,"usage_peak":10338304,"total":33554432,"swap_usage":4096,"swap_usage_peak":8192,"oom_kills":3}`, `"disk":{"root":{"usage":1048576,"total":0}}`,
		`"network":{"eth0":{"addresses":[{"family":"inet","address":"10.119.77.163","netmask":"24","scope":"global"}`, `"bytes_received":2218`,
		`"name":"c10","status":"Stopped","status_code":102`, `"network":{},"pid":0`, `"config":{},"devices":{}`, `"snapshots":[]`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in %s", want, b.String())
		}
	}
}
