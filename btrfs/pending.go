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

// Pending says how many bytes of data are written to files of the mounted file
// system of that UUID, but not to its devices yet, and so counted nowhere. It is 0
// where the kernel does not tell.
func Pending(uuid string) (uint64, error) {
	if !isUUID(uuid) {
		return 0, fmt.Errorf("cannot tell what is being written: %q is no UUID", uuid)
	}
	text, err := os.ReadFile(filepath.Join(sysFS, strings.ToLower(uuid), "allocation", "data", "bytes_may_use"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	var n uint64
	if err == nil {
		n, err = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	}
	if err != nil {
		return 0, fmt.Errorf("cannot tell what is being written to btrfs %s: %w", uuid, err)
	}
	return n, nil
}
