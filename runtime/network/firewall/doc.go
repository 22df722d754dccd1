// Package firewall keeps the nftables rules of networks and of instances'
// interfaces, through netlink.
//
// Every set of rules is a table of its own, named after the interface that it
// belongs to ("poolctl_br0" is the network br0's, "poolctl_veth1a2b3c4d" that
// of an instance's interface), and is replaced as a whole in one transaction:
// there is no moment with half of the rules, two processes with different state
// directories never touch each other's, and what others made is never touched.
// A table whose interface is gone is a leftover, see Strays.
//
// The package knows interfaces, addresses and ports; it makes none and knows no
// instances. A verdict "accept" ends only the chain it is in: a packet that
// another program's chain at the same hook drops stays dropped, whatever the
// rules here say (man nft, VERDICT STATEMENTS). Obstacles finds such chains.
package firewall
