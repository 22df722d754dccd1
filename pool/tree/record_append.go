package tree

import (
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"poolctl/btrfs"
)

// appendSnapshot adds a snapshot that was just made to the record of an instance that has many, whose time is then not that of
// reading and writing all of them: the end is read, and what comes before is shared. done is false where that will not do: for
// a record that is small, or is not as encodeRecord would write it for the snapshots that exist.
func (t *Tree) appendSnapshot(name string, made Snapshot) (done bool, err error) {
	path := t.InstancePath(name)
	lock, err := lockVolume(path)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	old, err := openFile(filepath.Join(path, recordFile))
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, old.Close()) }()
	info, err := old.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() < keptFrom || info.Size() > maxRecord/2 {
		return false, err
	}
	end, ok, err := readEnd(old, info.Size())
	if err != nil || !ok || !end.precedes(made) {
		return false, err
	}
	if listed, err := t.listsAllBut(name, end.names, made.Name); err != nil || !listed {
		return false, err
	}
	return true, t.writeAppended(path, old, &end, entry{Snapshot: made})
}

// precedes says whether the snapshot comes behind the last one, and is none of those that are there.
func (e *recordEnd) precedes(made Snapshot) bool {
	last := entry{raw: e.last}
	if !last.decodeHead() || last.Name != e.names[len(e.names)-1] {
		return false
	}
	two := []entry{{Snapshot: made}, last}
	sortEntries(two)
	return two[1].Name == made.Name && last.Name != made.Name
}

// listsAllBut says whether recorded and the name made are the snapshots of the instance that exist, each of them once.
func (t *Tree) listsAllBut(name string, recorded []string, made string) (bool, error) {
	known := make(map[string]int, len(recorded)+1)
	for i, n := range recorded {
		known[n] = i
	}
	known[made] = len(recorded)
	if len(known) != len(recorded)+1 {
		return false, nil
	}
	there, err := t.snapshotNames(name, known)
	if err != nil || len(there) != len(known) {
		return false, err
	}
	for _, n := range there {
		if _, ok := known[n]; !ok {
			return false, nil
		}
	}
	return true, nil
}

// writeAppended replaces the record old of the volume at path by one with another entry at its end.
func (t *Tree) writeAppended(path string, old *os.File, end *recordEnd, made entry) error {
	snapshot, err := made.encode()
	if err != nil {
		return err
	}
	volumes, err := volumeSnapshots([]entry{made}, nil)
	if err != nil {
		return err
	}
	text := end.with(snapshot, volumes[0])
	shared := sharedUnits(end.appendAt())
	scattered, err := btrfs.CompressedExtents(old, shared)
	if err != nil {
		return err
	}
	whole := func(to io.Writer) error { return end.write(to, old, 0, text) }
	if gatherNow(scattered) && writeFileBy(path, recordFile, 0, recordMode, btrfs.WriteOut, whole) == nil {
		return nil
	}
	return t.replaceRecord(path, int(end.from)+len(text), func(to io.Writer) error { //nolint:gosec // below maxRecord
		if file, ok := to.(*os.File); ok && shared > 0 && shareBeginning(file, old, shared) == nil {
			return end.write(to, old, shared, text)
		}
		return whole(to)
	})
}

// write writes what the record old has between begin and the end, and text instead of that.
func (e *recordEnd) write(to io.Writer, old *os.File, begin int64, text []byte) error {
	if begin >= e.from {
		_, err := to.Write(text[begin-e.from:])
		return err
	}
	if _, err := io.Copy(to, io.NewSectionReader(old, begin, e.from-begin)); err != nil {
		return err
	}
	_, err := to.Write(text)
	return err
}

const (
	// scatteredExtents is how many compressed extents a record may share without a thought.
	scatteredExtents = 2
	// gatherOdds says that one in so many snapshots gathers a record that has more.
	gatherOdds = 64
)

// gatherNow says whether a record that would share so many compressed extents is better written whole, not compressed, which makes
// it one extent. Each extent that a record shares makes each snapshot dearer: its reference goes to another place of the extent
// tree. Chance decides, so that no pattern of snapshots made and deleted, and no option of the file system that compresses it
// after all, writes it whole each time: on average, a snapshot takes a small part of it more.
func gatherNow(scattered int) bool {
	return scattered > scatteredExtents && rand.N(gatherOdds) == 0
}
