package pool

import (
	"fmt"

	"golang.org/x/sys/unix"

	"poolctl/pool/crash"
	"poolctl/pool/tree"
	"poolctl/runtime"
)

// volumeIDMap is the key of a custom volume in which LXD and Incus note how its
// ids are shifted on disk, as lastIDMap of an instance. They keep it in their
// database.
const volumeIDMap = "volatile.idmap.last"

// settleVolumes notes of the custom volumes how their ids are shifted on disk.
// LXD shifts a volume as the instance that it is attached to, and nothing in the
// pool tells: but the volume's own root then belongs to that instance's root.
func (s *System) settleVolumes(t *tree.Tree, about about) {
	shifts := map[[2]uint32]string{}
	for _, in := range about.instances {
		uids, gids, err := diskMaps(in.Config)
		if err != nil || uids == nil {
			continue
		}
		shifts[[2]uint32{rootOf(uids), rootOf(gids)}] = in.Config[lastIDMap]
	}
	delete(shifts, [2]uint32{})
	for _, v := range about.volumes {
		var st unix.Stat_t
		if v.Project != tree.DefaultProject || v.Broken != nil || v.Config[volumeIDMap] != "" || unix.Lstat(t.VolumePath(v.Name), &st) != nil {
			continue
		}
		shift := shifts[[2]uint32{st.Uid, st.Gid}]
		if shift == "" {
			continue
		}
		_, err := t.UpdateVolume(v.Name, func(v *tree.Volume) error {
			v.Config[volumeIDMap] = shift
			return nil
		})
		if err != nil {
			s.noticef("owners in volume %s are shown as they are on disk: %s", v.Name, err)
		}
		crash.Point("pool.adopt.volume")
	}
}

// volumeShift is how the ids of a custom volume are shifted on disk; zero: they
// are not. LXD shifts users and groups alike, by one range.
func volumeShift(config map[string]string) (runtime.IDMap, error) {
	text := config[volumeIDMap]
	if text == "" {
		return runtime.IDMap{}, nil
	}
	uids, _, err := parseIDMap([]byte(text))
	if err != nil {
		return runtime.IDMap{}, fmt.Errorf("cannot read %s: %w", volumeIDMap, err)
	}
	for _, m := range uids {
		if m.ContainerID == 0 {
			return m, nil
		}
	}
	return runtime.IDMap{}, nil
}

// rootOf is what root inside is on disk; 0 also where it is not mapped.
func rootOf(maps []runtime.IDMap) uint32 {
	for _, m := range maps {
		if m.ContainerID == 0 {
			return m.HostID
		}
	}
	return 0
}
