package cgroup

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Hierarchy is one mounted cgroup hierarchy of the host.
type Hierarchy struct {
	// Mount is where it is mounted on the host.
	Mount string
	// Unified is true of the v2 hierarchy, of which there is at most one.
	Unified bool
	// Sole is true of v2 when there is no v1 hierarchy beside it.
	Sole bool
	// Controllers are those of a v1 hierarchy ("cpu", "memory"); empty for a
	// named one and for v2.
	Controllers []string
	// Name is a v1 hierarchy's name ("systemd"), if it has one.
	Name string
}

// Layout is what the host has mounted, in the order of its mount table.
type Layout []Hierarchy

// Detect reads the mount table of the calling process. It fails when no
// hierarchy is mounted at all.
func Detect() (Layout, error) {
	mounts, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("cgroup", "cgroup2"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	l := layoutOf(mounts)
	if len(l) == 0 {
		return nil, errors.New("cannot find a cgroup hierarchy: none is mounted (mount -t cgroup2 none /sys/fs/cgroup)")
	}
	return l, nil
}

// layoutOf takes each hierarchy once, by its device number, where its root is
// mounted: a bind mount of a part of it is of no use here.
func layoutOf(mounts []*mountinfo.Info) Layout {
	var l Layout
	seen := map[[2]int]bool{}
	for _, m := range mounts {
		dev := [2]int{m.Major, m.Minor}
		if m.Root != "/" || seen[dev] {
			continue
		}
		seen[dev] = true
		h := Hierarchy{Mount: m.Mountpoint, Unified: m.FSType == "cgroup2"}
		if !h.Unified {
			h.Controllers, h.Name = v1Options(m.VFSOptions)
		}
		l = append(l, h)
	}
	if len(l) == 1 {
		l[0].Sole = l[0].Unified
	}
	return l
}

// v1Flags are options of a v1 hierarchy that name no controller
// (kernel/cgroup/cgroup-v1.c, cgroup1_fs_parameters).
var v1Flags = []string{"rw", "ro", "none", "all", "noprefix", "xattr", "clone_children", "cpuset_v2_mode", "favordynmods", "nofavordynmods"}

// v1Options reads controllers and name from a v1 superblock's options.
func v1Options(opts string) (controllers []string, name string) {
	for _, o := range strings.Split(opts, ",") {
		if n, ok := strings.CutPrefix(o, "name="); ok {
			name = n
			continue
		}
		if o == "" || strings.Contains(o, "=") || slices.Contains(v1Flags, o) {
			continue
		}
		controllers = append(controllers, o)
	}
	return controllers, name
}

// Unified returns the v2 hierarchy, if it is mounted.
func (l Layout) Unified() (Hierarchy, bool) {
	for _, h := range l {
		if h.Unified {
			return h, true
		}
	}
	return Hierarchy{}, false
}

// Pure reports whether v2 is the only hierarchy.
func (l Layout) Pure() bool { return len(l) == 1 && l[0].Sole }

// Dir is the name of the directory under /sys/fs/cgroup at which the hierarchy
// belongs in an instance: as on the host ("cpu,cpuacct", "systemd", "unified").
func (h Hierarchy) Dir() string { return filepath.Base(h.Mount) }

// v1 returns the v1 hierarchy that has the controller.
func (l Layout) v1(controller string) (Hierarchy, bool) {
	for _, h := range l {
		if slices.Contains(h.Controllers, controller) {
			return h, true
		}
	}
	return Hierarchy{}, false
}
