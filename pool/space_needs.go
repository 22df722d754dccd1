package pool

import (
	"context"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// smallTrees is the metadata of what shares its data with something that is there:
// a few subvolumes and records.
const smallTrees = 1 << 20

// sharingNeed is what an operation needs that makes subvolumes, and writes no data.
func sharingNeed(what string) spaceNeed { return spaceNeed{what: what, trees: smallTrees} }

// imageNeed is what an image takes in a pool, known by the size of its files.
func imageNeed(want remotes.Image) spaceNeed {
	return spaceNeed{what: "image " + want.Fingerprint[:12], least: want.Size, most: unpackedSize(want.Size)}
}

// backupNeed is what a backup takes that is read from a file: unpacked as much at
// least. Of a pipe the size is not known.
func backupNeed(r io.Reader) (need spaceNeed, known bool, err error) {
	f, ok := r.(interface{ Stat() (fs.FileInfo, error) })
	if !ok {
		return need, false, nil
	}
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return need, false, err
	}
	return spaceNeed{what: "the backup", least: info.Size(), most: unpackedSize(info.Size())}, true, nil
}

// unpackedSize is how large an image can become: xz's are 2.5 to 4 times as large
// unpacked (Alpine, Debian, Ubuntu).
func unpackedSize(compressed int64) int64 {
	if compressed > math.MaxInt64/8 {
		return math.MaxInt64 / 2
	}
	return 4 * compressed
}

// volumeNeed is what a custom volume, or a snapshot of one, takes in another pool
// with the snapshots of these names: each extent once, as those of snapshots are
// sent as what differs. What is compressed here may not be there.
func volumeNeed(ctx context.Context, p *openedPool, from tree.Source, snapshots []string) (spaceNeed, error) {
	var paths []string
	add := func(snap string) error {
		path, err := p.VolumeSnapshotPath(from.Name, snap)
		paths = append(paths, path)
		return volumeSnapshotError(err, p.rec.Name, from.Name, snap)
	}
	for _, snap := range snapshots {
		if err := add(snap); err != nil {
			return spaceNeed{}, err
		}
	}
	if from.Snapshot == "" {
		paths = append(paths, p.VolumePath(from.Name))
	} else if err := add(from.Snapshot); err != nil {
		return spaceNeed{}, err
	}
	total, err := btrfs.ReferencedTogether(ctx, paths...)
	if err != nil {
		return spaceNeed{}, err
	}
	return sentNeed("volume "+from.Ref(), len(snapshots) > 0, total), nil
}

// sentNeed is what something takes that is sent, with its snapshots or without.
func sentNeed(what string, snapshots bool, total btrfs.ReferencedBytes) spaceNeed {
	if snapshots {
		what += " with its snapshots"
	}
	return spaceNeed{what: what, least: int64(total.Disk), most: int64(max(total.Disk, total.Data)), trees: int64(total.Trees) + smallTrees}
}

// planHost holds what a file takes of the file system around it against what that
// has: grow bytes, all of them for certain.
func planHost(pool, what, file string, grow int64) (SpacePlan, error) {
	free, err := freeAt(filepath.Dir(file))
	if err != nil {
		return SpacePlan{}, err
	}
	plan := SpacePlan{What: what, Pool: pool, QuotaFree: -1, TargetFree: -1, HostPath: filepath.Dir(file), HostGrowth: max(grow, 0), HostFree: free}
	plan.judge()
	return plan, nil
}

// needAdoption is the guard before a pool that is not one of here yet is mounted
// for writing: a log is replayed, and records are written.
func needAdoption(rec state.PoolRecord) error {
	if rec.Kind != state.PoolFile {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Stat(rec.Source, &st); err != nil {
		return &os.PathError{Op: "stat", Path: rec.Source, Err: err}
	}
	plan, err := planHost(rec.Name, "adopting it", rec.Source, min(max(st.Size-st.Blocks*512, 0), hostGrowth(smallTrees)))
	if err != nil {
		return err
	}
	plan.Hint = "make room there: when it is full the kernel gives up the pool's file system"
	return plan.Err()
}

// quotaAround is what the quotas around a pool that is a subvolume leave to it: of
// the qgroups that it is in, which simple quotas have everything in it inherit.
// -1 when there is none.
func quotaAround(mp string) (int64, error) {
	st, err := btrfs.Quota(mp)
	if err != nil || st.Mode == btrfs.QuotaNone {
		return -1, err
	}
	own, err := btrfs.Stat(mp)
	if err != nil {
		return -1, err
	}
	groups, err := btrfs.Qgroups(mp)
	if err != nil {
		return -1, err
	}
	left := int64(-1)
	for queue := groups[btrfs.MakeQgroupID(0, own.ID)].Parents; len(queue) > 0; queue = queue[1:] {
		g, there := groups[queue[0]]
		queue = append(queue, g.Parents...)
		if !there || g.MaxReferenced == btrfs.NoLimit {
			continue
		}
		free := int64(g.MaxReferenced) - int64(min(g.Referenced, g.MaxReferenced))
		if left < 0 || free < left {
			left = free
		}
	}
	return left, nil
}
