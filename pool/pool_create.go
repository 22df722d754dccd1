package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// minPoolSize is the smallest pool: the smallest file system of mkfs.btrfs with
// its default profiles, in whole MiB.
const minPoolSize = (btrfs.MinSize + 1<<20 - 1) &^ (1<<20 - 1)

// creating is the journal's record of a pool that is being made.
type creating struct {
	Name string `json:"name"`
	Path string `json:"path"`
	// Dev and Inode identify the file once it exists; a file at Path that is
	// another one is the user's and stays.
	Dev   uint64 `json:"dev"`
	Inode uint64 `json:"inode"`
}

// CreatePool makes a pool: a new sparse image file, formatted btrfs with the
// pool's name as its label, attached, mounted and laid out as LXD lays out its
// pools. An existing file is refused and not touched.
//
// Order: intent, unnamed file, mkfs, link (the file gets its name), attach and
// mount, layout, record (the commit). Killed before the record, the next
// command removes what is there; the intent knows the file by its inode.
func (s *System) CreatePool(ctx context.Context, o CreatePoolOptions) (err error) {
	if _, err := s.dir.LoadPool(o.Name); err == nil {
		return withHint(fmt.Errorf("cannot create pool %s: %w", o.Name, ErrExists), "poolctl pool list shows them")
	}
	path, size, err := s.checkPool(o)
	if err != nil {
		return fmt.Errorf("cannot create pool %q: %w", o.Name, err)
	}
	unlock, err := s.dir.LockPool(ctx, o.Name, false)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := s.dir.LoadPool(o.Name); err == nil { // another process made it while we waited
		return fmt.Errorf("cannot create pool %s: %w", o.Name, ErrExists)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	intent := creating{Name: o.Name, Path: path}
	entry, err := journal.Begin(ctx, s.journalDir(), "pool-create", intent)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot create pool %s: %w", o.Name, err)
			if uerr := s.undoCreate(intent); uerr != nil {
				err = errors.Join(err, uerr, entry.Close()) // the next command undoes the rest
				return
			}
		}
		err = errors.Join(err, entry.Done())
	}()
	crash.Point("pool.create.begun")
	if err := s.makePoolFile(ctx, entry, &intent, size, o); err != nil {
		return err
	}
	crash.Point("pool.create.linked")
	super, err := btrfs.ReadSuper(path)
	if err != nil {
		return err
	}
	rec := state.PoolRecord{Name: o.Name, Driver: "btrfs", Description: o.Description, Source: path, UUID: super.UUID, Config: map[string]string{}, CreatedAt: time.Now().UTC()}
	maps.Copy(rec.Config, o.Config)
	maps.DeleteFunc(rec.Config, func(_, v string) bool { return v == "" })
	rec.Config["source"] = path
	if rec.Config["size"] == "" {
		rec.Config["size"] = FormatSize(size)
	}
	if err := s.mountPool(ctx, rec); err != nil {
		return err
	}
	crash.Point("pool.create.mounted")
	if err := layOut(s.dir.MountPoint(o.Name)); err != nil {
		return err
	}
	crash.Point("pool.create.laid-out")
	return s.savePool(rec)
}

// layOut makes LXD's directories in a new pool.
func layOut(mnt string) error {
	t, err := tree.Open(mnt)
	if err != nil {
		return err
	}
	return errors.Join(t.Layout(), t.Close(), btrfs.Sync(mnt))
}

// checkPool validates the arguments of a new pool and says which file of which
// size it wants. Nothing is made.
func (s *System) checkPool(o CreatePoolOptions) (path string, size int64, err error) {
	if err := state.ValidateName("pool", o.Name); err != nil {
		return "", 0, err
	}
	if o.Driver != "" && o.Driver != "btrfs" {
		return "", 0, withHint(fmt.Errorf("unknown driver %q", o.Driver), "poolctl's pools are btrfs")
	}
	if err := checkPoolConfig(state.PoolFile, o.Config); err != nil {
		return "", 0, err
	}
	if err := checkOptionValues(state.PoolRecord{Config: o.Config}); err != nil {
		return "", 0, err
	}
	if err := errors.Join(btrfs.Check(), loopdev.Check()); err != nil {
		return "", 0, err
	}
	path = filepath.Join(s.dir.Disks(), o.Name+".img")
	if src := o.Config["source"]; src != "" {
		if path, err = filepath.Abs(src); err != nil {
			return "", 0, err
		}
	}
	if fi, err := os.Lstat(path); err == nil {
		if fi.IsDir() || fi.Mode()&fs.ModeDevice != 0 {
			return "", 0, withHint(fmt.Errorf("%s is a %s: a pool is a new image file", path, fileKind(fi)), "give the path of a file that does not exist yet, or none")
		}
		return "", 0, withHint(fmt.Errorf("%s: %w", path, ErrExists), "poolctl never overwrites a file: choose another source=, or move it away")
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", 0, err
	}
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		return "", 0, fmt.Errorf("%s: %w", filepath.Dir(path), err)
	}
	free := int64(st.Bavail) * st.Bsize
	size = defaultPoolSize(free)
	if text := o.Config["size"]; text != "" {
		if size, err = ParseSize(text); err != nil {
			return "", 0, err
		}
	}
	if size < minPoolSize {
		return "", 0, withHint(fmt.Errorf("size %s is too small for btrfs", FormatSize(size)), "the smallest pool is %s", FormatSize(minPoolSize))
	}
	if free < minPoolSize {
		return "", 0, fmt.Errorf("%s has only %s free", filepath.Dir(path), FormatSize(free))
	}
	if size > free {
		s.noticef("pool %s may grow to %s, but %s has only %s free now", o.Name, FormatSize(size), filepath.Dir(path), FormatSize(free))
	}
	return path, size &^ (4096 - 1), nil
}

func fileKind(fi fs.FileInfo) string {
	if fi.IsDir() {
		return "directory"
	}
	return "device"
}

// defaultPoolSize is a fifth of the free space, between 5 and 30 GiB, and never
// more than fits.
func defaultPoolSize(free int64) int64 {
	size := min(max(free/5, 5<<30), 30<<30)
	if size > free {
		size = free
	}
	return max(size, minPoolSize) &^ (1<<20 - 1)
}

// makePoolFile makes the sparse file without a name, formats it and then links
// it to its path: a process killed before that leaves nothing at all.
func (s *System) makePoolFile(ctx context.Context, entry *journal.Entry, intent *creating, size int64, o CreatePoolOptions) error {
	dir := filepath.Dir(intent.Path)
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	named := errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR)
	if named { // no O_TMPFILE here (NFS, some FUSE): the intent covers the name
		f, err = os.OpenFile(intent.Path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	intent.Dev, intent.Inode = st.Dev, st.Ino
	if err := entry.Update(*intent); err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		return err
	}
	if isTrue(o.Config["reserve"]) {
		if err := reserveFile(f, intent.Path); err != nil {
			return err
		}
	}
	extra, err := createOptions(o.Config["btrfs.create_options"])
	if err != nil {
		return err
	}
	if err := btrfs.Mkfs(ctx, intent.Path, f, btrfs.MkfsOptions{Label: o.Name, ExtraArgs: extra}); err != nil {
		return err
	}
	crash.Point("pool.create.formatted")
	if err := f.Sync(); err != nil {
		return err
	}
	if !named {
		fd := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
		if err := unix.Linkat(unix.AT_FDCWD, fd, unix.AT_FDCWD, intent.Path, unix.AT_SYMLINK_FOLLOW); err != nil {
			return fmt.Errorf("%s: %w", intent.Path, err)
		}
	}
	return syncDir(dir)
}

// undoCreate removes what an unfinished creation made, and only that.
func (s *System) undoCreate(in creating) error {
	mp := s.dir.MountPoint(in.Name)
	var errs []error
	if mounted, err := isMountPoint(mp); err != nil || mounted {
		errs = append(errs, err, unix.Unmount(mp, 0))
	}
	if err := os.Remove(mp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(append(errs, removeOwnFile(in.Path, in.Dev, in.Inode))...)
}

// recoverCreate finishes or undoes the creation that an unlocked intent tells
// of: with its record there, it was done.
func (s *System) recoverCreate(_ context.Context, e *journal.Entry) error {
	var in creating
	if err := e.Args(&in); err != nil {
		return err
	}
	rec, err := s.dir.LoadPool(in.Name)
	if err == nil && rec.Source == in.Path {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.undoCreate(in)
}

// removeOwnFile removes path if it is still the file with that device and
// inode; anything else there is not ours.
func removeOwnFile(path string, dev, inode uint64) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		return fmt.Errorf("cannot remove %s: %w", path, err)
	}
	if inode == 0 || st.Dev != dev || st.Ino != inode {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a change of a directory's names durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
