package runtime

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
	"poolctl/runtime/stage"
)

// Node is a device node that is made for an instance, which may use its device.
type Node struct {
	// Type is 'c' for a character device, 'b' for a block device; zero: no node.
	Type  rune  `json:"type"`
	Major int64 `json:"major"`
	Minor int64 `json:"minor"`
	// Mode are the node's permissions, UID and GID its owner as the instance has
	// them.
	Mode uint32 `json:"mode"`
	UID  uint32 `json:"uid"`
	GID  uint32 `json:"gid"`
}

// rule is what the device cgroup has to allow.
func (n Node) rule() cgroup.Device {
	return cgroup.Device{Type: n.Type, Major: n.Major, Minor: n.Minor, Access: "rwm"}
}

func (n Node) kind() uint32 {
	if n.Type == 'b' {
		return unix.S_IFBLK
	}
	return unix.S_IFCHR
}

// validate refuses what no node can be.
func (n Node) validate() error {
	if n == (Node{}) {
		return nil
	}
	if n.Major < 0 || n.Minor < 0 || n.Mode&^0o777 != 0 {
		return fmt.Errorf("invalid device node %c %d:%d with mode %04o", n.Type, n.Major, n.Minor, n.Mode)
	}
	return n.rule().Validate()
}

// hold makes the node with the owner that the maps make of its own, and attaches
// its mount in the holder.
func (n Node) hold(holder int, name string, uids, gids []IDMap) error {
	uid, ok := hostID(uids, n.UID)
	if !ok {
		return fmt.Errorf("the instance has no user %d", n.UID)
	}
	gid, ok := hostID(gids, n.GID)
	if !ok {
		return fmt.Errorf("the instance has no group %d", n.GID)
	}
	return stage.NewNode(holder, name, n.kind(), n.Mode, uint32(n.Major), uint32(n.Minor), uid, gid)
}

// isAt says whether a file is the node.
func (n Node) isAt(st unix.Statx_t) bool {
	return uint32(st.Mode)&unix.S_IFMT == n.kind() && int64(st.Rdev_major) == n.Major && int64(st.Rdev_minor) == n.Minor
}

// nodeRules are what the device cgroup has to allow for the nodes among disks.
func nodeRules(disks []Disk) []cgroup.Device {
	var out []cgroup.Device
	for _, d := range disks {
		if d.Node != (Node{}) && !slices.Contains(out, d.Node.rule()) {
			out = append(out, d.Node.rule())
		}
	}
	return out
}

// allowedDevices is all that an instance with those disks may use.
func allowedDevices(extra []cgroup.Device, disks []Disk) []cgroup.Device {
	return slices.Concat(cgroup.DefaultDevices(), extra, nodeRules(disks))
}

// changeNodes has the device cgroup allow the nodes of other disks.
func (i *Instance) changeNodes(from, to []Disk) error {
	if slices.Equal(nodeRules(from), nodeRules(to)) {
		return nil
	}
	extra, err := loadDevices(i.dir)
	if err != nil {
		return err
	}
	return i.changeDevices(allowedDevices(extra, from), allowedDevices(extra, to))
}

func (i *Instance) changeDevices(from, to []cgroup.Device) error {
	g, err := i.group()
	if err != nil {
		return err
	}
	err = g.ChangeDevices(from, to)
	if errors.Is(err, cgroup.ErrNoDeviceControl) && !i.state.Privileged {
		return nil
	}
	return err
}

// unmountNode ends the mount of a node, also while something has the device open,
// which keeps it, and removes what it was mounted on when that was made for it.
// The working directory is the node's.
func (i *Instance) unmountNode(name string) error {
	if err := unix.Unmount(name, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return os.NewSyscallError("umount", err)
	}
	if err := i.becomeInside(); err != nil {
		return err
	}
	return stage.RemoveTarget(name)
}
