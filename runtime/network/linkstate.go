package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// ErrNoLink says that the host has no interface of that name.
var ErrNoLink = errors.New("the host has no such interface")

// LinkState is what the kernel says of an interface of the host, with Incus's fields
// (api.NetworkState).
type LinkState struct {
	Addresses []Address   `json:"addresses" yaml:"addresses"`
	Counters  Counters    `json:"counters" yaml:"counters"`
	HWAddr    string      `json:"hwaddr" yaml:"hwaddr"`
	MTU       int         `json:"mtu" yaml:"mtu"`
	State     string      `json:"state" yaml:"state"` // "up" or "down"
	Type      string      `json:"type" yaml:"type"`   // as Interface.Type
	Bridge    *BridgeInfo `json:"bridge" yaml:"bridge"`
}

// BridgeInfo is what only a bridge has (api.NetworkStateBridge).
type BridgeInfo struct {
	ID            string   `json:"id" yaml:"id"`
	STP           bool     `json:"stp" yaml:"stp"`
	ForwardDelay  uint64   `json:"forward_delay" yaml:"forward_delay"` // in hundredths of a second
	VLANDefault   uint64   `json:"vlan_default" yaml:"vlan_default"`
	VLANFiltering bool     `json:"vlan_filtering" yaml:"vlan_filtering"`
	UpperDevices  []string `json:"upper_devices" yaml:"upper_devices"` // what is on it, sorted
}

// ReadLink reports the state of an interface of the host; ErrNoLink when there is
// none of that name.
func ReadLink(name string) (LinkState, error) {
	link, err := netlink.LinkByName(name)
	if isNotFound(err) {
		return LinkState{}, ErrNoLink
	}
	if err != nil {
		return LinkState{}, fmt.Errorf("cannot look up %s: %w", name, err)
	}
	addrs, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return LinkState{}, fmt.Errorf("cannot list the addresses of %s: %w", name, err)
	}
	var list []Address
	for _, a := range addrs {
		if p := fromIPNet(a.IPNet); p.IsValid() {
			list = append(list, newAddress(p))
		}
	}
	i := newInterface(link, list)
	s := LinkState{Addresses: i.Addresses, Counters: i.Counters, HWAddr: i.HWAddr, MTU: i.MTU, State: i.State, Type: i.Type}
	if link.Type() == "bridge" {
		s.Bridge, err = readBridge(name)
	}
	return s, err
}

// readBridge reads the files of Documentation/ABI/testing/sysfs-class-net and
// net/bridge/br_sysfs_br.c.
func readBridge(name string) (*BridgeInfo, error) {
	dir := filepath.Join("/sys/class/net", name)
	info := &BridgeInfo{UpperDevices: []string{}}
	id, err := os.ReadFile(filepath.Join(dir, "bridge/bridge_id"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the state of %s: %w", name, err)
	}
	info.ID = strings.TrimSpace(string(id))
	var stp, filtering uint64
	for file, to := range map[string]*uint64{
		"stp_state": &stp, "forward_delay": &info.ForwardDelay, "default_pvid": &info.VLANDefault, "vlan_filtering": &filtering,
	} {
		text, err := os.ReadFile(filepath.Join(dir, "bridge", file))
		if errors.Is(err, os.ErrNotExist) { // the kernel has no VLAN filtering
			continue
		}
		if err == nil {
			*to, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read the state of %s: %w", name, err)
		}
	}
	info.STP, info.VLANFiltering = stp != 0, filtering != 0
	ports, err := os.ReadDir(filepath.Join(dir, "brif"))
	if err != nil {
		return nil, fmt.Errorf("cannot list what is on %s: %w", name, err)
	}
	for _, p := range ports {
		info.UpperDevices = append(info.UpperDevices, p.Name())
	}
	slices.Sort(info.UpperDevices)
	return info, nil
}
