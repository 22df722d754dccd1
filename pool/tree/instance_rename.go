package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
)

// RenameInstance gives an instance another name, with its snapshots: their directory first, then its volume, by which it is
// known. Nobody else may use the tree meanwhile. Killed in between, it is to be called again, and goes on; what has that name
// already is not touched, which is fs.ErrExist.
func (t *Tree) RenameInstance(from, to string) error {
	if err := errors.Join(checkComponent(from), ValidateInstanceName(to)); err != nil {
		return fmt.Errorf("cannot rename instance %s to %s: %w", from, to, err)
	}
	p := instances()
	err := renameIfThere(t.snapshotsIn(p, from), t.snapshotsIn(p, to))
	crash.Point("tree.rename.snapshots")
	if err == nil {
		err = renameIfThere(t.pathIn(p, from), t.pathIn(p, to))
	}
	if err == nil {
		err = btrfs.Sync(t.mnt)
	}
	if err != nil {
		return fmt.Errorf("cannot rename instance %s to %s: %w", from, to, err)
	}
	return nil
}

// renameIfThere renames within a directory, over nothing; what is not there was renamed before.
func renameIfThere(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("%s: %w", filepath.Base(filepath.Dir(from)), err)
}
