package tree

import (
	"context"
	"fmt"
	"slices"

	"poolctl/btrfs"
	"poolctl/pool/crash"
)

// Aside takes the snapshots aside as well: those that they were taken of may be changed and deleted then while f is open.
func (f *Frozen) Aside(ctx context.Context) error {
	f.synced = false
	for i, v := range f.Versions[:len(f.Versions)-1] {
		path := f.entry.Path(fmt.Sprintf("aside-%d", i))
		if err := btrfs.SnapshotTree(ctx, v.Path, path, true); err != nil {
			return err
		}
		crash.Point("tree.freeze.aside")
		of := Frozen{}
		if err := of.add(v.Snapshot, path, v.Path); err != nil {
			return err
		}
		f.Versions[i] = of.Versions[0]
	}
	return nil
}

// Record is the content of the record of the frozen instance, of that name, which lists the snapshots that were frozen with it,
// and no others: their entries are those in snaps. Where it is to say something else than it did, it is written.
func (f *Frozen) Record(name string, snaps []Snapshot) ([]byte, error) {
	path := f.Path()
	rec, raw, err := readRaw(path)
	if err != nil {
		return nil, err
	}
	listed := []Snapshot{}
	for _, v := range f.Versions[:len(f.Versions)-1] {
		i := slices.IndexFunc(snaps, func(s Snapshot) bool { return s.Name == v.Snapshot })
		if i < 0 {
			return nil, fmt.Errorf("there is no entry of the snapshot %s", v.Snapshot)
		}
		listed = append(listed, snaps[i])
	}
	if slices.EqualFunc(listed, asSnapshots(rec.entries), func(a, b Snapshot) bool { return a.Name == b.Name && b.Config != nil }) {
		return raw, nil
	}
	for i := range listed {
		if listed[i].Config == nil { // it says nothing: its own record does
			if own, err := f.tree.readRecord(f.Versions[i].Path, alone); err == nil {
				s := own.Container.snapshotOf(listed[i].Name, listed[i].CreatedAt)
				s.ExpiresAt, listed[i] = listed[i].ExpiresAt, s
			}
		}
		listed[i].normalise()
	}
	f.synced = false
	if err := btrfs.SetReadOnly(path, false); err != nil {
		return nil, err
	}
	rec.Container.Name = name
	if err := f.tree.writeRecord(path, rec.doc, rec.Container, entriesOf(listed)); err != nil {
		return nil, err
	}
	crash.Point("tree.freeze.recorded")
	if err := btrfs.SetReadOnly(path, true); err != nil {
		return nil, err
	}
	_, raw, err = readRaw(path)
	return raw, err
}
