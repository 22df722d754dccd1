package pool

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"poolctl/runtime/guestfs"
)

// SnapshotOfPath says which snapshot of an instance a path begins with, "/SNAPSHOT" or
// "/SNAPSHOT/PATH", and what the rest of it is; "" and the path itself when that is no
// snapshot's name. "//PATH" is always the instance's own.
func (s *System) SnapshotOfPath(ctx context.Context, instance, path string) (snap, rest string, err error) {
	first, below, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if first == "" {
		return "", path, nil
	}
	p, in, err := s.findInstance(ctx, instance)
	if err != nil {
		return "", path, err
	}
	if err := p.close(); err != nil {
		return "", path, err
	}
	if !slices.Contains(instanceSnapshotNames(in), first) {
		return "", path, nil
	}
	return first, "/" + below, nil
}

// RefuseSnapshotPath refuses to change what is at a path that begins with a snapshot.
func (s *System) RefuseSnapshotPath(ctx context.Context, instance, path string) error {
	snap, _, err := s.SnapshotOfPath(ctx, instance, path)
	if err != nil || snap == "" {
		return err
	}
	return withHint(fmt.Errorf("%s/%s is a snapshot, which is read-only", instance, snap), "%s/%s is the path in the instance itself", instance, path)
}

// OpenSnapshotFiles opens the files of a snapshot of an instance, to be read, with
// owners and modes as inside.
func (s *System) OpenSnapshotFiles(ctx context.Context, name, snap string) (_ *Files, err error) {
	ref := name + "/" + snap
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cannot open the files of %s: %w", ref, err)
	}
	root, err := snapshotRoot(in, snap)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open the files of %s: %w", ref, snapshotError(err, name)), in.close())
	}
	return &Files{Root: root, s: s, pool: in.openedPool, unlock: in.unlock}, nil // it is not deleted meanwhile
}

// snapshotRoot is the root of a snapshot.
func snapshotRoot(in *lockedInstance, snap string) (*guestfs.Root, error) {
	volume, err := in.SnapshotPath(in.rec.Name, snap)
	if err != nil {
		return nil, err
	}
	rec, err := in.InstanceAt(in.rec.Name, snap)
	if err != nil {
		return nil, err
	}
	rootfs := filepath.Join(volume, "rootfs")
	dir, err := openRootView(rootfs, rec.Config)
	if err == nil && dir == nil {
		dir, err = openPlace(rootfs)
	}
	if err != nil {
		return nil, err
	}
	return guestfs.New(dir, nil, nil), nil
}
