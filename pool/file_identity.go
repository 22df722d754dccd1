package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/state"
)

// ownFile identifies the file that holds the pool. When there is none at the
// recorded path, or another one, lost says so: what is there then is the user's,
// and not to be touched.
func (s *System) ownFile(rec state.PoolRecord) (st unix.Stat_t, lost error) {
	super, err := btrfs.ReadSuper(rec.Source)
	if err == nil {
		err = unix.Stat(rec.Source, &st)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unix.Stat_t{}, fmt.Errorf("its file %s is gone", rec.Source)
	case err != nil:
		return unix.Stat_t{}, fmt.Errorf("its file was replaced or damaged: %w", err)
	case super.UUID != rec.UUID:
		return unix.Stat_t{}, fmt.Errorf("%s holds another file system: UUID %s, not %s", rec.Source, super.UUID, rec.UUID)
	}
	if strayed, err := s.findStrayed(rec); err != nil {
		return unix.Stat_t{}, err
	} else if strayed != nil {
		return unix.Stat_t{}, errors.New(strayed.String())
	}
	return st, nil
}

// strayedFile is the file of an attached pool that is not at its recorded path
// any more.
type strayedFile struct {
	rec  state.PoolRecord
	loop loopdev.Info // the device that the pool is mounted from
	// path is where the file is now; "" when it was removed, or is out of sight.
	path string
	// removed says that it has lost the name that it was attached by.
	removed bool
	// replaced says that another file is at the recorded path.
	replaced bool
}

// findStrayed looks where the file of an attached pool is: nil when it is at its
// recorded path, the pool is not attached, or does not lie on a file.
func (s *System) findStrayed(rec state.PoolRecord) (*strayedFile, error) {
	if rec.Kind != state.PoolFile {
		return nil, nil
	}
	own, err := s.ownMount(rec) // a mount elsewhere may be one of a copy
	if err != nil || own == nil {
		return nil, err
	}
	loops, err := loopdev.List()
	if err != nil {
		return nil, err
	}
	number := deviceNumber(own.Source)
	i := slices.IndexFunc(loops, func(l loopdev.Info) bool { return l.Path == own.Source || number != 0 && number == loopNumber(l) })
	if i < 0 || isFile(rec.Source, loops[i]) {
		return nil, nil
	}
	l := loops[i]
	out := &strayedFile{rec: rec, loop: l, replaced: unix.Access(rec.Source, unix.F_OK) == nil}
	if isFile(l.BackingFile, l) { // the kernel follows renames
		out.path = l.BackingFile
	} else {
		out.removed = strings.HasSuffix(l.BackingFile, " (deleted)")
	}
	return out, nil
}

// isFile says whether what is at path is the backing file of the loop device.
func isFile(path string, l loopdev.Info) bool {
	var st unix.Stat_t
	return unix.Stat(path, &st) == nil && st.Dev == l.Dev && st.Ino == l.Inode
}

// String says what has become of the file.
func (f *strayedFile) String() string {
	how := "its file was moved out of sight"
	switch {
	case f.path != "":
		how = "its file was moved to " + f.path
	case f.removed:
		how = fmt.Sprintf("its file %s was removed, and only lives until the pool is detached", f.rec.Source)
	}
	if f.replaced {
		how += "; another file is at " + f.rec.Source
	}
	return how
}

// remedy is what the user can do about it.
func (f *strayedFile) remedy(mp string) string {
	switch {
	case f.path != "":
		return fmt.Sprintf("poolctl pool attach %s remembers the new place; or move the file back", f.rec.Name)
	case f.removed:
		return fmt.Sprintf("stop what runs in it and save it: mount -o remount,ro %[1]s && cp --sparse=always %[2]s %[3]s && poolctl pool detach %[4]s && poolctl pool attach %[4]s; or give it up: poolctl pool delete --force %[4]s",
			mp, f.loop.Path, f.rec.Source, f.rec.Name)
	}
	return "move the file back to " + f.rec.Source
}

// checkNotLast refuses to unmount a pool whose file was removed while it was
// attached: only the mount keeps what is in it, unless an up-to-date copy of it
// is at the file's path.
func (s *System) checkNotLast(rec state.PoolRecord) error {
	strayed, err := s.findStrayed(rec)
	if err != nil || strayed == nil || !strayed.removed {
		return err
	}
	if saved, err := isSaved(rec, strayed.loop.Path, s.dir.MountPoint(rec.Name)); err != nil || saved {
		return err
	}
	return withHint(fmt.Errorf("its file %s was removed, and detaching would be the end of all that is in it", rec.Source),
		"%s", strayed.remedy(s.dir.MountPoint(rec.Name)))
}

// isSaved says whether the file at a pool's path is a copy of the mounted file
// system as it is now: of the same generation, with nothing to be written.
func isSaved(rec state.PoolRecord, device, mp string) (bool, error) {
	if err := btrfs.Sync(mp); err != nil && !errors.Is(err, unix.EROFS) {
		return false, err
	}
	saved, err := btrfs.ReadSuper(rec.Source)
	if err != nil {
		return false, nil //nolint:nilerr // there is none, or it is no file system
	}
	now, err := btrfs.ReadSuper(device)
	return err == nil && saved.UUID == now.UUID && saved.Generation == now.Generation, err
}
