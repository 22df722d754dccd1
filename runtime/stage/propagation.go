package stage

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// propagation is how a disk's mount exchanges with others what is mounted below it.
type propagation struct {
	// host: what the host mounts below the source appears inside. Never the other
	// way: all mounts of an instance are slaves of the host's at most, as in Incus.
	host bool
	// flag, for mount_setattr(2), is what the mount is made in its place, once that
	// the copies have been made which an unbindable mount refuses; all: with those below.
	flag uint64
	all  bool
}

// propagations are those of Documentation/filesystems/sharedsubtree.rst, by the
// names that mount(8) and Incus's disks give them.
var propagations = map[string]propagation{
	"":            {},
	"private":     {flag: unix.MS_PRIVATE},
	"rprivate":    {flag: unix.MS_PRIVATE, all: true},
	"slave":       {host: true},
	"rslave":      {host: true},
	"shared":      {host: true, flag: unix.MS_SHARED},
	"rshared":     {host: true, flag: unix.MS_SHARED, all: true},
	"unbindable":  {flag: unix.MS_UNBINDABLE},
	"runbindable": {flag: unix.MS_UNBINDABLE, all: true},
}

// CheckPropagation refuses what is none: private, shared, slave, unbindable, and
// each with an r before it. None at all is as private.
func CheckPropagation(name string) error {
	if _, ok := propagations[name]; !ok {
		return fmt.Errorf("%q is none of %s", name, strings.Join(slices.Sorted(maps.Keys(propagations))[1:], ", "))
	}
	return nil
}

// FollowsHost says whether what is mounted on the host below a disk's source is to
// appear inside.
func FollowsHost(name string) bool { return propagations[name].host }

// Propagate sets the propagation of a disk's mount that is in its place.
func Propagate(mount int, name string) error {
	p := propagations[name]
	if p.flag == 0 {
		return nil
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if p.all {
		flags |= unix.AT_RECURSIVE
	}
	if err := unix.MountSetattr(mount, "", flags, &unix.MountAttr{Propagation: p.flag}); err != nil {
		return fmt.Errorf("cannot make the mount %s: %w", name, err)
	}
	return nil
}
