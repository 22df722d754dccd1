package tree

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opVolumeSend = "volume-send"

// Member is one subvolume of a custom volume and its snapshots, as it is sent.
type Member struct {
	// Snapshot is the snapshot that it is of; "" for the volume itself.
	Snapshot string
	// Path is "/" for the volume's own subvolume, "/DIR/NAME" for one that is nested in it.
	Path     string
	ReadOnly bool // of one that is nested
	UUID     string
}

// Frozen is a custom volume and its snapshots as they are at one moment, all of it read-only, for as long as it is open.
type Frozen struct {
	tree  *Tree
	entry *journal.Entry
	// Versions are the snapshots, the oldest first, and at the end the volume itself: each with its subvolumes, the
	// outermost first.
	Versions []FrozenVersion
}

// FrozenVersion is one state of the volume.
type FrozenVersion struct {
	Snapshot string
	// Path is its subvolume's directory.
	Path    string
	Members []Member
	ids     []uint64 // of the members
}

// FreezeVolume takes a read-only snapshot of what from names, aside, and lists it with the snapshots of these names. Close
// removes it.
func (t *Tree) FreezeVolume(ctx context.Context, from VolumeSource, snapshots []string) (*Frozen, error) {
	source, err := t.volumeSource(from)
	if err != nil {
		return nil, err
	}
	e, err := journal.BeginUnsynced(ctx, t.staging(), opVolumeSend, nil)
	if err != nil {
		return nil, err
	}
	f := &Frozen{tree: t, entry: e}
	err = btrfs.SnapshotTree(ctx, source, e.Path(entryVolume), true)
	crash.Point("tree.freeze.snapshot")
	for _, snap := range snapshots {
		if err != nil {
			break
		}
		var path string
		if path, err = t.VolumeSnapshotPath(from.Name, snap); err == nil {
			err = f.add(snap, path, path)
		}
	}
	if err == nil {
		err = f.add("", e.Path(entryVolume), source)
	}
	if err == nil {
		err = btrfs.Sync(t.mnt) // what is not committed cannot be sent
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot freeze volume %s: %w", from.Ref(), err), f.Close())
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
	v := FrozenVersion{Snapshot: snapshot, Path: path, Members: []Member{{Snapshot: snapshot, Path: "/", ReadOnly: snapshot != "", UUID: own.UUID}}, ids: []uint64{own.ID}}
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
		v.Members = append(v.Members, Member{Snapshot: snapshot, Path: "/" + n.Path, ReadOnly: ro, UUID: n.UUID})
		v.ids = append(v.ids, n.ID)
	}
	f.Versions = append(f.Versions, v)
	return nil
}

// Members are those of all versions, in the order in which they are sent.
func (f *Frozen) Members() []Member {
	var all []Member
	for _, v := range f.Versions {
		all = append(all, v.Members...)
	}
	return all
}

// Send writes one member as a send stream: what differs from the same member of the version before, if that has it.
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
	if i > 0 {
		parent, _ = f.Versions[i-1].id(m.Path)
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

// Receive reads the send stream of one member. Assemble makes the volume of all of them.
func (s *VolumeStage) Receive(ctx context.Context, m Member, r io.Reader) error {
	dir, err := s.Dir()
	if err != nil {
		return err
	}
	// Its name says how many there are: that of the member may be too long.
	if err := btrfs.Receive(ctx, dir, fmt.Sprintf("r%d", len(s.received)), r); err != nil {
		return err
	}
	crash.Point("tree.volume.received")
	s.received = append(s.received, m)
	return nil
}

// Assemble makes the volume and its snapshots of what was received. The subvolumes that a member is nested in must have been
// received, too.
func (s *VolumeStage) Assemble(ctx context.Context) error {
	order := make([]int, 0, len(s.received))
	for i := range s.received {
		order = append(order, i)
	}
	slices.SortStableFunc(order, func(a, b int) int {
		depth := func(i int) int {
			if s.received[i].Path == "/" {
				return 0
			}
			return strings.Count(s.received[i].Path, "/")
		}
		return cmp.Compare(depth(a), depth(b))
	})
	for _, i := range order {
		if err := errors.Join(s.place(i), ctx.Err()); err != nil {
			return err
		}
	}
	for _, i := range slices.Backward(order) { // the deepest first
		if err := s.seal(s.received[i]); err != nil {
			return err
		}
	}
	if ok, err := isSubvolume(s.Path()); err != nil || !ok {
		return errors.Join(errors.New("the volume itself is missing"), err)
	}
	// What was received is only the origin of what was made of it.
	dir, err := s.Dir()
	if err == nil {
		err = discard(ctx, dir)
	}
	return err
}

// place makes a writable snapshot of what was received where it belongs.
func (s *VolumeStage) place(i int) error {
	m := s.received[i]
	dir, err := s.Dir()
	if err != nil {
		return err
	}
	from := filepath.Join(dir, fmt.Sprintf("r%d", i))
	root, err := s.version(m.Snapshot)
	if err != nil {
		return err
	}
	if m.Path == "/" {
		return btrfs.Snapshot(from, root, false)
	}
	return btrfs.Nest(from, root, strings.TrimPrefix(m.Path, "/"))
}

// seal makes what is to be read-only read-only: snapshots, and what was that in the volume.
func (s *VolumeStage) seal(m Member) error {
	root, err := s.version(m.Snapshot)
	if err != nil || m.Path == "/" && m.Snapshot == "" || m.Snapshot == "" && !m.ReadOnly {
		return err
	}
	// No link can be on the way: Nest made the last component, and found none before it.
	return btrfs.SetReadOnly(filepath.Join(root, m.Path), true)
}

// version is where the volume, or a snapshot of it, is made.
func (s *VolumeStage) version(snapshot string) (string, error) {
	if snapshot == "" {
		return s.Path(), nil
	}
	return s.SnapshotPath(snapshot)
}

// Has says whether that version of the volume was made.
func (s *VolumeStage) Has(snapshot string) bool {
	path, err := s.version(snapshot)
	if err != nil {
		return false
	}
	ok, err := isSubvolume(path)
	return err == nil && ok
}

// Sync writes what was staged to the disk: before Commit, so that a power cut leaves no volume with holes in its files.
func (s *VolumeStage) Sync() error { return btrfs.Sync(s.tree.mnt) }

// Root opens the directory that a version of the volume is to be written into: an empty subvolume, made for it.
func (s *VolumeStage) Root(snapshot string) (*os.File, error) {
	path, err := s.version(snapshot)
	if err == nil {
		err = btrfs.CreateSubvolume(path)
	}
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// SealSnapshot makes a snapshot that was written read-only.
func (s *VolumeStage) SealSnapshot(snapshot string) error {
	path, err := s.version(snapshot)
	if err != nil {
		return err
	}
	return btrfs.SetReadOnly(path, true)
}
