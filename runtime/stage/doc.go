// Package stage is what PID 1 of an instance does before it becomes the image's
// own init: it builds the instance's view of the machine from inside its new
// namespaces, and executes the init. It owns the mounts, devices, console,
// hostname and capabilities of an instance, and the protocol with the process
// that made it; it knows nothing of pools, cgroup paths or networks.
//
// The two ends talk over a SOCK_SEQPACKET pair, one JSON message per packet:
//
//	supervisor                          stage (PID 1, in new user, pid, net, uts, ipc namespaces)
//	Config              ------------>   becomes the instance's root, enters the v1 cgroups,
//	                                    unshares the cgroup namespace
//	Disk + descriptor   ------------>   (one for each disk, see lockedMounts of package runtime)
//	maps the rootfs by
//	the stage's user namespace
//	Root + descriptor   ------------>   unshares the mount namespace
//	back to its own mount
//	namespace           <------------   Moved
//	plugs in the network                detached mounts, pivot_root, attaches them, the disks, console
//	holds the terminal  <------------   Console + descriptor of its master
//	Go                  ------------>   drops capabilities, executes init
//	sees the end of file (close-on-exec): init runs; Config.Program closes it itself
//	                    <------------   Failed, instead of any of the above
//
// The rootfs is attached, nodev, while the stage still shares the supervisor's
// (temporary) mount namespace, and only then the stage unshares its own: mounts
// that are copied into a namespace of a less privileged user namespace have
// their flags locked (man mount_namespaces), so that the instance cannot take
// nodev away again and open a device node that the image brought along. The
// devices that it may use are bind mounts of the host's.
//
// Everything that is mounted is opened detached first, and attached by
// descriptor to directories resolved without following any symbolic link, so
// that an image cannot direct a mount elsewhere.
package stage
