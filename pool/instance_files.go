package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/runtime"
	"poolctl/runtime/guestfs"
)

// Files are the files of an instance, with paths and ids as they are inside. See
// package guestfs for how they are kept from leading out of it.
type Files struct {
	*guestfs.Root
	s      *System
	pool   *openedPool
	unlock func()
}

// OpenFiles opens the files of an instance: of a running one as its init sees
// them, with what is mounted inside; of a stopped one, which is kept from being
// started, changed and deleted until they are closed.
func (s *System) OpenFiles(ctx context.Context, name string) (*Files, error) {
	f, err := s.openFiles(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("cannot open the files of %s: %w", name, err)
	}
	return f, nil
}

func (s *System) openFiles(ctx context.Context, name string) (*Files, error) {
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return nil, err
	}
	root, err := s.runningRoot(name)
	if err == nil { // who stops it need not wait
		in.unlock()
		return &Files{Root: root, s: s, pool: in.openedPool, unlock: func() {}}, nil
	}
	if errors.Is(err, runtime.ErrNotRunning) {
		root, err = stoppedRoot(in)
	}
	if err != nil {
		return nil, errors.Join(err, in.close())
	}
	return &Files{Root: root, s: s, pool: in.openedPool, unlock: in.unlock}, nil
}

// runningRoot is the root of a running instance.
func (s *System) runningRoot(name string) (_ *guestfs.Root, err error) {
	in, err := s.runningInstance(name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	dir, uids, gids, err := in.Root()
	if err != nil {
		return nil, err
	}
	return guestfs.New(dir, uids, gids), nil
}

// stoppedRoot is the root of an instance on disk.
func stoppedRoot(in *lockedInstance) (*guestfs.Root, error) {
	if in.rec.Broken != nil {
		return nil, in.rec.Broken
	}
	rootfs := filepath.Join(in.InstancePath(in.rec.Name), "rootfs")
	dir, err := openRootView(rootfs, in.rec.Config)
	if err == nil && dir == nil {
		dir, err = openPlace(rootfs)
	}
	if err != nil {
		return nil, err
	}
	return guestfs.New(dir, nil, nil), nil
}

// Close gives the files up.
func (f *Files) Close() error {
	err := f.Root.Close()
	f.unlock()
	return errors.Join(err, f.pool.close())
}

// smallFile is what is written without asking whether there is room, in bytes: a
// change of a setting may be what makes some.
const smallFile = 1 << 20

// Write makes or replaces a file: see guestfs.WriteFile. size is how much data
// comes from there, without holes, in bytes; -1 when it is not known. A pool that has no room for it is not
// filled up.
func (f *Files) Write(ctx context.Context, path string, from io.Reader, size int64, o guestfs.Owner) error {
	if size >= 0 && size <= smallFile || !f.SameFileSystem(path) {
		return f.WriteFile(ctx, path, interruptibleReader(ctx, from), o)
	}
	if size > 0 {
		if err := f.s.needSpace(ctx, f.pool.rec, spaceNeed{what: "the file", least: size, most: size}); err != nil {
			return err
		}
	}
	watch := f.s.watchSpace(ctx, f.pool.rec, "the file")
	defer watch.stop()
	err := f.WriteFile(watch.ctx, path, interruptibleReader(watch.ctx, from), o)
	return f.s.hintFull(f.pool.rec, watch.cause(err))
}

// Delete removes a file, a symbolic link itself, or an empty directory; with all a
// directory with all that is in it.
func (f *Files) Delete(path string, all bool) error {
	if all {
		return f.RemoveAll(path)
	}
	err := f.Remove(path)
	if errors.Is(err, unix.ENOTEMPTY) {
		err = withHint(unix.ENOTEMPTY, "--force deletes it with all that is in it")
	}
	return err
}

// MountFiles shows the directory at path in an instance's root at dir, writable,
// with the owners that are seen inside; with dir "" at a directory made for it
// below the state directory. The instance may run: what is mounted inside is not
// shown, but the files below that. Set-id programs and device nodes have no effect
// through it.
func (s *System) MountFiles(ctx context.Context, name, path, dir string) (where string, err error) {
	in, err := s.lockInstance(ctx, name)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, in.close()) }()
	if where, err = s.mountFiles(in, path, dir); err != nil {
		return "", fmt.Errorf("cannot mount %s of %s: %w", path, name, err)
	}
	return where, nil
}

func (s *System) mountFiles(in *lockedInstance, path, dir string) (_ string, err error) {
	root, err := openPlace(filepath.Join(in.InstancePath(in.rec.Name), "rootfs"))
	if err != nil {
		return "", err
	}
	files := guestfs.New(root, nil, nil)
	defer func() { err = errors.Join(err, files.Close()) }()
	place, err := files.OpenDir(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = place.Close() }() // a path only
	view, err := cloneRoot(place, unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV, in.rec.Config)
	if err != nil {
		return "", err
	}
	defer func() { _ = view.Close() }() // the mount stays
	return s.mountLook(in.rec.Name, dir, func(where string) error { return attachMount(view, where) })
}
