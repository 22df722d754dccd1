package pool

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// Thresholds of the space of pools.
const (
	// fullShare: below one part in so many that is free, a pool is nearly full.
	fullShare = 20
	// growLow is what a sparse file should be able to grow by, unless it needs less.
	growLow = 256 << 20
	// metadataLow is how much of the allocated metadata may be used, in percent,
	// while none can be allocated any more.
	metadataLow = 80
)

// space checks the room in an attached pool, and that of the host below it.
func (d *doctor) space(rec state.PoolRecord) {
	object := "pool " + rec.Name
	u, err := btrfs.GetUsage(d.dir.MountPoint(rec.Name))
	if err != nil {
		d.failed(object, err)
		return
	}
	if problem := spaceProblem(u); problem != "" {
		d.add(Finding{
			Severity: SeverityWarning, Object: object, Problem: problem,
			Remedy: fmt.Sprintf("poolctl pool resize %[1]s SIZE, delete what is not needed, or poolctl pool balance %[1]s", rec.Name),
		})
	}
	if rec.Kind != state.PoolFile {
		return
	}
	path, st, err := d.poolFile(rec)
	if err != nil {
		return // findStrayed has told of it
	}
	var host unix.Statfs_t
	if err := unix.Statfs(path, &host); err != nil {
		d.failed(object, fmt.Errorf("cannot ask for the space of %s: %w", path, err))
		return
	}
	free, holes := int64(host.Bavail)*host.Bsize, st.Size-st.Blocks*512
	if severity := hostSpace(free, holes); severity != "" {
		d.add(Finding{
			Severity: severity, Object: object,
			Problem: fmt.Sprintf("its file may still grow by %s, and %s has only %s free: when that is used up, btrfs gives the pool up", FormatSize(holes), filepath.Dir(path), FormatSize(free)),
			Remedy:  fmt.Sprintf("make room there; poolctl pool trim %s gives back what is not used", rec.Name),
		})
	}
}

// spaceProblem says what there is too little of in a file system; "" for nothing.
func spaceProblem(u btrfs.Usage) string {
	chunk := min(u.Size/10, 256<<20) // of metadata, as btrfs sizes it (init_alloc_chunk_ctl_policy_regular)
	metadata := u.Metadata.Used + u.GlobalReserve
	switch {
	case u.Free < u.Size/fullShare:
		return fmt.Sprintf("it is nearly full: %s of %s are free", FormatSize(int64(u.Free)), FormatSize(int64(u.Size)))
	case u.Metadata.Allocated > 0 && u.Unallocated < 2*chunk && metadata*100 > u.Metadata.Allocated*metadataLow:
		return fmt.Sprintf("its metadata is nearly full: %s of %s are used, and only %s are left to enlarge it", FormatSize(int64(metadata)),
			FormatSize(int64(u.Metadata.Allocated)), FormatSize(int64(u.Unallocated)))
	}
	return ""
}

// hostSpace says how bad it is that a file with so many bytes of holes lies on a
// file system with so many free; "" when it is not bad.
func hostSpace(free, holes int64) string {
	switch {
	case free >= holes:
		return ""
	case free < holes/fullShare || free < growLow:
		return SeverityWarning
	}
	return SeverityNotice
}

// poolFile is where the file of a pool is now, and what stat(2) says of it.
func (s *System) poolFile(rec state.PoolRecord) (path string, st unix.Stat_t, err error) {
	path = rec.Source
	strayed, err := s.findStrayed(rec)
	if err != nil {
		return "", st, err
	}
	if strayed != nil {
		path = strayed.path
	}
	err = unix.Stat(path, &st)
	return path, st, err
}
