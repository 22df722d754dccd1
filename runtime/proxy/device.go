package proxy

import (
	"errors"
	"fmt"
)

// Device is a proxy device.
type Device struct {
	// Name is the device's, for messages.
	Name string `json:"name"`
	// Listen is where connections are taken, Connect what they are passed on to.
	Listen  Address `json:"listen"`
	Connect Address `json:"connect"`
	// Inside has it listen in the instance and connect on the host, instead of the
	// other way round (bind=instance).
	Inside bool `json:"inside,omitempty"`
	// UID, GID and Mode are those of the socket that is made for Listen when that is a
	// path, as the side has them where it is.
	UID  uint32 `json:"uid,omitempty"`
	GID  uint32 `json:"gid,omitempty"`
	Mode uint32 `json:"mode,omitempty"`
	// SecurityUID and SecurityGID are the ids that the relay has, as the connecting
	// side has them; nil: root's, and with the right to connect to any socket.
	SecurityUID *uint32 `json:"security_uid,omitempty"`
	SecurityGID *uint32 `json:"security_gid,omitempty"`
	// ProxyProtocol sends the header of HAProxy's PROXY protocol, version 1, ahead of
	// each connection (https://www.haproxy.org/download/1.8/doc/proxy-protocol.txt).
	ProxyProtocol bool `json:"proxy_protocol,omitempty"`
	// NAT has the kernel translate addresses instead of a relay (package
	// network/firewall).
	NAT bool `json:"nat,omitempty"`
}

// DefaultMode are the permissions of a socket that is a file, as in Incus.
const DefaultMode = 0o644

// Validate refuses what cannot be carried out.
func (d Device) Validate() error {
	if err := CheckPorts(d.Listen, d.Connect); err != nil {
		return err
	}
	switch {
	case d.Listen.Kind == "" || d.Connect.Kind == "":
		return errors.New("it has no address")
	case d.ProxyProtocol && d.Connect.Kind != TCP:
		return fmt.Errorf("the PROXY protocol is for connections to tcp, not to %s", d.Connect.Kind)
	case d.Mode&^0o777 != 0:
		return fmt.Errorf("invalid mode %04o", d.Mode)
	}
	if d.NAT {
		return d.validateNAT()
	}
	return nil
}

// validateNAT refuses what the kernel cannot translate.
func (d Device) validateNAT() error {
	switch {
	case d.Inside:
		return errors.New("nat is for what listens on the host")
	case d.Listen.Kind == Unix || d.Listen.Kind != d.Connect.Kind:
		return fmt.Errorf("nat is from tcp to tcp, or from udp to udp, not from %s to %s", d.Listen.Kind, d.Connect.Kind)
	case d.ProxyProtocol:
		return errors.New("the PROXY protocol needs a connection of its own: not with nat")
	case d.Listen.IP.IsUnspecified():
		return fmt.Errorf("nat needs an address of the host to listen on, not %s", d.Listen.IP)
	case d.Listen.IP.IsLoopback():
		return fmt.Errorf("nat needs an address that others can reach, not %s", d.Listen.IP)
	case d.Listen.IP.Is4() != d.Connect.IP.Is4():
		return errors.New("nat is from IPv4 to IPv4, or from IPv6 to IPv6")
	}
	return nil
}

// CheckPorts refuses a number of ports to connect to that is neither one nor that of
// the ports to listen on.
func CheckPorts(listen, connect Address) error {
	n, m := max(len(listen.Ports), 1), max(len(connect.Ports), 1)
	if m != 1 && m != n {
		return fmt.Errorf("%s has %d ports and %s has %d: want one to connect to, or as many", listen, n, connect, m)
	}
	return nil
}
