package btrfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Unwritten is what the block groups of a mounted file system have to take in, in
// bytes, that their usage (GetUsage) does not tell yet.
type Unwritten struct {
	// Data is what is written to files and is not on the devices, or is on its way
	// there; with mixed block groups that of the trees as well.
	Data uint64
	// Metadata is what the kernel keeps for trees that are being changed, of which it
	// thinks the worst: a commit makes it much less. GlobalReserve is part of it.
	Metadata uint64
}

// Pending reads what is unwritten in the mounted file system of that UUID. It is all
// 0 where the kernel does not tell (/sys/fs/btrfs/UUID/allocation: what may be used is
// asked for and has no place; what is reserved has one, and is not in a tree; what is
// pinned was freed, and can be used after the commit).
func Pending(uuid string) (Unwritten, error) {
	var u Unwritten
	if !isUUID(uuid) {
		return u, fmt.Errorf("cannot tell what is being written: %q is no UUID", uuid)
	}
	dir := filepath.Join(sysFS, strings.ToLower(uuid), "allocation")
	for _, c := range []struct {
		file string
		sum  *uint64
	}{
		{"data/bytes_may_use", &u.Data},
		{"data/bytes_reserved", &u.Data},
		{"mixed/bytes_may_use", &u.Data},
		{"mixed/bytes_reserved", &u.Data},
		{"metadata/bytes_may_use", &u.Metadata},
		{"metadata/bytes_reserved", &u.Metadata},
		{"metadata/bytes_pinned", &u.Metadata},
	} {
		text, err := os.ReadFile(filepath.Join(dir, c.file))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		var n uint64
		if err == nil {
			n, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		}
		if err != nil {
			return Unwritten{}, fmt.Errorf("cannot tell what is being written to btrfs %s: %w", uuid, err)
		}
		*c.sum += n
	}
	return u, nil
}
