package tree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

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
