package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"poolctl/runtime"
)

// lastIDMap is the key in which LXD and Incus note how the ids of an instance's
// root are shifted on disk; "[]" and nothing at all: they are not.
const lastIDMap = "volatile.last_state.idmap"

// noIDMap is the idmap of an instance of which the ids are those of the host.
const noIDMap = "[]"

// idmapEntry is an entry of LXD's idmap (shared/idmap, IdmapEntry): Maprange ids
// from Nsid inside are those from Hostid on disk.
type idmapEntry struct {
	Isuid, Isgid           bool
	Hostid, Nsid, Maprange int64
}

// diskMaps says how the ids of an instance's root are shifted on disk: from those
// inside to those on disk. LXD shifts them where the kernel, or its build, does
// not map them at mount time, and wherever security.privileged was changed. Both
// are nil when they are what the instance sees.
func diskMaps(config map[string]string) (uids, gids []runtime.IDMap, err error) {
	text := config[lastIDMap]
	if text == "" {
		return nil, nil, nil
	}
	if uids, gids, err = parseIDMap([]byte(text)); err != nil {
		return nil, nil, fmt.Errorf("cannot read %s: %w", lastIDMap, err)
	}
	return uids, gids, nil
}

func parseIDMap(text []byte) (uids, gids []runtime.IDMap, err error) {
	var entries []idmapEntry
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		const end = 1 << 32
		if e.Hostid < 0 || e.Nsid < 0 || e.Maprange <= 0 || e.Hostid >= end || e.Nsid >= end || e.Maprange >= end || e.Hostid+e.Maprange > end || e.Nsid+e.Maprange > end {
			return nil, nil, fmt.Errorf("ids %d to %d cannot be %d and up", e.Nsid, e.Nsid+e.Maprange-1, e.Hostid)
		}
		m := runtime.IDMap{ContainerID: uint32(e.Nsid), HostID: uint32(e.Hostid), Size: uint32(e.Maprange)}
		if e.Isuid {
			uids = append(uids, m)
		}
		if e.Isgid {
			gids = append(gids, m)
		}
	}
	if (len(uids) == 0) != (len(gids) == 0) {
		return nil, nil, errors.New("it maps users or groups only")
	}
	return uids, gids, nil
}

// mountRoot shows the root of an instance, or of a snapshot, at dst, with the
// owners that are seen inside.
func mountRoot(rootfs, dst string, attrs uint64, config map[string]string) error {
	place, err := openPlace(rootfs)
	if err != nil {
		return err
	}
	defer func() { _ = place.Close() }() // a path only
	view, err := cloneRoot(place, attrs, config)
	if err != nil {
		return err
	}
	defer func() { _ = view.Close() }() // the mount stays
	return attachMount(view, dst)
}

// cloneRoot makes a mount of a root that is nowhere yet, with the owners that are
// seen inside: those that are on disk, unless they are shifted.
func cloneRoot(rootfs *os.File, attrs uint64, config map[string]string) (_ *os.File, err error) {
	attr := unix.MountAttr{Attr_set: attrs}
	uids, gids, err := diskMaps(config)
	if err != nil {
		return nil, err
	}
	if uids != nil {
		userns, err := runtime.UserNamespace(reversed(uids), reversed(gids))
		if err != nil {
			return nil, err
		}
		defer func() { _ = userns.Close() }() // the mount has it
		attr.Attr_set |= unix.MOUNT_ATTR_IDMAP
		attr.Userns_fd = uint64(userns.Fd())
	}
	return cloneMount(rootfs, attr)
}

// openRootView opens a root of which the ids on disk are shifted, with those that
// are seen inside; nil when they are not shifted. It lasts until it is closed.
func openRootView(rootfs string, config map[string]string) (*os.File, error) {
	if uids, _, err := diskMaps(config); err != nil || uids == nil {
		return nil, err
	}
	place, err := openPlace(rootfs)
	if err != nil {
		return nil, err
	}
	defer func() { _ = place.Close() }() // a path only
	return cloneRoot(place, 0, config)
}

// reversed maps ids on disk to those inside.
func reversed(maps []runtime.IDMap) []runtime.IDMap {
	out := make([]runtime.IDMap, len(maps))
	for i, m := range maps {
		out[i] = runtime.IDMap{ContainerID: m.HostID, HostID: m.ContainerID, Size: m.Size}
	}
	return out
}

// fdPath is a path of what the file is of, also where nothing else leads to it.
func fdPath(f *os.File) string { return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) }
