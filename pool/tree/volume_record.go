package tree

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/pool/journal"
)

const (
	opVolumeUpdate = "volume-update"
	// dirVolumeRecords is the directory of the records of custom volumes, below dirOwn.
	dirVolumeRecords = "volumes"
	// entryVolumeRecord is the record of a custom volume in the entry of its creation, deletion or renaming: another name of
	// the file that is in the place of the record, as long as nobody else has put one there.
	entryVolumeRecord = "volume.json"
	// entryNewRecord is a record on its way from the entry to its place.
	entryNewRecord  = "record.new"
	maxVolumeRecord = 4 << 20
)

// volumeRecord is what is known of a custom volume beyond its content: LXD has that in its database.
type volumeRecord struct {
	Description string            `json:"description"`
	Config      map[string]string `json:"config"`
	CreatedAt   time.Time         `json:"created_at"`
	// Snapshots may have entries of snapshots that there are not (yet, or any more): those mean nothing.
	Snapshots []VolumeSnapshot `json:"snapshots"`
}

func (t *Tree) volumeRecords() string { return filepath.Join(t.mnt, dirOwn, dirVolumeRecords) }

func (t *Tree) volumeRecordPath(dir string) string {
	return filepath.Join(t.volumeRecords(), dir+".json")
}

// readVolumeRecord reads the record of the custom volume in that directory. One that is not there is empty.
func (t *Tree) readVolumeRecord(dir string) (volumeRecord, error) {
	path := t.volumeRecordPath(dir)
	raw, err := readFile(path, maxVolumeRecord)
	var rec volumeRecord
	if err == nil {
		rec, err = decodeVolumeRecord(raw)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return volumeRecord{Config: map[string]string{}}, fmt.Errorf("%s is damaged: %w", path, err)
	}
	fillMaps(&rec.Config)
	return rec, nil
}

func decodeVolumeRecord(raw []byte) (volumeRecord, error) {
	var rec volumeRecord
	if err := json.Unmarshal(raw, &rec); err != nil {
		return volumeRecord{}, err
	}
	fillMaps(&rec.Config)
	return rec, nil
}

// changeVolumeRecord changes the record of the custom volume in that directory. Entries of snapshots that there are not are
// kept out of the new one, but for the one named keep. The new record is made in the entry: nothing is left of it when this
// is killed.
func (t *Tree) changeVolumeRecord(e *journal.Entry, dir, keep string, change func(*volumeRecord) error) error {
	return t.lockedVolumeRecords(func() error {
		rec, err := t.readVolumeRecord(dir)
		if err != nil {
			return err
		}
		if err := change(&rec); err != nil {
			return err
		}
		names, err := t.subvolumesIn(t.snapshotsIn(customs(), dir))
		if err != nil {
			return err
		}
		rec.Snapshots = slices.DeleteFunc(rec.Snapshots, func(s VolumeSnapshot) bool {
			return s.Name != keep && !slices.Contains(names, s.Name)
		})
		raw, err := encodeVolumeRecord(rec)
		if err != nil {
			return err
		}
		if err := t.withReserve(func() error { return writeFile(e.Dir(), entryNewRecord, raw, 0o600) }); err != nil {
			return err
		}
		return os.Rename(e.Path(entryNewRecord), t.volumeRecordPath(dir))
	})
}

func encodeVolumeRecord(rec volumeRecord) ([]byte, error) {
	fillMaps(&rec.Config)
	rec.Snapshots = orEmpty(rec.Snapshots)
	for i := range rec.Snapshots {
		fillMaps(&rec.Snapshots[i].Config)
	}
	raw, err := json.MarshalIndent(rec, "", "  ")
	if err == nil && len(raw) >= maxVolumeRecord {
		err = fmt.Errorf("the record would have %d bytes, over the limit of %d", len(raw), maxVolumeRecord)
	}
	return append(raw, '\n'), err
}

// lockedVolumeRecords calls do while no other process writes a record of a custom volume. It is not the volume's lock,
// which is the caller's business, but keeps Recover, which takes no such lock, from losing a change.
func (t *Tree) lockedVolumeRecords(do func() error) error {
	if err := os.Mkdir(t.volumeRecords(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err // a pool of an older version has no such directory
	}
	lock, err := lockVolume(t.volumeRecords())
	if err != nil {
		return err
	}
	return errors.Join(do(), lock.Close())
}

// stageVolumeRecord writes the record of a new custom volume into the entry, and gives the file its name among the records
// as well.
func (t *Tree) stageVolumeRecord(e *journal.Entry, dir string, rec volumeRecord) error {
	raw, err := encodeVolumeRecord(rec)
	if err == nil {
		err = t.withReserve(func() error { return writeFile(e.Dir(), entryVolumeRecord, raw, 0o600) })
	}
	if err != nil {
		return err
	}
	return t.linkVolumeRecord(e, e.Path(entryVolumeRecord), dir)
}

// linkVolumeRecord makes the record that is held the one of the custom volume in that directory.
func (t *Tree) linkVolumeRecord(e *journal.Entry, held, dir string) error {
	return t.lockedVolumeRecords(func() error {
		if err := os.Link(held, e.Path(entryNewRecord)); err != nil {
			return err
		}
		return os.Rename(e.Path(entryNewRecord), t.volumeRecordPath(dir))
	})
}

// holdVolumeRecord gives the record of a custom volume a second name, which is held. A volume of LXD's has none.
func (t *Tree) holdVolumeRecord(held, dir string) error {
	return t.lockedVolumeRecords(func() error {
		err := os.Link(t.volumeRecordPath(dir), held)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// fetchVolumeRecord takes the record of the custom volume away if it is the one that is held: another one belongs to a new
// volume of that name.
func (t *Tree) fetchVolumeRecord(path, dir string) error {
	held, err := fileInode(path)
	if err != nil || held == 0 {
		return err
	}
	return t.lockedVolumeRecords(func() error {
		named, err := fileInode(t.volumeRecordPath(dir))
		if err != nil || named != held {
			return err
		}
		return os.Remove(t.volumeRecordPath(dir))
	})
}

// fileInode is the inode number of the regular file at path, 0 when there is none.
func fileInode(path string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	} else if err != nil {
		return 0, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return 0, nil
	}
	return st.Ino, nil
}

// UpdateVolume changes the record of a custom volume and returns the volume as it is then. Of the snapshots the
// descriptions, configurations and expiries can be changed. An error of change leaves all as it is.
func (t *Tree) UpdateVolume(name string, change func(*Volume) error) (Volume, error) {
	v, err := t.readableVolume(name)
	if err == nil {
		err = t.updateVolume(&v, change)
	}
	if err != nil {
		return v, fmt.Errorf("cannot update volume %s: %w", name, err)
	}
	return v, nil
}

func (t *Tree) updateVolume(v *Volume, change func(*Volume) error) error {
	e, err := journal.BeginUnsynced(context.Background(), t.staging(), opVolumeUpdate, nil)
	if err != nil {
		return err
	}
	dir := volumeDir(v.Name)
	err = t.changeVolumeRecord(e, dir, "", func(rec *volumeRecord) error {
		snaps, err := t.volumeSnapshots(dir, rec.Snapshots)
		if err != nil {
			return err
		}
		v.Description, v.Config, v.Snapshots = rec.Description, rec.Config, snaps
		if err := change(v); err != nil {
			return err
		}
		rec.Description, rec.Config, rec.CreatedAt = v.Description, v.Config, v.CreatedAt
		rec.Snapshots = slices.Clone(v.Snapshots)
		return nil
	})
	return abandon(e, err)
}

// readableVolume is a custom volume whose record can be read.
func (t *Tree) readableVolume(name string) (Volume, error) {
	v, err := t.Volume(name)
	if err == nil {
		err = v.Broken
	}
	return v, err
}
