package pool

import (
	"context"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/btrfs/extents"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// UsageOptions are the arguments of PoolUsage.
type UsageOptions struct {
	// Objects limits the answer to these: INSTANCE, INSTANCE/SNAP, an image's alias
	// or the beginning of its fingerprint, volume/NAME, volume/NAME/SNAP, and with
	// image/ before it surely an image. The snapshots of an instance and of a volume
	// come with it, as they go with it.
	Objects []string
	// Exact reads which extents each has and shares, which takes a while.
	Exact    bool
	Progress func(Progress)
}

// PoolUsage is what `pool usage` prints: what a pool takes on the host, and what
// takes space in it. All sizes are in bytes.
type PoolUsage struct {
	Name string `json:"name" yaml:"name"`
	// What the pool lies on, one of them.
	File      *FileInfo      `json:"file,omitempty" yaml:"file,omitempty"`
	Device    *DeviceInfo    `json:"device,omitempty" yaml:"device,omitempty"`
	Directory *DirectoryInfo `json:"directory,omitempty" yaml:"directory,omitempty"`
	// Usage is the whole file system's, also of a pool in a directory of one.
	Usage btrfs.Usage `json:"usage" yaml:"usage"`
	// Pending is what is written to files, but not to the pool yet, and so not in
	// the other numbers; 0 when that is little, which is written first.
	Pending uint64 `json:"pending" yaml:"pending"`
	// Quota is how the pool counts: "none", "simple" or "qgroups".
	Quota string `json:"quota" yaml:"quota"`
	// Deleting is how many subvolumes are deleted, but not freed yet; only exact.
	Deleting int           `json:"deleting,omitempty" yaml:"deleting,omitempty"`
	Objects  []ObjectUsage `json:"objects" yaml:"objects"`
	// Together is what deleting all Objects frees; only exact, and when some were
	// named.
	Together *ByteCount `json:"together,omitempty" yaml:"together,omitempty"`
}

// ObjectUsage is what one image, instance, snapshot or volume takes, with the
// subvolumes nested in it. What is not known is nil.
type ObjectUsage struct {
	Type    string   `json:"type" yaml:"type"`
	Name    string   `json:"name" yaml:"name"` // of an image the fingerprint
	Aliases []string `json:"aliases,omitempty" yaml:"aliases,omitempty"`
	// Subvolumes are their ids in the file system.
	Subvolumes []uint64 `json:"subvolumes" yaml:"subvolumes"`
	// Owned is what was written in it and still exists, shared or not; known with
	// simple quotas.
	Owned *uint64 `json:"owned" yaml:"owned"`
	// Referenced is everything that it has, and Exclusive what only it has; known
	// with full qgroups, and when exact.
	Referenced *uint64 `json:"referenced" yaml:"referenced"`
	Exclusive  *uint64 `json:"exclusive" yaml:"exclusive"`
	// Exact is nil unless that was asked for.
	Exact *ExactUsage `json:"exact,omitempty" yaml:"exact,omitempty"`
}

// ByteCount is a number of bytes on disk, each copy of DUP or RAID not counted:
// whole extents of data, and the nodes of the trees.
type ByteCount struct {
	Total    uint64 `json:"total" yaml:"total"`
	Data     uint64 `json:"data" yaml:"data"`
	Metadata uint64 `json:"metadata" yaml:"metadata"`
}

// ExactUsage is what the back references of all extents say.
type ExactUsage struct {
	Referenced ByteCount `json:"referenced" yaml:"referenced"`
	Exclusive  ByteCount `json:"exclusive" yaml:"exclusive"`
	// Frees is what deleting it frees: of an instance and of a volume together with
	// its snapshots, which go with it.
	// nil of what is not deleted: the pool itself.
	Frees *ByteCount `json:"frees" yaml:"frees"`
	// Files are the sums of "btrfs filesystem du": bytes in files, uncompressed.
	Files FileUsage `json:"files" yaml:"files"`
}

// FileUsage counts the bytes of files as FIEMAP shows them.
type FileUsage struct {
	Total     uint64 `json:"total" yaml:"total"`
	Exclusive uint64 `json:"exclusive" yaml:"exclusive"`
	SetShared uint64 `json:"set_shared" yaml:"set_shared"`
}

// PoolUsage says what a pool takes on the host, and what takes space in it. It
// waits for no other command, and what runs in the pool goes on.
func (s *System) PoolUsage(ctx context.Context, name string, o UsageOptions) (_ PoolUsage, err error) {
	p, err := s.openPool(ctx, name)
	if err != nil {
		return PoolUsage{}, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	out, err := s.hostUsage(p)
	if err != nil {
		return out, err
	}
	all, err := p.usageObjects()
	if err != nil {
		return out, err
	}
	picked := all
	if len(o.Objects) > 0 {
		if picked, err = pickObjects(all, name, o.Objects); err != nil {
			return out, err
		}
	}
	count, err := countQuota(p.Path())
	if err != nil {
		return out, err
	}
	out.Quota = count.status.Mode.String()
	out.Objects = make([]ObjectUsage, 0, len(picked))
	for _, ob := range picked {
		out.Objects = append(out.Objects, count.usageOf(ob))
	}
	if o.Exact {
		if err := addExact(ctx, &out, p.Path(), all, picked, o); err != nil {
			return out, err
		}
	}
	if len(o.Objects) == 0 {
		out.Objects = append(out.Objects, count.ofDeleted(p.rec, all)...)
	}
	return out, ctx.Err()
}

// hostUsage is what the pool takes on the host and what its block groups have.
func (s *System) hostUsage(p *openedPool) (PoolUsage, error) {
	out := PoolUsage{Name: p.rec.Name, Objects: []ObjectUsage{}}
	var err error
	if out.Pending, err = commitSmall(p.rec, p.Path()); err != nil {
		return out, err
	}
	var source PoolInfo
	if err := s.describeSource(p.rec, &source); err != nil {
		return out, err
	}
	out.File, out.Device, out.Directory = source.File, source.Device, source.Directory
	out.Usage, err = btrfs.GetUsage(p.Path())
	return out, err
}

// smallCommit is how many bytes of data PoolUsage has written before it counts:
// more would take its time.
const smallCommit = 64 << 20

// commitSmall has what is in memory written and counted, unless that is much: then
// it is told. A pool that takes no more writes has the numbers of its last commit.
func commitSmall(rec state.PoolRecord, path string) (pending uint64, err error) {
	unwritten, err := btrfs.Pending(rec.UUID)
	pending = unwritten.Data
	if err != nil || pending > smallCommit {
		return pending, err
	}
	if err := btrfs.Sync(path); err != nil && !errors.Is(err, unix.EROFS) {
		return pending, err
	}
	return 0, nil
}

// addExact reads the extents and adds what they say of the objects.
func addExact(ctx context.Context, out *PoolUsage, path string, all, picked []usageObject, o UsageOptions) error {
	progress := func(int64, int64) {}
	if o.Progress != nil {
		progress = func(done, total int64) { o.Progress(Progress{Name: "extents", Done: done, Total: total}) }
	}
	sharing, err := extents.Read(ctx, path, extents.Options{Progress: progress})
	if errors.Is(err, extents.ErrBusy) {
		return withHint(err, "try it again when less is written in the pool")
	} else if err != nil {
		return err
	}
	out.Deleting = sharing.Deleting
	var together []uint64
	kept := out.Objects[:0]
	for i, ob := range picked {
		u := out.Objects[i]
		if !sharing.Has(ob.Subvolumes[0]) {
			continue // deleted meanwhile
		}
		if u.Exact, err = exactUsage(sharing, ob, withSnapshots(all, ob)); err != nil {
			return err
		}
		u.Referenced, u.Exclusive = &u.Exact.Referenced.Total, &u.Exact.Exclusive.Total
		kept = append(kept, u)
		together = append(together, ob.Subvolumes...)
	}
	out.Objects = kept
	if len(o.Objects) > 0 {
		u, err := usageIn(sharing, together)
		if err != nil {
			return err
		}
		sum := byteCount(u.Exclusive)
		out.Together = &sum
	}
	return nil
}

// exactUsage is what the extents say of one object, and of it with what is deleted
// along with it.
func exactUsage(sharing *extents.Sharing, ob usageObject, deleted []uint64) (*ExactUsage, error) {
	u, err := usageIn(sharing, ob.Subvolumes)
	if err != nil {
		return nil, err
	}
	with, err := usageIn(sharing, deleted)
	if err != nil {
		return nil, err
	}
	out := &ExactUsage{
		Referenced: byteCount(u.Referenced), Exclusive: byteCount(u.Exclusive),
		Files: FileUsage{Total: u.Files.Total, Exclusive: u.Files.Exclusive, SetShared: u.Files.SetShared},
	}
	if ob.Type != tree.TypeRecords {
		frees := byteCount(with.Exclusive)
		out.Frees = &frees
	}
	return out, nil
}

// usageIn is what the subvolumes take together, but those deleted since they were
// listed.
func usageIn(sharing *extents.Sharing, ids []uint64) (extents.Usage, error) {
	there := slices.DeleteFunc(slices.Clone(ids), func(id uint64) bool { return !sharing.Has(id) })
	return sharing.Of(there...)
}

func byteCount(s extents.Size) ByteCount {
	return ByteCount{Total: s.Total(), Data: s.Data, Metadata: s.Metadata}
}

// withSnapshots are the subvolumes that are deleted with an object.
func withSnapshots(all []usageObject, ob usageObject) []uint64 {
	ids := ob.Subvolumes
	for _, other := range all {
		if isSnapshotOf(other.Object, ob.Object) {
			ids = append(ids[:len(ids):len(ids)], other.Subvolumes...)
		}
	}
	return ids
}

// snapshotTypes are the types of the snapshots of what is deleted with them.
var snapshotTypes = map[tree.ObjectType]tree.ObjectType{
	tree.TypeInstance: tree.TypeInstanceSnapshot, tree.TypeMachine: tree.TypeMachineSnapshot, tree.TypeVolume: tree.TypeVolumeSnapshot,
}
