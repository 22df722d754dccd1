package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"
)

// ParseRecord reads what a backup says of an instance: the content of a backup.yaml. Snapshots are as listed there, and Name is
// not set.
func ParseRecord(raw []byte) (Instance, error) {
	if len(raw) > maxRecord {
		return Instance{}, fmt.Errorf("the record has %d bytes, over the limit of %d", len(raw), maxRecord)
	}
	rec, err := decodeRecord(raw, whole)
	if err != nil {
		return Instance{}, fmt.Errorf("cannot read the record: %w", err)
	}
	in := *rec.Container
	in.Snapshots = asSnapshots(rec.entries)
	for i := range in.Snapshots { // LXD before 4.0 wrote INSTANCE/SNAPSHOT
		in.Snapshots[i].Name = in.Snapshots[i].Name[strings.LastIndexByte(in.Snapshots[i].Name, '/')+1:]
	}
	return in, nil
}

// Record reads the record that was staged with the volume.
func (s *InstanceStage) Record() (Instance, error) {
	raw, err := readFile(s.Path()+"/"+recordFile, maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("it has no %s", recordFile)
	}
	if err != nil {
		return Instance{}, err
	}
	return ParseRecord(raw)
}

// Entries are the entries of the staged snapshots of these names: as listed, or else as their own records say.
func (s *InstanceStage) Entries(names []string, listed []Snapshot) ([]Snapshot, error) {
	out := make([]Snapshot, 0, len(names))
	for _, name := range names {
		sn := Snapshot{Name: name, Size: -1}
		if i := slices.IndexFunc(listed, func(l Snapshot) bool { return l.Name == name }); i >= 0 {
			sn = listed[i]
		}
		path, err := s.SnapshotPath(name)
		if err != nil {
			return nil, err
		}
		if own, err := s.tree.readRecord(path, alone); err == nil && len(sn.Config) == 0 && len(sn.ExpandedDevices) == 0 {
			from := own.Container.snapshotOf(name, sn.CreatedAt)
			from.ExpiresAt, sn = sn.ExpiresAt, from
		}
		if sn.CreatedAt.IsZero() {
			sn.CreatedAt = time.Now().UTC()
		}
		sn.normalise()
		out = append(out, sn)
	}
	return out, nil
}
