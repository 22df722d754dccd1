package main

import (
	"time"

	"poolctl/pool"
	"poolctl/runtime"
	"poolctl/runtime/network"
)

// instanceView is an instance with its state in incus's fields and order, and
// the pool it is in.
type instanceView struct {
	Architecture    string                       `json:"architecture" yaml:"architecture"`
	Config          map[string]string            `json:"config" yaml:"config"`
	Devices         map[string]map[string]string `json:"devices" yaml:"devices"`
	Ephemeral       bool                         `json:"ephemeral" yaml:"ephemeral"`
	Profiles        []string                     `json:"profiles" yaml:"profiles"`
	Stateful        bool                         `json:"stateful" yaml:"stateful"`
	Description     string                       `json:"description" yaml:"description"`
	CreatedAt       time.Time                    `json:"created_at" yaml:"created_at"`
	ExpandedConfig  map[string]string            `json:"expanded_config" yaml:"expanded_config"`
	ExpandedDevices map[string]map[string]string `json:"expanded_devices" yaml:"expanded_devices"`
	Name            string                       `json:"name" yaml:"name"`
	Status          string                       `json:"status" yaml:"status"`
	StatusCode      int                          `json:"status_code" yaml:"status_code"`
	Problem         string                       `json:"problem,omitempty" yaml:"problem,omitempty"`
	LastUsedAt      time.Time                    `json:"last_used_at" yaml:"last_used_at"`
	Location        string                       `json:"location" yaml:"location"`
	Type            string                       `json:"type" yaml:"type"`
	Project         string                       `json:"project" yaml:"project"`
	Pool            string                       `json:"pool" yaml:"pool"`
	LastExit        *runtime.Exit                `json:"last_exit,omitempty" yaml:"last_exit,omitempty"`
	State           stateView                    `json:"state" yaml:"state"`
	Snapshots       []pool.Snapshot              `json:"snapshots" yaml:"snapshots"`
}

// stateView is the state of an instance; of one that does not run it is zero.
type stateView struct {
	Status     string                   `json:"status" yaml:"status"`
	StatusCode int                      `json:"status_code" yaml:"status_code"`
	Disk       map[string]diskView      `json:"disk" yaml:"disk"`
	Memory     memoryView               `json:"memory" yaml:"memory"`
	Network    map[string]interfaceView `json:"network" yaml:"network"`
	PID        int                      `json:"pid" yaml:"pid"`
	Processes  int64                    `json:"processes" yaml:"processes"`
	CPU        cpuView                  `json:"cpu" yaml:"cpu"`
	StartedAt  time.Time                `json:"started_at" yaml:"started_at"`
}

type memoryView struct {
	Usage         int64 `json:"usage" yaml:"usage"`
	UsagePeak     int64 `json:"usage_peak" yaml:"usage_peak"`
	Total         int64 `json:"total" yaml:"total"` // its limit, or the host's memory
	SwapUsage     int64 `json:"swap_usage" yaml:"swap_usage"`
	SwapUsagePeak int64 `json:"swap_usage_peak" yaml:"swap_usage_peak"`
	OOMKills      int64 `json:"oom_kills" yaml:"oom_kills"`
}

type diskView struct {
	Usage int64 `json:"usage" yaml:"usage"`
	Total int64 `json:"total" yaml:"total"`
}

type cpuView struct {
	Usage         int64 `json:"usage" yaml:"usage"`                   // nanoseconds
	AllocatedTime int64 `json:"allocated_time" yaml:"allocated_time"` // nanoseconds in each second; of info only
}

type interfaceView struct {
	Addresses []network.Address `json:"addresses" yaml:"addresses"`
	Counters  network.Counters  `json:"counters" yaml:"counters"`
	HWAddr    string            `json:"hwaddr" yaml:"hwaddr"`
	HostName  string            `json:"host_name" yaml:"host_name"`
	MTU       int               `json:"mtu" yaml:"mtu"`
	State     string            `json:"state" yaml:"state"`
	Type      string            `json:"type" yaml:"type"`
}

// statusCode is the number that LXD and Incus give to a status.
func statusCode(status string) int {
	switch status {
	case "Running":
		return 103
	case "Starting":
		return 106
	case "Frozen":
		return 110
	case "Stopped":
		return 102
	}
	return 112 // Error
}

func viewOf(in pool.Instance) instanceView {
	v := instanceView{
		Architecture: in.Architecture, Config: orEmptyMap(in.Config), Devices: orEmptyMap(in.Devices), Ephemeral: in.Ephemeral,
		Profiles: orEmpty(in.Profiles), Description: in.Description, CreatedAt: in.CreatedAt,
		ExpandedConfig: orEmptyMap(in.ExpandedConfig), ExpandedDevices: orEmptyMap(in.ExpandedDevices), Name: in.Name,
		Status: in.Status, StatusCode: statusCode(in.Status), Problem: in.Problem, LastUsedAt: in.LastUsedAt, Location: "none",
		Type: in.Type, Project: "default", Pool: in.Pool, LastExit: in.LastExit, Snapshots: orEmpty(in.Snapshots),
	}
	v.State = stateView{Status: in.Status, StatusCode: v.StatusCode, Network: map[string]interfaceView{}, Disk: map[string]diskView{}}
	for device, d := range in.Disks {
		v.State.Disk[device] = diskView(d)
	}
	if st := in.State; st != nil {
		v.State.PID, v.State.Processes, v.State.StartedAt = st.PID, st.Processes, st.StartedAt
		v.State.CPU = cpuView{Usage: st.CPU.Nanoseconds(), AllocatedTime: st.CPUAllowed.Nanoseconds()}
		v.State.Memory = memoryView{
			Usage: st.Memory, UsagePeak: st.MemoryPeak, Total: memoryTotal(st), SwapUsage: st.Swap, SwapUsagePeak: st.SwapPeak, OOMKills: st.OOMKills,
		}
		for _, i := range st.Network {
			v.State.Network[i.Name] = interfaceView{
				Addresses: orEmpty(i.Addresses), Counters: i.Counters, HWAddr: i.HWAddr, HostName: i.HostName, MTU: i.MTU, State: i.State, Type: i.Type,
			}
		}
	}
	return v
}

// memoryTotal is how much memory an instance can have: its limit, unless the host
// has less.
func memoryTotal(st *pool.InstanceState) int64 {
	host, err := pool.HostMemory()
	if err != nil || st.MemoryLimit > 0 && st.MemoryLimit < host {
		return st.MemoryLimit
	}
	return host
}

func orEmptyMap[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}
