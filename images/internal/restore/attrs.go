package restore

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// Xattr is an extended attribute, its name with the namespace.
type Xattr struct {
	Name  string
	Value []byte
}

// SetXattrs sets attributes through set.
func SetXattrs(list []Xattr, set func(name string, value []byte) error) error {
	for _, x := range list {
		if err := set(x.Name, x.Value); err != nil {
			return fmt.Errorf("cannot set its extended attribute %q: %w", x.Name, err)
		}
	}
	return nil
}

// DropACLs removes the ACLs that a directory inherited from its parent when it
// was made: they are the host's, not the image's.
func DropACLs(fd int) error {
	for _, name := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		err := unix.Fremovexattr(fd, name)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("cannot remove the inherited ACL: %w", err)
		}
	}
	return nil
}

// SetTime sets the modification time (and the access time to the same: images
// rarely have one, and a deterministic tree is worth more). base "" is the
// directory parent itself.
func SetTime(parent int, base string, t time.Time) error {
	if t.IsZero() {
		t = time.Unix(0, 0)
	}
	ts := unix.Timespec{Sec: t.Unix(), Nsec: int64(t.Nanosecond())}
	if base == "" {
		base = "."
	}
	if err := unix.UtimesNanoAt(parent, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot set its time: %w", err)
	}
	return nil
}

// EntryError names the entry that an error belongs to, whatever bytes are in its
// name and however many.
func EntryError(name string, err error) error {
	if len(name) > 256 {
		name = name[:256] + "..."
	}
	return fmt.Errorf("cannot unpack %q: %w", name, err)
}
