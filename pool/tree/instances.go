package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// readers is the most goroutines that read records at the same time.
const readers = 4

// Instances lists the instances, sorted by name. Pool and ProfileInfo are left out, and of the snapshots all but Name,
// CreatedAt, ExpiresAt and Stateful. An instance whose record cannot be read is in the list, with Broken set.
func (t *Tree) Instances(ctx context.Context) ([]Instance, error) {
	names, err := readNames(filepath.Join(t.mnt, dirContainers))
	if err != nil {
		return nil, fmt.Errorf("cannot list the instances: %w", err)
	}
	withSnapshots, err := readNames(filepath.Join(t.mnt, dirSnapshots))
	if err != nil {
		return nil, fmt.Errorf("cannot list the snapshots: %w", err)
	}
	slices.Sort(names)
	slices.Sort(withSnapshots)
	found := make([]*Instance, len(names))
	errs := make([]error, len(names))
	var next sync.Mutex
	at := 0
	take := func() int {
		next.Lock()
		defer next.Unlock()
		at++
		return at - 1
	}
	var group sync.WaitGroup
	for range min(readers, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := take(); i < len(names) && ctx.Err() == nil; i = take() {
				_, has := slices.BinarySearch(withSnapshots, names[i])
				found[i], errs[i] = t.listed(names[i], has)
			}
		})
	}
	group.Wait()
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return nil, fmt.Errorf("cannot list the instances: %w", err)
	}
	all := make([]Instance, 0, len(names))
	for _, in := range found {
		if in != nil {
			all = append(all, *in)
		}
	}
	return all, nil
}

// listed reads one instance of a list: nil when name is no directory, or was deleted meanwhile.
func (t *Tree) listed(name string, hasSnapshots bool) (*Instance, error) {
	in, err := t.read(name, hasSnapshots, listed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &in, err
}

// Instance returns the instance of that name with its snapshots; fs.ErrNotExist when there is none. One whose record
// cannot be read is returned with Broken set.
func (t *Tree) Instance(name string) (Instance, error) { return t.instance(name, true, whole) }

// BriefInstance is Instance with no more of the snapshots than Name, CreatedAt, ExpiresAt and Stateful: with a thousand of
// them, that is what takes the time.
func (t *Tree) BriefInstance(name string) (Instance, error) { return t.instance(name, true, brief) }

// InstanceAlone is Instance without its snapshots: then the time that it takes is not that of their number.
func (t *Tree) InstanceAlone(name string) (Instance, error) { return t.instance(name, false, alone) }

// HasInstance is nil for an instance that there is, whatever its record says; fs.ErrNotExist otherwise.
func (t *Tree) HasInstance(name string) error {
	if err := checkComponent(name); err != nil {
		return fmt.Errorf("cannot find instance %q: %w", name, err)
	}
	return checkInstance(t.InstancePath(name))
}

func (t *Tree) instance(name string, withSnapshots bool, how detail) (Instance, error) {
	if err := checkComponent(name); err != nil {
		return Instance{}, fmt.Errorf("cannot read instance %q: %w", name, err)
	}
	in, err := t.read(name, withSnapshots, how)
	if err != nil {
		return Instance{}, fmt.Errorf("cannot read instance %s: %w", name, err)
	}
	return in, nil
}

func (t *Tree) read(name string, hasSnapshots bool, how detail) (Instance, error) {
	path := t.InstancePath(name)
	rec, broken, err := t.readInstance(path, how)
	if err != nil {
		return Instance{}, err
	}
	dropUnfinished(path)
	in := Instance{Name: name, Broken: broken}
	if broken == nil {
		in = *rec.Container
		in.Name = name
	}
	if hasSnapshots {
		entries, err := t.mergeEntries(name, rec.entries)
		if err != nil {
			return Instance{}, err
		}
		in.Snapshots = asSnapshots(entries)
	}
	return in, nil
}

// readInstance reads the record of the instance at path. An instance that is not there is fs.ErrNotExist; broken says why
// one that is there has no readable record.
func (t *Tree) readInstance(path string, how detail) (rec record, broken, err error) {
	if err := checkInstance(path); err != nil {
		return record{}, nil, err
	}
	rec, broken = t.readRecord(path, how)
	if errors.Is(broken, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err != nil {
			return record{}, nil, err // deleted just now
		}
	}
	return rec, broken, nil
}

// checkInstance is fs.ErrNotExist when there is no volume of an instance at path.
func checkInstance(path string) error {
	info, err := os.Lstat(path)
	if base := filepath.Base(path); err == nil && (!info.IsDir() || strings.HasPrefix(base, ".") || isLeftover(base)) {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return err
}

// mergeEntries is the list of the snapshots that exist, oldest first: as recorded, and where there is no entry, with the
// time at which the subvolume was made.
func (t *Tree) mergeEntries(name string, recorded []entry) ([]entry, error) {
	known := entriesByName(recorded)
	names, err := t.snapshotNames(name, known)
	if err != nil {
		return nil, err
	}
	return t.entriesNamed(name, names, recorded, known)
}

func (t *Tree) entriesNamed(name string, names []string, recorded []entry, known map[string]int) ([]entry, error) {
	snaps := make([]entry, 0, len(names))
	for _, n := range names {
		s := entry{Snapshot: Snapshot{Name: n, Size: -1}}
		if i, there := known[n]; there {
			s = recorded[i]
		}
		if s.CreatedAt.IsZero() {
			sub, err := btrfs.Stat(t.snapshotPath(name, n))
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted just now
			} else if err != nil {
				return nil, err
			}
			s.CreatedAt = sub.CreatedAt.UTC()
			s.changed = !s.brief
		}
		snaps = append(snaps, s)
	}
	sortEntries(snaps)
	return snaps, nil
}

// SnapshotEntries is what is recorded of the snapshots of an instance, oldest first; of those that are not recorded, what they
// say themselves.
func (t *Tree) SnapshotEntries(name string) ([]Snapshot, error) {
	rec, broken, err := t.readInstance(t.InstancePath(name), whole)
	if err = errors.Join(err, broken); err != nil {
		return nil, fmt.Errorf("cannot read instance %s: %w", name, err)
	}
	entries, err := t.listEntries(name, rec.entries)
	return asSnapshots(entries), err
}

// entriesByName are the places of entries by their names, of several the first.
func entriesByName(entries []entry) map[string]int {
	known := make(map[string]int, len(entries))
	for i := range entries {
		if _, there := known[entries[i].Name]; !there {
			known[entries[i].Name] = i
		}
	}
	return known
}

// snapshotNames names the snapshots of an instance that exist, unsorted. Of those that are recorded it is enough that they are
// directories.
func (t *Tree) snapshotNames(name string, recorded map[string]int) ([]string, error) {
	return t.subvolumesBut(t.snapshotDir(name), recorded)
}

// TakenSnapshotNames names what is in the directory of an instance's snapshots, unsorted: no new one can have such a name.
func (t *Tree) TakenSnapshotNames(name string) ([]string, error) {
	if err := checkComponent(name); err != nil {
		return nil, err
	}
	names, err := readNames(t.snapshotDir(name))
	if err != nil {
		return nil, fmt.Errorf("cannot list the snapshots of %s: %w", name, err)
	}
	return names, nil
}

// subvolumesIn names the subvolumes in a directory, unsorted; one that is not there is empty.
func (t *Tree) subvolumesIn(dir string) ([]string, error) { return t.subvolumesBut(dir, nil) }

// subvolumesBut is subvolumesIn that takes the directories of known names for subvolumes: to look at each takes some
// microseconds, and an instance may have a thousand.
func (t *Tree) subvolumesBut(dir string, known map[string]int) (names []string, err error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	names = make([]string, 0, len(all))
	for _, e := range all {
		if !e.IsDir() {
			continue
		}
		n := e.Name()
		if _, ok := known[n]; !ok {
			if ok, err = isSubvolumeAt(f, n); err != nil {
				return nil, err
			} else if !ok {
				continue
			}
		}
		names = append(names, n)
	}
	return names, nil
}

// UpdateInstance changes the record of an instance and returns it as it is then. The new record replaces the old one by
// one rename; an error of change leaves the old one. Of the snapshots there is what BriefInstance has. An instance that is
// Broken cannot be updated.
func (t *Tree) UpdateInstance(name string, change func(*Instance) error) (Instance, error) {
	var in Instance
	err := t.withRecord(name, brief, func(rec record) error {
		snaps, err := t.mergeEntries(name, rec.entries)
		if err != nil {
			return err
		}
		in = *rec.Container
		in.Snapshots = asSnapshots(snaps)
		if err := change(&in); err != nil {
			return err
		}
		in.Name, in.Snapshots = name, asSnapshots(snaps)
		return t.writeRecord(t.InstancePath(name), rec.doc, &in, snaps)
	})
	if err != nil {
		return in, fmt.Errorf("cannot update instance %s: %w", name, err)
	}
	return in, nil
}

// AdaptInstance changes the record of an instance together with its entries of the snapshots, of which only the
// configuration may be changed, when change says so: a record that is as it should be is not written.
func (t *Tree) AdaptInstance(name string, change func(*Instance) (changed bool, err error)) error {
	err := t.withRecord(name, whole, func(rec record) error {
		snaps, err := t.listEntries(name, rec.entries)
		if err != nil {
			return err
		}
		in := *rec.Container
		in.Snapshots = make([]Snapshot, len(snaps))
		for i, s := range snaps {
			if s.Config == nil { // it says nothing: then the snapshot's own record counts
				own := t.ownEntry(name, s.Name)
				own.CreatedAt, own.ExpiresAt = s.CreatedAt, s.ExpiresAt
				s.Snapshot = own
			}
			s.normalise()
			in.Snapshots[i] = s.Snapshot
		}
		changed, err := change(&in)
		if err != nil || !changed {
			return err
		}
		for i := range snaps {
			snaps[i].Snapshot, snaps[i].changed = in.Snapshots[i], true
		}
		return t.writeRecord(t.InstancePath(name), rec.doc, &in, snaps)
	})
	if err != nil {
		return fmt.Errorf("cannot update instance %s: %w", name, err)
	}
	return nil
}

// withRecord calls do with the record of an instance while no other process changes it: the flock is on
// the instance's volume. It is not the instance's lock, which is the caller's business, but keeps Recover, which takes no
// such lock, from losing a change.
func (t *Tree) withRecord(name string, how detail, do func(record) error) (err error) {
	if err := checkComponent(name); err != nil {
		return err
	}
	lock, err := lockVolume(t.InstancePath(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	rec, err := t.readRecord(t.InstancePath(name), how)
	if err != nil {
		return err
	}
	rec.Container.Name = name
	return do(rec)
}

// lockVolume takes the flock of the volume that path names, also when another one takes its place meanwhile (a restore).
func lockVolume(path string) (*os.File, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if err != nil {
			return nil, err
		}
		if err := flock(f); err != nil {
			return nil, errors.Join(fmt.Errorf("cannot lock %s: %w", path, err), f.Close())
		}
		held, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		named, err := os.Lstat(path)
		if err == nil && os.SameFile(held, named) {
			return f, nil
		}
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
	}
}

// flock waits for the exclusive lock: the others hold it for some milliseconds.
func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// writeRecord replaces the record of the volume at path; old is its present content.
func (t *Tree) writeRecord(path string, old document, in *Instance, snaps []entry) error {
	doc, err := encodeRecord(old, in, snaps)
	size := doc.size()
	if err == nil && size > maxRecord {
		err = tooLarge(int64(size))
	}
	if err != nil {
		return err
	}
	return t.replaceRecord(path, size, func(to io.Writer) error {
		w := newSharingWriter(to, old, filepath.Join(path, recordFile))
		return errors.Join(doc.write(w), w.Close())
	})
}

// recordMode: only root reads a record, as LXD has it.
const recordMode = 0o400

// replaceRecord replaces the record of the volume at path by what content writes, about size bytes.
func (t *Tree) replaceRecord(path string, size int, content func(io.Writer) error) error {
	return t.withReserve(func() error {
		return withHeadroom(path, func() error {
			return writeFileBy(path, recordFile, size, recordMode, btrfs.WriteOut, content)
		})
	})
}
