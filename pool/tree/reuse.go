package tree

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"

	"poolctl/btrfs"
	"poolctl/pool/crash"
)

// Reuse has a stage that replaces something take the snapshots from there that are those of f already, under any name: they were
// received from it, or it from them, or both from the same. f is told that they need not be sent, and sends what else it has as what differs
// from the nearest of them. When the snapshots stay as they are, what is no base is not sent either. A stage that replaces
// nothing takes nothing.
func (s *OwnerStage) Reuse(ctx context.Context, f *Frozen) error {
	if s.replaces == nil {
		return nil
	}
	present, err := s.tree.receivedIn(s.tree.snapshotsIn(s.place, s.dir))
	if err != nil {
		return err
	}
	var there []FrozenVersion
	for _, v := range f.Versions {
		var err error
		if v.Snapshot != "" {
			v.received, err = present.find(v)
		}
		v.Have = v.received != ""
		if err == nil && v.Have && !s.replaces.Keep {
			err = s.takeOver(ctx, v.received, v)
		}
		if err != nil {
			return err
		}
		if v.Have || v.Snapshot == "" || !s.replaces.Keep {
			there = append(there, v)
		}
	}
	f.Versions = there
	return s.takeBases(f)
}

// receivedSnapshots are the paths of snapshots by how send streams name them.
type receivedSnapshots map[string][]string

// receivedIn lists the snapshots in a directory, which need not exist.
func (t *Tree) receivedIn(dir string) (receivedSnapshots, error) {
	names, err := t.subvolumesIn(dir)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	all := receivedSnapshots{}
	for _, name := range names {
		path := filepath.Join(dir, name)
		sub, err := btrfs.Stat(path)
		if err != nil {
			return nil, err
		}
		all[sub.StreamUUID()] = append(all[sub.StreamUUID()], path)
	}
	return all, nil
}

// find is the path of the one that is the same as v, whatever its name, and "" when there is none.
func (r receivedSnapshots) find(v FrozenVersion) (string, error) {
	for _, path := range r[v.Members[0].StreamUUID] {
		if same, err := isReceived(path, v); err != nil || same {
			return path, err
		}
	}
	return "", nil
}

// isReceived says whether the snapshot at path, which need not exist, is the same as v.
func isReceived(path string, v FrozenVersion) (bool, error) {
	if ok, err := isSubvolume(path); err != nil || !ok {
		return false, err
	}
	own, err := btrfs.Stat(path)
	if err != nil || !own.ReadOnly || own.StreamUUID() != v.Members[0].StreamUUID {
		return false, err
	}
	nested, err := btrfs.List(path)
	if err != nil || len(nested) != len(v.Members)-1 {
		return false, err
	}
	for _, n := range nested {
		same := func(m Member) bool { return m.Path == "/"+n.Path && m.StreamUUID == n.StreamUUID() }
		if !slices.ContainsFunc(v.Members[1:], same) {
			return false, nil
		}
	}
	return true, nil
}

// takeOver puts a snapshot, which cannot be moved, into the stage as well.
func (s *OwnerStage) takeOver(ctx context.Context, path string, v FrozenVersion) error {
	to, err := s.SnapshotPath(v.Snapshot)
	if err != nil {
		return err
	}
	if len(v.Members) == 1 { // a read-only snapshot keeps the received UUID
		err = btrfs.Snapshot(path, to, true)
		crash.Point("tree.reuse.snapshot")
		return err
	}
	if err := btrfs.SnapshotTree(ctx, path, to, false); err != nil {
		return err
	}
	for _, m := range slices.Backward(v.Members) { // the deepest first
		err := btrfs.CopyReceived(filepath.Join(path, m.Path), filepath.Join(to, m.Path))
		if err == nil {
			err = btrfs.SetReadOnly(filepath.Join(to, m.Path), true)
		}
		if err != nil {
			return err
		}
	}
	crash.Point("tree.reuse.snapshot")
	return nil
}

// takeBases puts what streams build on where they look for it.
func (s *OwnerStage) takeBases(f *Frozen) error {
	for _, v := range f.bases() {
		if err := s.takeBase(v.received, v); err != nil {
			return err
		}
	}
	return nil
}

func (s *OwnerStage) takeBase(path string, v FrozenVersion) error {
	dir, err := s.Dir()
	if err != nil {
		return err
	}
	for _, m := range v.Members {
		to := filepath.Join(dir, fmt.Sprintf("b%d", len(s.parents)))
		if err := btrfs.SnapshotBare(filepath.Join(path, m.Path), to); err != nil {
			return err
		}
		base, err := btrfs.Stat(to)
		if err != nil {
			return err
		}
		if s.parents == nil {
			s.parents = map[string]string{}
		}
		s.parents[m.StreamUUID] = base.UUID
		crash.Point("tree.reuse.base")
	}
	return nil
}

// SameSnapshot says whether a snapshot of an instance is the one that these members are of: that one itself, or what was
// received from it.
func (t *Tree) SameSnapshot(name, snap string, members []Member) (bool, error) {
	path, err := t.SnapshotPath(name, snap)
	if err != nil || len(members) == 0 {
		return false, err
	}
	return isReceived(path, FrozenVersion{Members: members})
}

// Extend has a stage that replaces something keep all snapshots of these names, and streams find the snapshot base, one of them, as
// what they build on.
func (s *OwnerStage) Extend(ctx context.Context, names []string, base string) error {
	where := s.tree.snapshotsIn(s.place, s.dir)
	for _, snap := range names {
		path := filepath.Join(where, snap)
		of := Frozen{}
		err := of.add(snap, path, path)
		if err == nil {
			err = s.takeOver(ctx, path, of.Versions[0])
		}
		if err == nil && snap == base {
			err = s.takeBase(path, of.Versions[0])
		}
		if err != nil {
			return err
		}
	}
	return nil
}
