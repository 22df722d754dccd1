package pool

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
	"poolctl/pool/journal"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// subvolumeIntent is the journal's record of a directory's subvolume.
type subvolumeIntent struct {
	// Own says that the pool makes the subvolume, and takes it away again. It is
	// made under the name Staged, beside the path that it is to have.
	Own    bool   `json:"own,omitempty"`
	Staged string `json:"staged,omitempty"`
	// ID and UUID identify it once it is there.
	ID   uint64 `json:"id,omitempty"`
	UUID string `json:"uuid,omitempty"`
	// Replaced says that it takes the place of an empty directory of that mode
	// and owner, which undoing makes again.
	Replaced bool   `json:"replaced,omitempty"`
	Mode     uint32 `json:"mode,omitempty"`
	UID      uint32 `json:"uid,omitempty"`
	GID      uint32 `json:"gid,omitempty"`
}

// planSubvolume checks that a directory can become a pool: it is on btrfs and
// empty, or there is none yet.
func planSubvolume(p *poolPlan) error {
	path, in := p.rec.Source, &p.intent
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if errors.Is(err, unix.ENOENT) {
		in.Subvolume = subvolumeIntent{Own: true, Staged: stagedName(), Mode: 0o711}
		return planAround(in, filepath.Dir(path))
	} else if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if err := planAround(in, path); err != nil {
		return err
	}
	if err := checkEmptyDirectory(path); err != nil {
		return err
	}
	is, err := btrfs.IsSubvolume(path)
	if err != nil {
		return err
	}
	if !is {
		if mounted, err := isMountPoint(path); err != nil || mounted {
			return errors.Join(err, withHint(fmt.Errorf("%s is a mount point, and not the root of a subvolume", path), "give the path of a subvolume"))
		}
		in.Subvolume = subvolumeIntent{Own: true, Staged: stagedName(), Replaced: true, Mode: st.Mode & 0o7777, UID: st.Uid, GID: st.Gid}
		return nil
	}
	sub, err := btrfs.Stat(path)
	if err == nil && sub.ReadOnly {
		err = fmt.Errorf("the subvolume %s is read-only", path)
	}
	in.Subvolume = subvolumeIntent{ID: sub.ID, UUID: sub.UUID}
	return err
}

// planAround notes the file system that dir is on.
func planAround(in *creating, dir string) error {
	var fsys unix.Statfs_t
	if err := unix.Statfs(dir, &fsys); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if fsys.Type != unix.BTRFS_SUPER_MAGIC {
		return withHint(fmt.Errorf("%s is a directory that is not on btrfs", dir), "for a pool in a file give the path of one that does not exist yet, such as %s", filepath.Join(dir, in.Name+".img"))
	}
	if fsys.Flags&unix.ST_RDONLY != 0 {
		return fmt.Errorf("the file system at %s is mounted read-only", dir)
	}
	info, err := btrfs.FSInfo(dir)
	in.UUID = info.UUID
	return err
}

// checkEmptyDirectory refuses a directory that has something in it.
func checkEmptyDirectory(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return withHint(fmt.Errorf("%s is not empty: there is %q in it", path, entries[0].Name()), "choose an empty directory, or one that does not exist yet")
	}
	return nil
}

// stagedName is the name that a subvolume is made under: nobody else has it.
func stagedName() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return ".poolctl-" + hex.EncodeToString(b[:])
}

// makeSubvolume makes the pool's subvolume under its staged name and renames it
// when the intent knows it; one that is there already is only looked at again.
func makeSubvolume(entry *journal.Entry, in *creating) error {
	if !in.Subvolume.Own {
		return checkEmptyDirectory(in.Path)
	}
	parent := filepath.Dir(in.Path)
	staged := filepath.Join(parent, in.Subvolume.Staged)
	if err := btrfs.CreateSubvolume(staged); err != nil {
		return err
	}
	crash.Point("pool.create.subvolume")
	err := errors.Join(os.Chmod(staged, fs.FileMode(in.Subvolume.Mode&0o777)), os.Chown(staged, int(in.Subvolume.UID), int(in.Subvolume.GID)))
	if err != nil {
		return err
	}
	sub, err := btrfs.Stat(staged)
	if err != nil {
		return err
	}
	in.Subvolume.ID, in.Subvolume.UUID = sub.ID, sub.UUID
	if err := entry.Update(*in); err != nil {
		return err
	}
	flags := uint(unix.RENAME_NOREPLACE)
	if in.Subvolume.Replaced {
		flags = 0 // over a directory that is not empty it fails
	}
	if err := unix.Renameat2(unix.AT_FDCWD, staged, unix.AT_FDCWD, in.Path, flags); err != nil {
		return &os.LinkError{Op: "rename", Old: staged, New: in.Path, Err: err}
	}
	crash.Point("pool.create.renamed")
	return btrfs.Sync(in.Path)
}

// removeSubvolume removes what a pool has in its subvolume, and the subvolume
// itself if the pool made it and nothing of others is in it. With unmade, what
// was there before it is put back.
func (s *System) removeSubvolume(ctx context.Context, in creating, unmade bool) error {
	sub := in.Subvolume
	if mounts, err := btrfs.MountsOf(in.UUID); err != nil || len(mounts) == 0 {
		return errors.Join(err, withHint(fmt.Errorf("cannot remove what pool %s has in %s: the file system is not mounted", in.Name, in.Path), "mount it"))
	}
	if sub.Own && unmade {
		if err := btrfs.DeleteTree(ctx, filepath.Join(filepath.Dir(in.Path), sub.Staged)); err != nil {
			return err
		}
	}
	if sub.ID == 0 { // it did not get so far
		return nil
	}
	err := isPoolSubvolume(in.Path, state.PoolRecord{Name: in.Name, UUID: in.UUID, SubvolumeID: sub.ID, SubvolumeUUID: sub.UUID})
	switch {
	case err == nil:
		if err := s.emptySubvolume(ctx, in); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist): // somebody else's
		return nil
	}
	if !unmade || !sub.Replaced {
		return nil
	}
	crash.Point("pool.create.undone")
	err = os.Mkdir(in.Path, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return errors.Join(err, os.Chown(in.Path, int(sub.UID), int(sub.GID)), os.Chmod(in.Path, fs.FileMode(sub.Mode&0o777)))
}

// emptySubvolume clears the pool's subvolume, and deletes it if it is the pool's.
func (s *System) emptySubvolume(ctx context.Context, in creating) error {
	t, err := tree.Open(in.Path)
	if err != nil {
		return err
	}
	left, err := t.Clear(ctx)
	if err = errors.Join(err, t.Close()); err != nil {
		return err
	}
	crash.Point("pool.delete.cleared")
	if len(left) > 0 {
		s.noticef("%s stays: %s in it is not of pool %s", in.Path, strings.Join(left, ", "), in.Name)
		return btrfs.Sync(in.Path)
	}
	if !in.Subvolume.Own {
		return btrfs.Sync(in.Path)
	}
	if err := btrfs.DeleteSubvolume(in.Path); err != nil {
		return err
	}
	return btrfs.Sync(filepath.Dir(in.Path))
}
