package tree

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"

	"poolctl/btrfs"
)

// appendSnapshot adds a snapshot that was just made to the record of an instance that has many, whose time is then not that of
// decoding and writing all of them: the record is looked through, what comes before the end of its list is shared, and the rest is
// written. done is false where that will not do: for a record that is small, that document.write did not write, or that lists
// anything else than the other snapshots that exist.
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
	if err != nil || !info.Mode().IsRegular() || info.Size() < keptFrom || info.Size() > maxRecord {
		return false, err
	}
	scan, ok, err := scanRecord(old, info.Size())
	if err != nil || !ok {
		return false, err
	}
	if listed, err := t.listsAllBut(name, scan.names, made.Name); err != nil || !listed {
		return false, err
	}
	return true, t.writeAppended(path, old, info.Size(), scan, entry{Snapshot: made})
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

// writeAppended replaces the record old, of size bytes, of the volume at path by one with another entry at the end of its lists.
func (t *Tree) writeAppended(path string, old *os.File, size int64, scan recordScan, made entry) error {
	snapshot, err := made.encode()
	if err != nil {
		return err
	}
	volumes, err := volumeSnapshots([]entry{made}, nil)
	if err != nil {
		return err
	}
	shared := sharedUnits(scan.snapshotsEnd)
	end := make([]byte, size-shared)
	if _, err := io.ReadFull(io.NewSectionReader(old, shared, size), end); err != nil {
		return err
	}
	snapshotsEnd, volumesEnd := scan.snapshotsEnd-shared, scan.volumesEnd-shared
	text := make([]byte, 0, len(end)+len(snapshot)+len(volumes[0])+4)
	text = append(append(append(text, end[:snapshotsEnd]...), ",\n"...), snapshot...)
	text = append(append(append(text, end[snapshotsEnd:volumesEnd]...), ",\n"...), volumes[0]...)
	text = append(text, end[volumesEnd:]...)
	if size := shared + int64(len(text)); size > maxRecord {
		return tooLarge(size)
	}
	whole := func(to io.Writer) error {
		if _, err := io.Copy(to, io.NewSectionReader(old, 0, shared)); err != nil {
			return err
		}
		_, err := to.Write(text)
		return err
	}
	// What cannot be counted, or has no room when it is whole, is written as ever.
	scattered, err := btrfs.CompressedExtents(old, shared)
	if err == nil && gatherNow(scattered) && writeFileBy(path, recordFile, 0, recordMode, btrfs.WriteOut, whole) == nil {
		return nil
	}
	return t.replaceRecord(path, int(size), func(to io.Writer) error {
		if file, ok := to.(*os.File); ok && shared > 0 && shareBeginning(file, old, shared) == nil {
			_, err := to.Write(text)
			return err
		}
		return whole(to)
	})
}

func tooLarge(size int64) error {
	return fmt.Errorf("the record would have %d bytes, over the limit of %d", size, maxRecord)
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
