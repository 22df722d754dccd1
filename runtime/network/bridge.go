package network

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"poolctl/runtime/network/firewall"
)

// lockPoll is how often a lock that another process holds is tried again.
const lockPoll = 10 * time.Millisecond

// Up makes the live state what the fields say; it is idempotent and can be
// called while instances are attached. The bridge is made when missing, its
// addresses are usable at once, also before it has a port, and dnsmasq is
// started when it does not run with the arguments that it should have, and the
// host's firewall gets the network's rules. Interfaces of the host's that are to be on it
// are put there, as far as there are any. Refused:
// an interface of that name which is not this network's, a network that
// overlaps a route or address of the host. When Up made the bridge and then
// fails, it removes it again.
func (b Bridge) Up(ctx context.Context) error {
	if err := b.up(ctx); err != nil {
		return fmt.Errorf("cannot bring up network %s: %w", b.Name, err)
	}
	return nil
}

func (b Bridge) up(ctx context.Context) (err error) {
	if err := b.Validate(); err != nil {
		return err
	}
	for _, dir := range []string{b.hostsDir(), b.RunDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	unlock, err := b.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()

	link, err := b.link()
	if err != nil {
		return err
	}
	if err := b.checkSubnets(link); err != nil {
		return err
	}
	if link == nil {
		if link, err = b.makeBridge(); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, b.remove(context.WithoutCancel(ctx)))
			}
		}()
	}
	if err := b.configure(link); err != nil {
		return err
	}
	if err := b.joinExternal(link); err != nil {
		return err
	}
	if err := b.syncRules(link); err != nil {
		return err
	}
	if err := b.syncReservations(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.ensureDnsmasq(ctx)
}

// Check says what Up would refuse before it changes anything, and whether dnsmasq
// takes its configuration.
func (b Bridge) Check(ctx context.Context) error {
	if err := b.Validate(); err != nil {
		return err
	}
	link, err := b.link()
	if err != nil {
		return err
	}
	if err := b.checkSubnets(link); err != nil {
		return err
	}
	if err := b.checkExternal(link); err != nil {
		return err
	}
	return b.checkRaw(ctx)
}

// CheckName refuses a name that another interface of the host has.
func (b Bridge) CheckName() error {
	_, err := b.link()
	return err
}

// Down ends dnsmasq and removes the bridge, its firewall rules and the files of
// RunDir; the reservations stay. It is idempotent. An interface of that name which is not
// this network's is left alone.
func (b Bridge) Down(ctx context.Context) error {
	if err := b.down(ctx); err != nil {
		return fmt.Errorf("cannot take down network %s: %w", b.Name, err)
	}
	return nil
}

func (b Bridge) down(ctx context.Context) error {
	if err := b.Validate(); err != nil {
		return err
	}
	unlock, err := b.lock(ctx)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil {
		defer unlock()
	}
	return b.remove(ctx)
}

// remove ends dnsmasq, deletes the bridge and the files of RunDir.
func (b Bridge) remove(ctx context.Context) error {
	errs := []error{b.stopDnsmasq(ctx)}
	link, err := b.link()
	var foreign *ForeignError
	switch {
	case errors.As(err, &foreign): // never made, or renamed over: not ours
	case err != nil:
		errs = append(errs, err)
	default:
		if link != nil {
			if err := netlink.LinkDel(link); err != nil && !errors.Is(err, unix.ENODEV) {
				errs = append(errs, fmt.Errorf("cannot remove the bridge: %w", err))
			}
		}
		errs = append(errs, firewall.Remove(b.Name))
	}
	errs = append(errs, b.removeRaw(), updateHosts(etcHosts, b.Name, nil))
	for _, path := range []string{b.pidFile(), b.leaseFile(), b.syncedFile(), b.RunDir} {
		err := os.Remove(path)
		if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ENOTEMPTY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// lock serialises Up and Down of one network between processes.
func (b Bridge) lock(ctx context.Context) (func(), error) {
	l := flock.New(filepath.Join(b.Dir, ".up.lock"))
	if _, err := l.TryLockContext(ctx, lockPoll); err != nil {
		return nil, fmt.Errorf("cannot lock the network: %w", err)
	}
	return func() { _ = l.Close() }, nil // closing the file gives up the lock, whatever it returns
}

// ForeignError says that the host has an interface of a network's name which is
// not that network's.
type ForeignError struct {
	Name string // the interface
	Type string // its kind as the kernel calls it: "bridge", "dummy", ...
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("the host has a %s interface named %s already, made by something else", e.Type, e.Name)
}

// Hint tells the user what to do.
func (e *ForeignError) Hint() string { return "choose another name for the network" }

// link finds the network's bridge; nil when there is none, *ForeignError when
// the name is taken. A bridge is this network's when it has the hardware address
// that is derived of the network's name and directory: that is set by the request
// that makes the bridge, so that there is no moment at which a bridge of ours
// cannot be told from others. Its alias says the same from then on, because the
// user may want another hardware address.
func (b Bridge) link() (netlink.Link, error) {
	link, err := netlink.LinkByName(b.Name)
	if isNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot look up %s: %w", b.Name, err)
	}
	if link.Type() != "bridge" || link.Attrs().HardwareAddr.String() != b.derivedHWAddr().String() && link.Attrs().Alias != b.alias() {
		return nil, &ForeignError{Name: b.Name, Type: link.Type()}
	}
	return link, nil
}

// sum is of what makes the bridge this network's.
func (b Bridge) sum() [sha256.Size]byte {
	return sha256.Sum256([]byte("poolctl network\x00" + b.Name + "\x00" + filepath.Clean(b.Dir)))
}

// derivedHWAddr is locally administered, and derived from the network's name and
// directory. Being set, the bridge's address does not follow the ports' addresses as
// it does otherwise (net/bridge/br_stp_if.c, br_stp_recalculate_bridge_id), which
// would change the address that instances have for their gateway.
func (b Bridge) derivedHWAddr() net.HardwareAddr {
	sum := b.sum()
	hw := net.HardwareAddr(sum[:6:6])
	hw[0] = hw[0]&^3 | 2
	return hw
}

// alias is the bridge's alias (ip link, "alias").
func (b Bridge) alias() string {
	sum := b.sum()
	return "poolctl network " + hex.EncodeToString(sum[:8])
}

// hwAddr is the hardware address that the bridge is to have.
func (b Bridge) hwAddr() net.HardwareAddr {
	if hw, err := parseHWAddr(b.HWAddr); err == nil {
		return hw
	}
	return b.derivedHWAddr()
}

// makeBridge adds the link, down and without addresses.
func (b Bridge) makeBridge() (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = b.Name
	attrs.HardwareAddr = b.derivedHWAddr()
	attrs.Group = firewall.LinkGroup
	// Spanning tree is off and the forward delay unused in a new bridge (man
	// ip-link): ports forward as soon as they are up.
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil, &MissingError{What: "bridge support of the kernel", How: "modprobe bridge"}
		}
		return nil, fmt.Errorf("cannot make the bridge: %w", err)
	}
	link, err := netlink.LinkByName(b.Name)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot look up %s: %w", b.Name, err), netlink.LinkDel(&netlink.Bridge{LinkAttrs: attrs}))
	}
	return link, nil
}

// configure sets what a bridge of ours has, and brings it up.
func (b Bridge) configure(link netlink.Link) error {
	if err := b.configureLink(link); err != nil {
		return err
	}
	if err := b.configureIPv6(); err != nil {
		return err
	}
	if err := b.syncAddresses(link); err != nil {
		return err
	}
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(link); err != nil {
			return fmt.Errorf("cannot bring up the bridge: %w", err)
		}
	}
	return b.syncRoutes(link) // the kernel takes none for a link that is down
}

// configureLink sets the alias, the group, the hardware address and the MTU.
func (b Bridge) configureLink(link netlink.Link) error {
	if link.Attrs().Alias != b.alias() {
		if err := netlink.LinkSetAlias(link, b.alias()); err != nil {
			return fmt.Errorf("cannot set the bridge's alias: %w", err)
		}
	}
	if link.Attrs().Group != firewall.LinkGroup {
		if err := netlink.LinkSetGroup(link, firewall.LinkGroup); err != nil {
			return fmt.Errorf("cannot set the bridge's group: %w", err)
		}
	}
	if hw := b.hwAddr(); link.Attrs().HardwareAddr.String() != hw.String() {
		if err := netlink.LinkSetHardwareAddr(link, hw); err != nil {
			return fmt.Errorf("cannot set the bridge's hardware address %s: %w", hw, err)
		}
	}
	if link.Attrs().MTU != b.mtu() {
		if err := netlink.LinkSetMTU(link, b.mtu()); err != nil {
			return fmt.Errorf("cannot set the bridge's MTU %d: %w", b.mtu(), err)
		}
	}
	return nil
}

// configureIPv6 sets the bridge's settings of Documentation/networking/
// ip-sysctl.rst. The kernel must not form addresses of its own (it would do so
// only once there is a port, with duplicate detection), and must not believe
// router advertisements that an instance sends.
func (b Bridge) configureIPv6() error {
	settings := [][2]string{
		{"disable_ipv6", "0"},
		{"accept_ra", "0"},
		{"autoconf", "0"},
		{"accept_dad", "0"},
		{"addr_gen_mode", "1"},
	}
	if !b.IPv6.IsValid() {
		settings = [][2]string{{"disable_ipv6", "1"}}
	}
	for _, s := range settings {
		err := setSysctl("ipv6", b.Name, s[0], s[1])
		if errors.Is(err, os.ErrNotExist) {
			if !b.IPv6.IsValid() {
				return nil
			}
			return &MissingError{What: "IPv6 support of the kernel", How: "boot without ipv6.disable=1, or set the network's ipv6.address to none"}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wantedAddresses are the bridge's, its link-local one included: router
// advertisements come from that (RFC 4861, 4.2).
func (b Bridge) wantedAddresses() []netip.Prefix {
	var list []netip.Prefix
	if b.IPv4.IsValid() {
		list = append(list, b.IPv4)
	}
	if b.IPv6.IsValid() {
		local := netip.MustParsePrefix("fe80::/64")
		list = append(list, netip.PrefixFrom(eui64(local, b.hwAddr()), 64), b.IPv6)
	}
	return list
}

// syncAddresses adds the wanted addresses and removes others.
func (b Bridge) syncAddresses(link netlink.Link) error {
	have, err := dump(func() ([]netlink.Addr, error) { return netlink.AddrList(link, netlink.FAMILY_ALL) })
	if err != nil {
		return fmt.Errorf("cannot list the addresses of %s: %w", b.Name, err)
	}
	missing := map[netip.Prefix]bool{}
	for _, p := range b.wantedAddresses() {
		missing[p] = true
	}
	for i := range have {
		p := fromIPNet(have[i].IPNet)
		if missing[p] {
			delete(missing, p)
			continue
		}
		if err := netlink.AddrDel(link, &have[i]); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("cannot remove %s from %s: %w", p, b.Name, err)
		}
	}
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("cannot open a netlink socket: %w", err)
	}
	defer handle.Close()
	for _, p := range b.wantedAddresses() {
		if !missing[p] {
			continue
		}
		if err := addAddress(handle, link, p); err != nil {
			return err
		}
	}
	return nil
}
