package pool

import (
	"fmt"
	"slices"
	"strings"
)

// look is one mount of an instance's, snapshot's or image's root.
type look struct {
	ref string // NAME, NAME/SNAP or FINGERPRINT
	dir string
	// writable says that it can be written to there.
	writable bool
}

// looks finds every mounted look inside, in all pools, in the kernel's table.
func (s *System) looks() ([]look, error) {
	records, _, err := s.poolRecords()
	if err != nil {
		return nil, err
	}
	var out []look
	for _, rec := range records {
		mounts, err := s.poolMounts(rec)
		if err != nil {
			return nil, err
		}
		for _, m := range mounts {
			if ref := lookRef(m.Root); ref != "" {
				writable := !slices.Contains(strings.Split(m.Options, ","), "ro")
				out = append(out, look{ref, m.MountPoint, writable})
			}
		}
	}
	disks, err := s.diskLooks("")
	return append(out, disks...), err
}

// lookRef turns the root of a mount within the pool into the instance, snapshot or
// image that it shows, whole or a part of its files.
func lookRef(root string) string {
	parts := strings.Split(strings.TrimPrefix(root, "/"), "/")
	switch {
	case len(parts) >= 3 && parts[0] == "containers" && parts[2] == "rootfs":
		return parts[1]
	case len(parts) >= 4 && parts[0] == "containers-snapshots" && parts[3] == "rootfs":
		return parts[1] + "/" + parts[2]
	case len(parts) >= 3 && parts[0] == "images" && parts[2] == "rootfs":
		return parts[1]
	}
	return ""
}

// checkNoLook refuses to change an instance, snapshot or image that is mounted.
func (s *System) checkNoLook(refs ...string) error {
	looks, err := s.looks()
	if err != nil {
		return err
	}
	for _, l := range looks {
		for _, r := range refs {
			if l.ref == r || strings.HasPrefix(l.ref, r+"/") {
				return withHint(fmt.Errorf("%w: %s is mounted at %s", ErrInUse, l.ref, l.dir), "poolctl umount %s", l.dir)
			}
		}
	}
	return s.checkNoOffline(refs...)
}

// checkStartable refuses to start an instance that is mounted writable: who did that
// wanted nothing else to change it, and mount refuses one that runs. A command that
// runs in its root, or with its network devices, is in the way as well.
func (s *System) checkStartable(name string) error {
	err := s.checkNotMountedWritable(name)
	if err == nil {
		err = s.checkRootFree(name)
	}
	if err == nil {
		err = s.checkNetworkFree(name)
	}
	return err
}

// checkNotMountedWritable refuses to run something in an instance that is mounted
// writable, as mount refuses what something runs in.
func (s *System) checkNotMountedWritable(name string) error {
	looks, err := s.looks()
	if err != nil {
		return err
	}
	for _, l := range looks {
		if l.ref == name && l.writable {
			return withHint(fmt.Errorf("%w: it is mounted writable at %s", ErrInUse, l.dir), "poolctl umount %s", l.dir)
		}
	}
	return nil
}
