package tree

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// dirTrash is the directory of what was deleted and can be had back, below dirOwn.
	dirTrash = "trash"
	// canPrefix begins the name of a directory in it.
	canPrefix = "can-"
	// The records in a can: of a custom volume, of an image, and of a snapshot the entry that its owner's record had of it.
	canVolumeRecord   = "volume.json"
	canImageRecord    = "image.json"
	canSnapshotRecord = "snapshot.json"
	canOriginals      = "originals"
)

// Trashed is something in the trash.
type Trashed struct {
	// ID names it there.
	ID string
	// Type is TypeInstance, TypeVolume, TypeImage, TypeInstanceSnapshot or TypeVolumeSnapshot.
	Type ObjectType
	// Name is what it was called: NAME/SNAP of a snapshot, the fingerprint of an image. A custom volume of another project
	// than the default one is called "PROJECT_NAME".
	Name string
	// Aliases are those of an image.
	Aliases   []string
	DeletedAt time.Time
	// Snapshots is how many snapshots of it there are with it.
	Snapshots int
	// Broken says why it cannot be had back: only ID and, where its name tells, DeletedAt are set then.
	Broken error
}

// Trash lists what is in the trash, in the order in which it was deleted.
func (t *Tree) Trash() ([]Trashed, error) {
	names, err := t.namesIn(filepath.Join(dirOwn, dirTrash))
	if err != nil {
		return nil, fmt.Errorf("cannot list the trash: %w", err)
	}
	out := make([]Trashed, 0, len(names))
	for _, n := range names {
		it, err := t.trashed(n)
		if errors.Is(err, fs.ErrNotExist) {
			if there, terr := exists(t.trashPath(n)); terr == nil && !there {
				continue // taken just now
			}
		}
		it.Broken = err
		out = append(out, it)
	}
	slices.SortStableFunc(out, func(a, b Trashed) int {
		return cmp.Or(a.DeletedAt.Compare(b.DeletedAt), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func (t *Tree) trashed(id string) (Trashed, error) {
	it := Trashed{ID: id}
	c, err := parseCan(t.trashPath(id))
	if err != nil {
		return it, err
	}
	it.DeletedAt = c.at
	l, err := c.lot()
	if err != nil {
		return it, err
	}
	it.Type, it.Name = l.kind, l.name()
	if l.hasSnapshots() {
		snaps, err := t.subvolumesIn(c.snapshots(l))
		if err != nil {
			return it, err
		}
		it.Snapshots = len(snaps)
	}
	if l.kind == TypeImage {
		if raw, err := readFile(filepath.Join(c.dir, canImageRecord), maxImageRecord); err == nil {
			if rec := parseStagedRecord(raw); rec != nil {
				it.Aliases = rec.Aliases
			}
		}
	}
	return it, nil
}

func (t *Tree) trashPath(id string) string { return filepath.Join(t.mnt, dirOwn, dirTrash, id) }

// lot is what one deletion puts into the trash: a volume with what belongs to it.
type lot struct {
	kind ObjectType
	// owner is the name of a directory: an instance's, a custom volume's (PROJECT_NAME) or an image's.
	owner string
	snap  string // of a snapshot
}

func (l lot) check() error {
	err := checkComponent(l.owner)
	if l.isSnapshot() {
		err = errors.Join(err, checkComponent(l.snap))
	}
	if l.kind == TypeImage {
		err = errors.Join(err, ValidateFingerprint(l.owner))
	}
	return err
}

func (l lot) isSnapshot() bool { return l.kind == TypeInstanceSnapshot || l.kind == TypeVolumeSnapshot }

// isReadOnly says whether its volume is read-only: that is to be taken off for a move.
func (l lot) isReadOnly() bool { return l.isSnapshot() || l.kind == TypeImage }

func (l lot) hasSnapshots() bool { return l.kind == TypeInstance || l.kind == TypeVolume }

func (l lot) place() place {
	if l.kind == TypeVolume || l.kind == TypeVolumeSnapshot {
		return customs()
	}
	return instances()
}

// path is that of its volume, in the pool and in a can.
func (l lot) path() string {
	switch {
	case l.kind == TypeImage:
		return filepath.Join(dirImages, l.owner)
	case l.isSnapshot():
		return filepath.Join(l.place().snapshots, l.owner, l.snap)
	}
	return filepath.Join(l.place().volumes, l.owner)
}

// name is what people call it.
func (l lot) name() string {
	name := l.owner
	if l.place() == customs() {
		name = strings.TrimPrefix(name, volumeDir(""))
	}
	if l.isSnapshot() {
		name += "/" + l.snap
	}
	return name
}

// at is its place in the pool.
func (t *Tree) at(l lot) string { return filepath.Join(t.mnt, l.path()) }

// can is the directory that holds a lot, in the trash, or in a journal entry on its way there or back:
//
//	can-TIME-INODE-RANDOM/containers/NAME           the volume, where it would be in a pool
//	                      containers-snapshots/NAME its snapshots
//	                      volume.json, image.json, snapshot.json, originals  what else there was of it
//
// TIME is that of the deletion, in nanoseconds since 1970. INODE is that of the directory of the snapshots, 0 when there is
// none: by it that is known wherever it is (see ownerName).
type can struct {
	dir   string
	at    time.Time
	inode uint64
}

// newCan names a can in an entry.
func newCan(entry string, inode uint64) can {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	now := time.Now()
	return can{filepath.Join(entry, fmt.Sprintf("%s%d-%d-%s", canPrefix, now.UnixNano(), inode, hex.EncodeToString(b[:]))), now, inode}
}

// errNoCan is of a name that is none of a can.
var errNoCan = errors.New("it is nothing that was deleted")

// parseCan reads the name of a can.
func parseCan(dir string) (can, error) {
	parts := strings.Split(filepath.Base(dir), "-")
	if len(parts) != 4 || parts[0]+"-" != canPrefix {
		return can{}, errNoCan
	}
	at, err := strconv.ParseInt(parts[1], 10, 64)
	inode, ierr := strconv.ParseUint(parts[2], 10, 64)
	if err != nil || ierr != nil || at < 0 {
		return can{}, errNoCan
	}
	return can{dir, time.Unix(0, at).UTC(), inode}, nil
}

// volume is where the volume of the lot is in the can.
func (c can) volume(l lot) string { return filepath.Join(c.dir, l.path()) }

// snapshots is where the directory of the snapshots is.
func (c can) snapshots(l lot) string { return filepath.Join(c.dir, l.place().snapshots, l.owner) }

func (c can) path(name string) string { return filepath.Join(c.dir, name) }

// make makes the can and the directories in it for the lot.
func (c can) make(l lot) error {
	dirs := []string{c.dir}
	if l.hasSnapshots() {
		dirs = append(dirs, c.path(l.place().snapshots))
	} else if l.isSnapshot() {
		dirs = append(dirs, filepath.Dir(c.snapshots(l)))
	}
	for _, d := range append(dirs, filepath.Dir(c.volume(l))) {
		if err := os.Mkdir(d, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// lot tells what is in the can; fs.ErrNotExist when there is no volume in it. It follows no symbolic link: the pool may be
// anybody's.
func (c can) lot() (lot, error) {
	none := &fs.PathError{Op: "open", Path: c.dir, Err: fs.ErrNotExist}
	if is, err := isDirectory(c.dir); err != nil || !is {
		return lot{}, cmp.Or(err, error(none))
	}
	for dir, kind := range map[string]ObjectType{dirContainers: TypeInstance, dirCustom: TypeVolume, dirImages: TypeImage} {
		names, there, err := directory(c.path(dir))
		if err != nil {
			return lot{}, err
		}
		if there && len(names) != 1 {
			return lot{}, none
		}
		if there {
			l := lot{kind: kind, owner: names[0]}
			return l, c.checkVolume(l)
		}
	}
	for dir, kind := range map[string]ObjectType{dirSnapshots: TypeInstanceSnapshot, dirCustomSnapshots: TypeVolumeSnapshot} {
		owners, there, err := directory(c.path(dir))
		if err != nil || there && len(owners) != 1 {
			return lot{}, cmp.Or(err, error(none))
		}
		if !there {
			continue
		}
		snaps, _, err := directory(filepath.Join(c.path(dir), owners[0]))
		if err != nil || len(snaps) != 1 {
			return lot{}, cmp.Or(err, error(none))
		}
		l := lot{kind, owners[0], snaps[0]}
		return l, c.checkVolume(l)
	}
	return lot{}, none
}

func (c can) checkVolume(l lot) error {
	if err := l.check(); err != nil {
		return err
	}
	is, err := isDirectory(c.volume(l))
	if err == nil && !is {
		err = &fs.PathError{Op: "open", Path: c.volume(l), Err: fs.ErrNotExist}
	}
	if err != nil || !l.hasSnapshots() {
		return err
	}
	for _, dir := range []string{c.path(l.place().snapshots), c.snapshots(l)} {
		if there, err := exists(dir); err != nil || !there {
			return err
		}
		if is, err := isDirectory(dir); err != nil || !is {
			return cmp.Or(err, error(&fs.PathError{Op: "open", Path: dir, Err: unix.ENOTDIR}))
		}
	}
	return nil
}

// directory lists what is at path, if it is a directory and no symbolic link to one.
func directory(path string) (names []string, there bool, err error) {
	if there, err = isDirectory(path); err != nil || !there {
		return nil, false, err
	}
	names, err = readNames(path)
	return names, true, err
}
