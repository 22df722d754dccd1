package tree

import (
	"path/filepath"
	"slices"
	"strings"

	"poolctl/btrfs"
)

// ReadFlags finds out the flags of the files in what is sent (chattr(1)), which send streams say nothing of: Members has them then,
// and who receives sets them. limit bounds the bytes of their paths; 0 = it does not. left is how many are left out for that.
func (f *Frozen) ReadFlags(limit int) (left int, err error) {
	if err := f.Sync(); err != nil {
		return 0, err
	}
	size := 0
	for _, v := range f.Versions {
		for i := range v.Members {
			if v.Have {
				continue
			}
			found, err := btrfs.ReadFlags(filepath.Join(v.Path, v.Members[i].Path))
			if err != nil {
				return left, err
			}
			before := size
			for _, file := range found {
				size += len(file.Path)
			}
			if limit > 0 && size > limit {
				left, size = left+len(found), before
				continue
			}
			v.Members[i].Flags = found
		}
	}
	return left, nil
}

// unprotect has what is in a read-only subvolume that a stream builds on be changed by that.
func (s *OwnerStage) unprotect(path string) error {
	found, err := btrfs.ReadFlags(path)
	if err != nil || len(found) == 0 {
		return err
	}
	s.flagged = true
	if !slices.ContainsFunc(found, func(f btrfs.FileFlags) bool { return strings.ContainsAny(f.Flags, "ia") }) {
		return nil
	}
	if err := btrfs.SetReadOnly(path, false); err != nil {
		return err
	}
	if err := btrfs.DropProtection(path); err != nil {
		return err
	}
	return btrfs.SetReadOnly(path, true)
}
