package pool

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/holders"
	"poolctl/pool/state"
)

// refuseMounted refuses a pool whose file system is mounted from something else
// than its file, which is a copy of it, or by another state directory. It looks
// into every mount namespace.
func (s *System) refuseMounted(rec state.PoolRecord) error {
	active, err := btrfs.ActiveOf(rec.UUID)
	if err != nil || len(active) == 0 {
		return err
	}
	own, err := ownNumbers(rec)
	if err != nil {
		return err
	}
	for _, a := range active {
		names := slices.Collect(maps.Values(a.Devices))
		mounts, err := holders.Mounts(func(m holders.Mount) bool {
			return m.FSType == "btrfs" && slices.Contains(names, filepath.Base(m.Source))
		})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(own, a.Has) {
			return copyMounted(names[0], mounts)
		}
		if a.Temporary && rec.Kind == state.PoolDevice { // of a file, it is a stranger's
			return inUse("/dev/" + names[0])
		}
		for _, m := range mounts {
			if mp := s.dir.MountPoint(rec.Name); m.MountPoint != mp && m.Root == "/" && filepath.Base(filepath.Dir(m.MountPoint)) == filepath.Base(filepath.Dir(mp)) {
				return withHint(fmt.Errorf("another state directory has it mounted at %s: neither would see what the other runs", m),
					"detach it there first")
			}
		}
	}
	return nil
}

// copyMounted is the refusal of a pool of which a copy is mounted.
func copyMounted(device string, mounts []holders.Mount) error {
	if len(mounts) == 0 {
		return withHint(fmt.Errorf("a copy of this pool is mounted from /dev/%s where no process sees it, and btrfs cannot tell the two apart", device),
			"end what uses it, or give the copy a UUID of its own: btrfstune -u FILE")
	}
	m := mounts[0]
	return withHint(fmt.Errorf("a copy of this pool is mounted from %s at %s, and btrfs cannot tell the two apart", m.Source, m),
		"%s, or give the copy a UUID of its own: btrfstune -u FILE", umountCommand(m))
}

// ownNumbers are the device numbers that a pool's file system may be mounted
// from: those of the loop devices on its file, or that of its block device.
func ownNumbers(rec state.PoolRecord) ([]uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(rec.Source, &st); err != nil {
		return nil, fmt.Errorf("%s: %w", rec.Source, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		return []uint64{st.Rdev}, nil
	}
	loops, err := loopdev.Find(rec.Source)
	if err != nil {
		return nil, err
	}
	var out []uint64
	for _, l := range loops {
		out = append(out, loopNumber(l))
	}
	return out, nil
}
