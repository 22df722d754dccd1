package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const (
	opVolumeSend   = "volume-send"
	opInstanceSend = "instance-send"
)

// Member is one subvolume of an instance or a custom volume and its snapshots, as it is sent.
type Member struct {
	// Snapshot is the snapshot that it is of; "" for the volume itself.
	Snapshot string
	// Path is "/" for the volume's own subvolume, "/DIR/NAME" for one that is nested in it.
	Path     string
	ReadOnly bool // of one that is nested
	UUID     string
	// StreamUUID is how send streams name it (btrfs.Subvolume.StreamUUID).
	StreamUUID string
}

// what is the member as a message names it.
func (m Member) what() string {
	what := "the present state"
	if m.Snapshot != "" {
		what = "snapshot " + m.Snapshot
	}
	if m.Path != "/" {
		what = fmt.Sprintf("subvolume %.256q of %s", m.Path, what)
	}
	return what
}

// Frozen is an instance or a custom volume, with snapshots, as they are at one moment, all of it read-only, for as long as it is
// open.
type Frozen struct {
	tree   *Tree
	entry  *journal.Entry
	synced bool
	// Versions are the snapshots, the oldest first, and at the end the volume itself: each with its subvolumes, the
	// outermost first.
	Versions []FrozenVersion
}

// Path is the directory of the volume itself.
func (f *Frozen) Path() string { return f.Versions[len(f.Versions)-1].Path }

// FrozenVersion is one state of the volume.
type FrozenVersion struct {
	Snapshot string
	// Path is its subvolume's directory.
	Path    string
	Members []Member
	// Have is set when the receiver has it: it is not sent, and what others differ from it is.
	Have bool
	// received is the path of the receiver's, in its pool.
	received string
	ids      []uint64 // of the members
}

// FreezeVolume takes a read-only snapshot of what from names, aside, and lists it with the snapshots of these names. Close
// removes it.
func (t *Tree) FreezeVolume(ctx context.Context, from Source, snapshots []string) (*Frozen, error) {
	source, err := t.volumeSource(from)
	if err != nil {
		return nil, err
	}
	f, err := t.freeze(ctx, freezing{opVolumeSend, source, t.snapshotsIn(customs(), volumeDir(from.Name)), snapshots, nil})
	if err == nil {
		if err = f.Sync(); err != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot freeze volume %s: %w", from.Ref(), err)
	}
	return f, nil
}

// FreezeInstance is FreezeVolume of an instance, running or not, or of a snapshot of one. still, if not nil, is that of
// SnapshotOptions.
func (t *Tree) FreezeInstance(ctx context.Context, from Source, snapshots []string, still func(do func() error) error) (*Frozen, error) {
	source, err := t.instanceSource(from)
	if err == nil {
		var f *Frozen
		if f, err = t.freeze(ctx, freezing{opInstanceSend, source, t.snapshotDir(from.Name), snapshots, still}); err == nil {
			return f, nil
		}
	}
	return nil, fmt.Errorf("cannot freeze %s: %w", from.Ref(), err)
}

// instanceSource is the path of the volume of an instance, or of a snapshot of one.
func (t *Tree) instanceSource(from Source) (string, error) {
	if from.Snapshot != "" {
		return t.SnapshotPath(from.Name, from.Snapshot)
	}
	_, err := t.Instance(from.Name)
	return t.InstancePath(from.Name), err
}

// freezing is what is to be frozen.
type freezing struct {
	op     string // of the journal's entry
	source string // the volume
	dir    string // of its snapshots
	names  []string
	still  func(do func() error) error
}

func (t *Tree) freeze(ctx context.Context, o freezing) (*Frozen, error) {
	for _, snap := range o.names {
		if err := checkComponent(snap); err != nil {
			return nil, err
		}
	}
	e, err := journal.BeginUnsynced(ctx, t.staging(), o.op, nil)
	if err != nil {
		return nil, err
	}
	f := &Frozen{tree: t, entry: e}
	err = taking{still: o.still}.take(func() error { return btrfs.SnapshotTree(ctx, o.source, e.Path(entryVolume), true) })
	crash.Point("tree.freeze.snapshot")
	for _, snap := range o.names {
		if err != nil {
			break
		}
		path := filepath.Join(o.dir, snap)
		err = f.add(snap, path, path)
	}
	if err == nil {
		err = f.add("", e.Path(entryVolume), o.source)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// add lists the members of a version. Which of them are read-only, the source knows: in the frozen copy all are. In a
// snapshot all are, too, which says nothing about what the owner wanted: as in btrfs.SnapshotTree.
func (f *Frozen) add(snapshot, path, source string) error {
	own, err := btrfs.Stat(path)
	if err != nil {
		return err
	}
	nested, err := btrfs.List(path)
	if err != nil {
		return err
	}
	originals := map[string]bool{}
	frozenSource, err := btrfs.IsReadOnly(source)
	if err != nil {
		return err
	}
	if path != source && !frozenSource {
		list, err := btrfs.List(source)
		if err != nil {
			return err
		}
		for _, n := range list {
			originals[n.Path] = n.ReadOnly
		}
	}
	v := FrozenVersion{Snapshot: snapshot, Path: path, Members: []Member{{Snapshot: snapshot, Path: "/", ReadOnly: snapshot != "", UUID: own.UUID, StreamUUID: own.StreamUUID()}}, ids: []uint64{own.ID}}
	slices.SortFunc(nested, func(a, b btrfs.Subvolume) int {
		return cmp.Or(cmp.Compare(strings.Count(a.Path, "/"), strings.Count(b.Path, "/")), cmp.Compare(a.Path, b.Path))
	})
	for _, n := range nested {
		if n.Path == "" {
			return fmt.Errorf("the path of the nested subvolume %q is too long", n.Name)
		}
		ro := originals[n.Path]
		if path == source {
			ro = n.ReadOnly
		}
		v.Members = append(v.Members, Member{Snapshot: snapshot, Path: "/" + n.Path, ReadOnly: ro, UUID: n.UUID, StreamUUID: n.StreamUUID()})
		v.ids = append(v.ids, n.ID)
	}
	f.Versions = append(f.Versions, v)
	return nil
}

// Members are those of all versions that the receiver does not have, in the order in which they are sent.
func (f *Frozen) Members() []Member {
	var all []Member
	for _, v := range f.Versions {
		if !v.Have {
			all = append(all, v.Members...)
		}
	}
	return all
}

// parent is the version that another one is sent as the difference from: the nearest one before it or, if there is none, the
// nearest one after it that the receiver has. -1 is none.
func (f *Frozen) parent(version int) int {
	if version > 0 {
		return version - 1
	}
	return slices.IndexFunc(f.Versions, func(v FrozenVersion) bool { return v.Have })
}

// bases are the versions that the receiver has and needs.
func (f *Frozen) bases() []FrozenVersion {
	var out []FrozenVersion
	needed := map[int]bool{}
	for i, v := range f.Versions {
		if at := f.parent(i); !v.Have && at >= 0 && f.Versions[at].Have && !needed[at] {
			needed[at] = true
			out = append(out, f.Versions[at])
		}
	}
	return out
}

// Sync writes what was frozen to the disk: what is not written has no extents to be counted, and cannot be sent.
func (f *Frozen) Sync() error {
	if f.synced {
		return nil
	}
	err := btrfs.Sync(f.tree.mnt)
	f.synced = err == nil
	return err
}

// Send writes one member as a send stream: what differs from the same member of the nearest version that comes before it or
// that the receiver has.
func (f *Frozen) Send(ctx context.Context, m Member, w io.Writer) error {
	i := slices.IndexFunc(f.Versions, func(v FrozenVersion) bool { return v.Snapshot == m.Snapshot })
	if i < 0 {
		return fmt.Errorf("cannot send %s: no such version", m.Path)
	}
	id, ok := f.Versions[i].id(m.Path)
	if !ok {
		return fmt.Errorf("cannot send %s: no such subvolume", m.Path)
	}
	parent := uint64(0)
	if at := f.parent(i); at >= 0 {
		parent, _ = f.Versions[at].id(m.Path)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return btrfs.Send(ctx, f.tree.mnt, id, parent, w)
}

func (v FrozenVersion) id(path string) (uint64, bool) {
	i := slices.IndexFunc(v.Members, func(m Member) bool { return m.Path == path })
	if i < 0 {
		return 0, false
	}
	return v.ids[i], true
}

// Close removes what was frozen.
func (f *Frozen) Close() error { return abandon(f.entry, nil) }
