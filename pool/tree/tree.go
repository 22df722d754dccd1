package tree

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	dirContainers = "containers"
	dirSnapshots  = "containers-snapshots"
	dirImages     = "images"
	// dirCustom and dirCustomSnapshots hold the custom volumes, called PROJECT_NAME.
	dirCustom          = "custom"
	dirCustomSnapshots = "custom-snapshots"
	dirOwn             = ".poolctl"
	// subvolInode is the inode number of the root of every subvolume (BTRFS_FIRST_FREE_OBJECTID).
	subvolInode = 256
)

// Tree is one mounted pool. It holds the mount until Close. Its methods may be used by several goroutines and processes;
// who changes the same object twice at a time is for the caller to prevent.
type Tree struct {
	mnt  string
	root *os.File
	kept keptRecord
}

// Open opens the pool that is mounted at mnt. It fails with fs.ErrNotExist when mnt is not there, and with an error that
// says so when mnt is no root of a btrfs subvolume.
func Open(mnt string) (*Tree, error) {
	root, err := os.OpenFile(mnt, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open the pool: %w", err)
	}
	var sfs unix.Statfs_t
	var st unix.Stat_t
	if err := errors.Join(unix.Fstatfs(int(root.Fd()), &sfs), unix.Fstat(int(root.Fd()), &st)); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot open the pool %s: %w", mnt, err), root.Close())
	}
	if sfs.Type != unix.BTRFS_SUPER_MAGIC || st.Ino != subvolInode {
		return nil, errors.Join(fmt.Errorf("cannot open the pool %s: no btrfs file system is mounted there", mnt), root.Close())
	}
	return &Tree{mnt: mnt, root: root}, nil
}

// Close lets go of the mount.
func (t *Tree) Close() error { return t.root.Close() }

// Path is where the pool is mounted, as Open was given it.
func (t *Tree) Path() string { return t.mnt }

// layoutDir is a directory of a pool.
type layoutDir struct {
	name string // relative to the pool's root
	mode fs.FileMode
}

// layout are the directories that every pool has, each before those in it.
func layout() []layoutDir {
	return []layoutDir{
		{dirContainers, 0o711},
		{dirSnapshots, 0o711},
		{dirImages, 0o700},
		{dirCustom, 0o700},
		{dirCustomSnapshots, 0o700},
		{dirMachines, 0o700},
		{dirMachineSnapshots, 0o700},
		{dirBuckets, 0o711},
		{dirOwn, 0o700},
		{filepath.Join(dirOwn, "images"), 0o700},
		{filepath.Join(dirOwn, dirOriginals), 0o700},
		{filepath.Join(dirOwn, dirVolumeRecords), 0o700},
		{filepath.Join(dirOwn, "staging"), 0o700},
		{filepath.Join(dirOwn, dirTrash), 0o700},
	}
}

// Layout makes the directories that are missing, with LXD's modes. Whatever else is in the pool is left alone.
func (t *Tree) Layout() error {
	for _, d := range layout() {
		path := filepath.Join(t.mnt, d.name)
		err := os.Mkdir(path, d.mode)
		if errors.Is(err, fs.ErrExist) {
			if info, serr := os.Lstat(path); serr != nil || !info.IsDir() {
				return fmt.Errorf("cannot lay out the pool: %s is not a directory", path)
			}
			continue
		}
		if err == nil {
			err = os.Chmod(path, d.mode) // whatever the umask
		}
		if err != nil {
			return fmt.Errorf("cannot lay out the pool: %w", err)
		}
	}
	return nil
}

// InstancePath is the volume of the instance of that name, whether it exists or not.
func (t *Tree) InstancePath(name string) string { return filepath.Join(t.mnt, dirContainers, name) }

// ImagePath is the volume of the image of that fingerprint, whether it exists or not.
func (t *Tree) ImagePath(fingerprint string) string {
	return filepath.Join(t.mnt, dirImages, fingerprint)
}

// SnapshotPath is the volume of a snapshot; fs.ErrNotExist when there is none.
func (t *Tree) SnapshotPath(name, snap string) (string, error) {
	if err := errors.Join(checkComponent(name), checkComponent(snap)); err != nil {
		return "", err
	}
	path := t.snapshotPath(name, snap)
	ok, err := isSubvolume(path)
	if err == nil && !ok {
		err = &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return path, err
}

func (t *Tree) snapshotDir(name string) string { return filepath.Join(t.mnt, dirSnapshots, name) }

func (t *Tree) snapshotPath(name, snap string) string {
	return filepath.Join(t.mnt, dirSnapshots, name, snap)
}

func (t *Tree) imageRecordPath(fingerprint string) string {
	return filepath.Join(t.mnt, dirOwn, "images", fingerprint+".json")
}

func (t *Tree) staging() string { return filepath.Join(t.mnt, dirOwn, "staging") }
