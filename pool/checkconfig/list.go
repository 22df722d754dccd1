package checkconfig

import (
	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
)

// The groups, in the order of lxc-checkconfig's headings; the last two are
// poolctl's own.
const (
	groupNamespaces = "Namespaces"
	groupCgroups    = "Control groups"
	groupMisc       = "Misc"
	groupRestore    = "Checkpoint/Restore"
	groupStorage    = "Pools"
	groupRuntime    = "Runtime"
	groupPrograms   = "Programs"
)

// checks is what lxc-checkconfig looks for, by its names, and what poolctl needs
// besides.
func checks() []check {
	return []check{
		{group: groupNamespaces, name: "Namespaces", option: "NAMESPACES", required: true, probe: namespace(unix.CLONE_NEWNS)},
		{group: groupNamespaces, name: "Utsname namespace", option: "UTS_NS", required: true, probe: namespace(unix.CLONE_NEWUTS)},
		{group: groupNamespaces, name: "Ipc namespace", option: "IPC_NS", required: true, probe: namespace(unix.CLONE_NEWIPC)},
		{group: groupNamespaces, name: "Pid namespace", option: "PID_NS", required: true, probe: namespace(unix.CLONE_NEWPID)},
		{group: groupNamespaces, name: "User namespace", option: "USER_NS", required: true, probe: (*prober).userNamespace},
		{group: groupNamespaces, name: "Network namespace", option: "NET_NS", required: true, probe: namespace(unix.CLONE_NEWNET)},

		{group: groupCgroups, name: "Cgroups", option: "CGROUPS", required: true, probe: (*prober).cgroups},
		{group: groupCgroups, name: "Cgroup namespace", required: true, probe: namespace(unix.CLONE_NEWCGROUP)},
		{group: groupCgroups, name: "Cgroup device", option: "CGROUP_DEVICE", probe: (*prober).deviceGroups},
		{group: groupCgroups, name: "Cgroup sched", option: "CGROUP_SCHED", probe: controller("cpu")},
		{group: groupCgroups, name: "Cgroup cpu account", option: "CGROUP_CPUACCT"},
		{group: groupCgroups, name: "Cgroup memory controller", option: "MEMCG", probe: controller("memory")},
		{group: groupCgroups, name: "Cgroup cpuset", option: "CPUSETS", probe: controller("cpuset")},
		{group: groupCgroups, name: "Cgroup pids", option: "CGROUP_PIDS", probe: controller("pids")},
		{group: groupCgroups, name: "Cgroup io", option: "BLK_CGROUP", probe: controller("io", "blkio")},
		{group: groupCgroups, name: "Cgroup freezer", option: "CGROUP_FREEZER", probe: (*prober).freezer},

		{group: groupMisc, name: "Veth pair device", option: "VETH", module: "veth", required: true, probe: link("veth")},
		{group: groupMisc, name: "Macvlan", option: "MACVLAN", module: "macvlan", probe: link("macvlan")},
		{group: groupMisc, name: "Vlan", option: "VLAN_8021Q", module: "8021q", probe: link("vlan")},
		{group: groupMisc, name: "Bridges", option: "BRIDGE", module: "bridge", required: true, probe: link("bridge")},
		{group: groupMisc, name: "Advanced netfilter", option: "NETFILTER_ADVANCED"},
		{group: groupMisc, name: "nftables", option: "NF_TABLES", module: "nf_tables", probe: (*prober).nftables},
		{group: groupMisc, name: "NAT (nftables)", option: "NFT_NAT", module: "nft_nat"},
		{group: groupMisc, name: "Masquerading (nftables)", option: "NFT_MASQ", module: "nft_masq"},
		{group: groupMisc, name: "Connections (nftables)", option: "NFT_CT", module: "nft_ct"},
		{group: groupMisc, name: "Rejecting (nftables)", option: "NFT_REJECT_INET", module: "nft_reject_inet"},
		{group: groupMisc, name: "Routes (nftables)", option: "NFT_FIB_INET", module: "nft_fib_inet"},
		{group: groupMisc, name: "Filters of interfaces (nftables)", option: "NF_TABLES_NETDEV"},
		{group: groupMisc, name: "CONFIG_IP_NF_TARGET_MASQUERADE", option: "IP_NF_TARGET_MASQUERADE", module: "ipt_MASQUERADE"},
		{group: groupMisc, name: "CONFIG_IP6_NF_TARGET_MASQUERADE", option: "IP6_NF_TARGET_MASQUERADE", module: "ip6t_MASQUERADE"},
		{group: groupMisc, name: "CONFIG_NETFILTER_XT_TARGET_CHECKSUM", option: "NETFILTER_XT_TARGET_CHECKSUM", module: "xt_CHECKSUM"},
		{group: groupMisc, name: "CONFIG_NETFILTER_XT_MATCH_COMMENT", option: "NETFILTER_XT_MATCH_COMMENT", module: "xt_comment"},
		{group: groupMisc, name: "FUSE (for use with lxcfs)", option: "FUSE_FS", module: "fuse", probe: filesystem("fuse")},

		{group: groupRestore, name: "checkpoint restore", option: "CHECKPOINT_RESTORE", probe: exists("/proc/self/map_files")},
		{group: groupRestore, name: "CONFIG_FHANDLE", option: "FHANDLE", probe: (*prober).fileHandles},
		{group: groupRestore, name: "CONFIG_EVENTFD", option: "EVENTFD", probe: (*prober).eventfd},
		{group: groupRestore, name: "CONFIG_EPOLL", option: "EPOLL", probe: (*prober).epoll},
		{group: groupRestore, name: "CONFIG_UNIX_DIAG", option: "UNIX_DIAG", module: "unix_diag"},
		{group: groupRestore, name: "CONFIG_INET_DIAG", option: "INET_DIAG", module: "inet_diag"},
		{group: groupRestore, name: "CONFIG_PACKET_DIAG", option: "PACKET_DIAG", module: "af_packet_diag"},
		{group: groupRestore, name: "CONFIG_NETLINK_DIAG", option: "NETLINK_DIAG", module: "netlink_diag"},
		{group: groupRestore, name: "File capabilities", probe: (*prober).fileCapabilities},

		{group: groupStorage, name: "btrfs", option: "BTRFS_FS", module: "btrfs", required: true, probe: func(*prober) error { return btrfs.Check() }},
		{group: groupStorage, name: "Loop devices", option: "BLK_DEV_LOOP", module: "loop", required: true, probe: func(*prober) error { return loopdev.Check() }},
		{group: groupStorage, name: "Idmapped mounts", required: true, probe: (*prober).mountSetattr},
		{group: groupStorage, name: "Idmapped mounts on btrfs", required: true, probe: (*prober).idmappedBtrfs},
		{group: groupStorage, name: "Simple quotas of btrfs", probe: exists("/sys/fs/btrfs/features/simple_quota")},

		{group: groupRuntime, name: "openat2", required: true, probe: (*prober).openat2},
		{group: groupRuntime, name: "pidfds", required: true, probe: (*prober).pidfd},
		{group: groupRuntime, name: "clone3 into a cgroup", probe: (*prober).cloneIntoCgroup},
		{group: groupRuntime, name: "Seccomp filters", option: "SECCOMP_FILTER", required: true, probe: exists("/proc/sys/kernel/seccomp/actions_avail")},
		{group: groupRuntime, name: "BPF programs of cgroups", option: "CGROUP_BPF", probe: (*prober).cgroupBPF},
		{group: groupRuntime, name: "Message queues", option: "POSIX_MQUEUE", probe: filesystem("mqueue")},
		{group: groupRuntime, name: "Tun devices", option: "TUN", module: "tun", probe: exists("/dev/net/tun")},

		{group: groupPrograms, name: "mkfs.btrfs", required: true, probe: program("mkfs.btrfs")},
		{group: groupPrograms, name: "dnsmasq", required: true, probe: program("dnsmasq")},
		{group: groupPrograms, name: "btrfs", probe: program("btrfs")},
		{group: groupPrograms, name: "xz", probe: program("xz")},
		{group: groupPrograms, name: "busybox", probe: program("busybox")},
	}
}
