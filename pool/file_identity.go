package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/state"
)

// ownFile identifies the file that holds the pool. When there is none at the
// recorded path, or it holds something else, lost says so: what is there then is
// the user's, and not to be touched.
func ownFile(rec state.PoolRecord) (st unix.Stat_t, lost error) {
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
	return st, nil
}

// checkNotLast refuses to unmount a pool whose file was removed while it was
// attached: only the mount keeps what is in it.
func checkNotLast(rec state.PoolRecord) error {
	if rec.Kind != state.PoolFile {
		return nil
	}
	if _, lost := ownFile(rec); lost == nil {
		return nil
	}
	mounts, err := btrfs.MountsOf(rec.UUID)
	if err != nil || len(mounts) == 0 {
		return err
	}
	loops, err := loopdev.List()
	if err != nil {
		return err
	}
	for _, l := range loops {
		if l.Path == mounts[0].Source && strings.HasSuffix(l.BackingFile, " (deleted)") {
			return withHint(fmt.Errorf("its file %s was removed, and detaching would be the end of all that is in it", rec.Source),
				"stop what runs in it and save it: cp --sparse=always %s %s; or give it up: poolctl pool delete --force %s", l.Path, rec.Source, rec.Name)
		}
	}
	return nil
}
