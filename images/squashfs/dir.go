package squashfs

import (
	"bytes"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// dirEntry is one name in a directory.
type dirEntry struct {
	name []byte
	at   int    // index in the table of directories
	ref  uint64 // of its inode
}

// maxHeaderEntries is how many entries one header may announce
// (SQUASHFS_DIR_COUNT).
const maxHeaderEntries = 256

// eachEntry calls f for the entries of the list at index at of the table of
// directories, which has size bytes. The names are plain ones and in ascending
// order, as mksquashfs writes them and the kernel's look-up demands, so that none
// is there twice.
func eachEntry(dirs *table, at int, size uint32, f func(dirEntry) error) error {
	if uint64(size) > uint64(len(dirs.b)-at) {
		return errCut
	}
	c := &cursor{b: dirs.b[at : at+int(size)]}
	var last []byte
	for len(c.b) > 0 {
		count, start := c.u32(), c.u32()
		c.u32() // the number that the entries' are relative to
		if c.bad {
			return errCut
		}
		if count >= maxHeaderEntries {
			return fmt.Errorf("its list has %d entries in one part", count)
		}
		for range count + 1 {
			off := c.u16()
			c.u16() // difference of its inode's number
			c.u16() // type: the inode says it too
			n := int(c.u16()) + 1
			pos := at + int(size) - len(c.b)
			name := c.take(n)
			if c.bad {
				return errCut
			}
			if err := checkName(name); err != nil {
				return err
			}
			if last != nil && bytes.Compare(last, name) >= 0 {
				return fmt.Errorf("its list is out of order, or has a name twice: %.256q", name)
			}
			last = name
			if err := f(dirEntry{name: name, at: pos, ref: uint64(start)<<16 | uint64(off)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkName refuses what is no name of a file, or one that leads elsewhere.
func checkName(name []byte) error {
	switch {
	case len(name) > unix.NAME_MAX:
		return &LimitError{What: "bytes in one component of a name", Limit: unix.NAME_MAX}
	case bytes.IndexByte(name, '/') >= 0 || bytes.IndexByte(name, 0) >= 0:
		return fmt.Errorf("the name %.256q of an entry contains a slash or a NUL byte", name)
	case string(name) == "." || string(name) == "..":
		return fmt.Errorf("an entry has the name %q", name)
	case len(name) == 0:
		return errors.New("an entry has no name")
	}
	return nil
}
