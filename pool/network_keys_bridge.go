package pool

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"poolctl/runtime/network"
)

// bridgeKeys are those of the bridge itself.
func bridgeKeys() []NetworkKey {
	return []NetworkKey{
		{
			Name: "bridge.mtu", Default: strconv.Itoa(network.DefaultMTU), About: "MTU of the bridge and of the instances' interfaces, in bytes",
			check: checkMTU, set: func(b *network.Bridge, v string) { b.MTU, _ = strconv.Atoi(v) },
		},
		{
			Name: "bridge.hwaddr", Default: "one that stays the same", About: "hardware address of the bridge",
			check: checkHWAddr, set: func(b *network.Bridge, v string) { b.HWAddr = v },
		},
		{
			Name: "bridge.external_interfaces", About: "interfaces of the host's, without addresses of their own, that are on the bridge, separated by commas",
			check: checkExternal, set: func(b *network.Bridge, v string) { b.External = splitList(v) },
		},
		{
			Name: "security.isolation", Default: "true", About: "whether the network and the host's other ones do not reach each other",
			check: checkBool, set: func(b *network.Bridge, v string) { b.Isolated = isTrue(v) },
		},
	}
}

func checkExternal(v string) error {
	for _, name := range splitList(v) {
		if strings.Contains(name, "/") { // Incus makes the VLAN's interface itself by NAME/PARENT/ID
			return withHint(errors.New("VLANs are not made by poolctl"), "ip link add link PARENT name NAME type vlan id ID, and NAME here")
		}
		if err := network.ValidateName(name); err != nil {
			return err
		}
	}
	return nil
}

func checkMTU(v string) error {
	_, err := parseWithin(v, network.MinMTU4, network.MaxMTU)
	return err
}

func checkHWAddr(v string) error {
	hw, err := net.ParseMAC(v)
	if err != nil || len(hw) != 6 {
		return withHint(errors.New("it is not a hardware address"), "for example 00:16:3e:01:02:03")
	}
	if hw[0]&1 != 0 || hw.String() == "00:00:00:00:00:00" {
		return fmt.Errorf("%s is no single interface's address", hw)
	}
	return nil
}
