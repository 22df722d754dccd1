package tree

import (
	"context"
	"errors"
	"fmt"
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
	in, err := t.read(name, hasSnapshots, decodeListed)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return &in, err
}

// Instance returns the instance of that name with its snapshots; fs.ErrNotExist when there is none. One whose record
// cannot be read is returned with Broken set.
func (t *Tree) Instance(name string) (Instance, error) {
	if err := checkComponent(name); err != nil {
		return Instance{}, fmt.Errorf("cannot read instance %q: %w", name, err)
	}
	in, err := t.read(name, true, decodeRecord)
	if err != nil {
		return Instance{}, fmt.Errorf("cannot read instance %s: %w", name, err)
	}
	return in, nil
}

func (t *Tree) read(name string, hasSnapshots bool, decode func([]byte) (record, error)) (Instance, error) {
	path := t.InstancePath(name)
	rec, broken, err := readInstance(path, decode)
	if err != nil {
		return Instance{}, err
	}
	in := Instance{Name: name, Broken: broken}
	if broken == nil {
		in = *rec.Container
		in.Name = name
	}
	if hasSnapshots {
		if in.Snapshots, err = t.mergeSnapshots(name, rec.Snapshots); err != nil {
			return Instance{}, err
		}
	}
	return in, nil
}

// readInstance reads the record of the instance at path. An instance that is not there is fs.ErrNotExist; broken says why
// one that is there has no readable record.
func readInstance(path string, decode func([]byte) (record, error)) (rec record, broken, err error) {
	info, err := os.Lstat(path)
	if base := filepath.Base(path); err == nil && (!info.IsDir() || strings.HasPrefix(base, ".") || isLeftover(base)) {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		return record{}, nil, err
	}
	rec, _, broken = readRecordWith(path, decode)
	if errors.Is(broken, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err != nil {
			return record{}, nil, err // deleted just now
		}
	}
	return rec, broken, nil
}

// mergeSnapshots is the list of the snapshots that exist, oldest first: as recorded, and where there is no entry, with the
// time at which the subvolume was made.
func (t *Tree) mergeSnapshots(name string, recorded []Snapshot) ([]Snapshot, error) {
	names, err := t.snapshotNames(name)
	if err != nil {
		return nil, err
	}
	snaps := make([]Snapshot, 0, len(names))
	for _, n := range names {
		s := Snapshot{Name: n, Size: -1}
		if i := slices.IndexFunc(recorded, func(r Snapshot) bool { return r.Name == n }); i >= 0 {
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
		}
		snaps = append(snaps, s)
	}
	oldestFirst(snaps)
	return snaps, nil
}

// SnapshotEntries is what is recorded of the snapshots of an instance, oldest first; of those that are not recorded, what they
// say themselves.
func (t *Tree) SnapshotEntries(name string) ([]Snapshot, error) {
	rec, broken, err := readInstance(t.InstancePath(name), decodeRecord)
	if err = errors.Join(err, broken); err != nil {
		return nil, fmt.Errorf("cannot read instance %s: %w", name, err)
	}
	return t.listSnapshots(name, rec.Snapshots)
}

// snapshotNames names the snapshots of an instance that exist, unsorted.
func (t *Tree) snapshotNames(name string) ([]string, error) {
	return t.subvolumesIn(t.snapshotDir(name))
}

// subvolumesIn names the subvolumes in a directory, unsorted; one that is not there is empty.
func (t *Tree) subvolumesIn(dir string) ([]string, error) {
	all, err := readNames(dir)
	if err != nil {
		return nil, err
	}
	names := all[:0]
	for _, n := range all {
		ok, err := isSubvolume(filepath.Join(dir, n))
		if err != nil {
			return nil, err
		}
		if ok {
			names = append(names, n)
		}
	}
	return names, nil
}

// UpdateInstance changes the record of an instance and returns it as it is then. The new record replaces the old one by
// one rename; an error of change leaves the old one. An instance that is Broken cannot be updated.
func (t *Tree) UpdateInstance(name string, change func(*Instance) error) (Instance, error) {
	var in Instance
	err := t.withRecord(name, func(rec record, raw []byte) error {
		snaps, err := t.mergeSnapshots(name, rec.Snapshots)
		if err != nil {
			return err
		}
		in = *rec.Container
		in.Snapshots = slices.Clone(snaps)
		if err := change(&in); err != nil {
			return err
		}
		in.Name, in.Snapshots = name, snaps
		return writeRecord(t.InstancePath(name), raw, &in, snaps)
	})
	if err != nil {
		return in, fmt.Errorf("cannot update instance %s: %w", name, err)
	}
	return in, nil
}

// AdaptInstance changes the record of an instance together with its entries of the snapshots, of which only the
// configuration may be changed, when change says so: a record that is as it should be is not written.
func (t *Tree) AdaptInstance(name string, change func(*Instance) (changed bool, err error)) error {
	err := t.withRecord(name, func(rec record, raw []byte) error {
		snaps, err := t.listSnapshots(name, rec.Snapshots)
		if err != nil {
			return err
		}
		for i, s := range snaps {
			if s.Config == nil { // it says nothing: then the snapshot's own record counts
				snaps[i] = t.ownEntry(name, s.Name)
				snaps[i].CreatedAt, snaps[i].ExpiresAt = s.CreatedAt, s.ExpiresAt
			}
			snaps[i].normalise()
		}
		in := *rec.Container
		in.Snapshots = snaps
		changed, err := change(&in)
		if err != nil || !changed {
			return err
		}
		return writeRecord(t.InstancePath(name), raw, &in, snaps)
	})
	if err != nil {
		return fmt.Errorf("cannot update instance %s: %w", name, err)
	}
	return nil
}

// withRecord calls do with the record of an instance, and its bytes, while no other process changes it: the flock is on
// the instance's volume. It is not the instance's lock, which is the caller's business, but keeps Recover, which takes no
// such lock, from losing a change.
func (t *Tree) withRecord(name string, do func(record, []byte) error) (err error) {
	if err := checkComponent(name); err != nil {
		return err
	}
	lock, err := lockVolume(t.InstancePath(name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	rec, raw, err := readRecord(t.InstancePath(name))
	if err != nil {
		return err
	}
	rec.Container.Name = name
	return do(rec, raw)
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

// writeRecord replaces the record of the volume at path; old is its present content. Only root reads it, as LXD has it.
func writeRecord(path string, old []byte, in *Instance, snaps []Snapshot) error {
	raw, err := encodeRecord(old, in, snaps)
	if err == nil && len(raw) > maxRecord {
		err = fmt.Errorf("the record would have %d bytes, over the limit of %d", len(raw), maxRecord)
	}
	if err != nil {
		return err
	}
	return withHeadroom(path, func() error { return writeFile(path, recordFile, raw, 0o400) })
}
