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
