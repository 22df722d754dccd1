package state

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// DefaultRoot is the state directory when the user names none.
const DefaultRoot = "/var/lib/poolctl"

// defaultRun is where the live state of DefaultRoot is.
const defaultRun = "/run/poolctl"

// ErrNotRoot is what Open returns to a process that does not run as root.
var ErrNotRoot = errors.New("must be run as root")

// Dir is an opened state directory. It holds nothing open and may be shared by goroutines.
type Dir struct {
	// Root is absolute and without symbolic links, so that paths below it compare with /proc/self/mountinfo.
	Root string
	run  string
}

// Open opens the state directory root, makes what is missing of it and removes the temporary records of killed commands. It
// fails with ErrNotRoot when the process is not
// root, and otherwise with an error that names the directory that cannot be made or read.
func Open(root string) (*Dir, error) {
	abs, err := absolute(root)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(abs), 0o755); err != nil {
		return nil, fmt.Errorf("cannot make the state directory %s: %w", abs, err)
	}
	if err := makeDir(abs, 0o711); err != nil {
		return nil, err
	}
	d, err := find(abs)
	if err != nil {
		return nil, err
	}
	for _, folder := range []struct {
		path string
		mode fs.FileMode
	}{
		{d.Disks(), 0o700},
		{filepath.Join(d.Root, "storage-pools"), 0o711},
		{d.Pools(), 0o700},
		{d.Networks(), 0o711},
		{d.profiles(), 0o700},
		{d.cache(), 0o700},
		{d.Downloads(), 0o700},
		{d.Logs(), 0o700},
		{d.Run(), 0o711},
		{d.locks(), 0o700},
	} {
		if err := makeDir(folder.path, folder.mode); err != nil {
			return nil, err
		}
	}
	for _, dir := range []string{d.Root, d.Pools(), d.Networks(), d.profiles()} {
		if err := removeStale(dir); err != nil {
			return nil, fmt.Errorf("cannot clean up %s: %w", dir, err)
		}
	}
	return d, nil
}

// Find opens the state directory root as it is: fs.ErrNotExist when it has not been made, ErrNotRoot as from Open. For what
// lists or changes records, it has to be opened by Open first.
func Find(root string) (*Dir, error) {
	abs, err := absolute(root)
	if err != nil {
		return nil, err
	}
	return find(abs)
}

func absolute(root string) (string, error) {
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("cannot open the state directory %s: %w", root, ErrNotRoot)
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		return "", fmt.Errorf("cannot open the state directory %s: %w", root, err)
	}
	return abs, nil
}

func find(abs string) (*Dir, error) {
	resolved, err := filepath.EvalSymlinks(abs)
	if err != nil {
		return nil, fmt.Errorf("cannot open the state directory %s: %w", abs, err)
	}
	d := &Dir{Root: resolved, run: filepath.Join(resolved, "run")}
	if abs == DefaultRoot {
		d.run = defaultRun
	}
	return d, nil
}

// makeDir makes the directory path with exactly mode, whatever the umask. One that exists keeps the mode it has, which
// may be the user's wish.
func makeDir(path string, mode fs.FileMode) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("cannot open %s: %w", path, err)
		}
		if !info.IsDir() {
			return fmt.Errorf("cannot use %s: it is not a directory", path)
		}
		return nil
	}
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return fmt.Errorf("cannot make %s: %w", path, err)
	}
	return nil
}

// Pools is the directory of the pool records.
func (d *Dir) Pools() string { return filepath.Join(d.Root, "pools") }

// Networks is the directory of the network records; networks/NAME/ is the network's own.
func (d *Dir) Networks() string { return filepath.Join(d.Root, "networks") }

// Disks is the directory of the image files of pools whose source the user did not choose, mode 0700.
func (d *Dir) Disks() string { return filepath.Join(d.Root, "disks") }

// Logs is the directory of the instances' logs, mode 0700.
func (d *Dir) Logs() string { return filepath.Join(d.Root, "logs") }

// Run is the directory of live state: gone after a reboot for the default root, stale after one for any other.
func (d *Dir) Run() string { return d.run }

// MountPoint is where the pool of that name is mounted. The name must be a valid one (ValidateName). The directory is
// made by whoever mounts there.
func (d *Dir) MountPoint(pool string) string { return filepath.Join(d.Root, "storage-pools", pool) }

// DiskFile is the image file of the pool of that name when the user chose none.
func (d *Dir) DiskFile(pool string) string { return filepath.Join(d.Disks(), pool+".img") }

// Cache is the directory of the catalogue of the remote of that name; whoever writes there makes it. The name must be a
// valid one (ValidateName).
func (d *Dir) Cache(remote string) string { return filepath.Join(d.cache(), remote) }

// Downloads is the directory of what is kept of downloads that did not end, mode 0700.
func (d *Dir) Downloads() string { return filepath.Join(d.Root, "downloads") }

// RemoveCache removes the directory Cache. One that is not there is no error.
func (d *Dir) RemoveCache(remote string) error {
	if filepath.Base(remote) != remote || !filepath.IsLocal(remote) || remote == "." { // any other name is one directory's
		return fmt.Errorf("cannot remove the cache of remote %q: it is no name of a file: %w", remote, ErrInvalidName)
	}
	if err := os.RemoveAll(d.Cache(remote)); err != nil {
		return fmt.Errorf("cannot remove the cache of remote %s: %w", remote, err)
	}
	return nil
}

func (d *Dir) profiles() string { return filepath.Join(d.Root, "profiles") }
func (d *Dir) cache() string    { return filepath.Join(d.Root, "cache") }
func (d *Dir) locks() string    { return filepath.Join(d.run, "locks") }
