package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Group is one path in every hierarchy of a layout.
type Group struct {
	layout Layout
	path   string
}

// Group names the group at an absolute, clean path below every hierarchy
// ("/poolctl/1a2b3c4d/c1"). The root itself is refused.
func (l Layout) Group(p string) (Group, error) {
	if err := ValidatePath(p); err != nil {
		return Group{}, err
	}
	return Group{layout: l, path: p}, nil
}

// ValidatePath says what is wrong with a group's path, if anything is.
func ValidatePath(p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" || strings.ContainsAny(p, "\n\x00") {
		return fmt.Errorf("invalid cgroup path %q: want an absolute one below the root", p)
	}
	return nil
}

// Path is the group's path below each hierarchy.
func (g Group) Path() string { return g.path }

func (g Group) dir(h Hierarchy) string { return filepath.Join(h.Mount, g.path) }

// createTries bounds how often the parents are made again when somebody who
// removes his own group removes the empty parents at the same time.
const createTries = 20

// Create makes the group, and its parents, in every hierarchy, and delegates it:
// the directory and the files that move processes belong to uid and gid (host
// ids), the files that hold limits stay root's. It fails with fs.ErrExist when
// the group is there already; a group made in part is removed again.
func (g Group) Create(uid, gid int) error {
	for i, h := range g.layout {
		if err := g.createIn(h, uid, gid); err != nil {
			err = fmt.Errorf("cannot make cgroup %s: %w", g.dir(h), err)
			for _, done := range g.layout[:i+1] {
				if errors.Is(err, os.ErrExist) && done.Mount == h.Mount {
					continue
				}
				if uerr := removeDir(g.dir(done)); uerr != nil {
					err = errors.Join(err, uerr)
				}
			}
			return err
		}
	}
	return nil
}

func (g Group) createIn(h Hierarchy, uid, gid int) error {
	dir := g.dir(h)
	for try := 0; ; try++ {
		err := g.makeParents(h)
		if err == nil {
			err = os.Mkdir(dir, 0o755)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) || try == createTries {
			return err
		}
	}
	if err := inheritCpuset(h, dir); err != nil {
		return err
	}
	return delegate(h, dir, uid, gid)
}

// makeParents makes the directories above the group, and lets v2 controllers
// through to it.
func (g Group) makeParents(h Hierarchy) error {
	dir := h.Mount
	// Beside v1 hierarchies, v2 is there to tell processes apart, and controllers
	// that nobody else wanted (hugetlb) are left as they are.
	enable := h.Sole
	if enable {
		if err := enableControllers(dir); err != nil {
			return err
		}
	}
	for _, part := range strings.Split(path.Dir(g.path), "/") {
		if part == "" {
			continue
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
		if err := inheritCpuset(h, dir); err != nil {
			return err
		}
		if enable {
			if err := enableControllers(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// enableControllers gives every controller that dir has to dir's children. A
// controller that cannot be given is left out: the cpu controller refuses while
// there are realtime processes, for one.
func enableControllers(dir string) error {
	have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return err
	}
	control := filepath.Join(dir, "cgroup.subtree_control")
	given, err := os.ReadFile(control)
	if err != nil {
		return err
	}
	done := strings.Fields(string(given))
	for _, c := range strings.Fields(string(have)) {
		if !slices.Contains(done, c) {
			err := os.WriteFile(control, []byte("+"+c), 0)
			if errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

// inheritCpuset gives a new v1 cpuset the processors and memory nodes of its
// parent: without any, no process can enter it. Groups made below inherit by
// themselves (cgroup.clone_children).
func inheritCpuset(h Hierarchy, dir string) error {
	if !slices.Contains(h.Controllers, "cpuset") {
		return nil
	}
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			return err
		}
		if len(bytes.TrimSpace(own)) > 0 {
			continue
		}
		parent, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), bytes.TrimSpace(parent), 0); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0)
}

// delegated are the files of a group whose owner may move processes within it:
// for v2 those of Documentation/admin-guide/cgroup-v2.rst, "Model of
// Delegation"; for v1 what a group of threads or processes is entered by.
func delegated(h Hierarchy) []string {
	if h.Unified {
		return []string{"", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"}
	}
	return []string{"", "cgroup.procs", "tasks"}
}

func delegate(h Hierarchy, dir string, uid, gid int) error {
	for _, file := range delegated(h) {
		if err := os.Lchown(filepath.Join(dir, file), uid, gid); err != nil {
			return err
		}
	}
	return nil
}

// Entrance holds descriptors by which a process enters a group.
type Entrance struct {
	// Tasks are the "tasks" files of the v1 hierarchies. A process with one
	// thread enters by writing "0" to each: unlike "cgroup.procs", this takes no
	// lock against all forks of the machine, which costs an RCU grace period
	// (kernel/cgroup/cgroup.c, cgroup_procs_write_start).
	Tasks []*os.File
	// Unified is the v2 directory, for CLONE_INTO_CGROUP (man clone); nil when
	// there is no v2 hierarchy.
	Unified *os.File
}

// Close closes the descriptors.
func (e *Entrance) Close() error {
	errs := make([]error, 0, len(e.Tasks)+1)
	for _, f := range e.Tasks {
		errs = append(errs, f.Close())
	}
	if e.Unified != nil {
		errs = append(errs, e.Unified.Close())
	}
	return errors.Join(errs...)
}

// leaf is the child of a delegated v2 group that processes enter when the group
// itself takes none any more, because its owner has given controllers to its
// children ("no internal processes", cgroup-v2.rst).
const leaf = ".exec"

// Enter opens what a process needs to enter the group.
func (g Group) Enter() (_ *Entrance, err error) {
	e := &Entrance{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("cannot open cgroup %s: %w", g.path, err), e.Close())
		}
	}()
	for _, h := range g.layout {
		if !h.Unified {
			f, err := os.OpenFile(filepath.Join(g.tasksDir(h), "tasks"), os.O_WRONLY, 0)
			if err != nil {
				return nil, err
			}
			e.Tasks = append(e.Tasks, f)
			continue
		}
		dir, err := g.unifiedDir(h)
		if err != nil {
			return nil, err
		}
		if e.Unified, err = os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// unifiedDir is the v2 directory that takes processes: the group, or its leaf.
func (g Group) unifiedDir(h Hierarchy) (string, error) {
	dir := g.dir(h)
	given, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return "", err
	}
	if len(bytes.TrimSpace(given)) == 0 {
		return dir, nil
	}
	dir = filepath.Join(dir, leaf)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

// Exists reports whether the group is there in any hierarchy.
func (g Group) Exists() bool {
	for _, h := range g.layout {
		if _, err := os.Lstat(g.dir(h)); err == nil {
			return true
		}
	}
	return false
}

// Children are the names of the groups directly below, in any hierarchy.
func (g Group) Children() ([]string, error) {
	seen := map[string]bool{}
	for _, h := range g.layout {
		entries, err := os.ReadDir(g.dir(h))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("cannot list cgroup %s: %w", g.dir(h), err)
		}
		for _, e := range entries {
			if e.IsDir() {
				seen[e.Name()] = true
			}
		}
	}
	names := make([]string, 0, len(seen))
	for n := range seen {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, nil
}

// Child is the group of that name directly below.
func (g Group) Child(name string) (Group, error) {
	if name == "" || strings.Contains(name, "/") {
		return Group{}, fmt.Errorf("invalid cgroup name %q", name)
	}
	return g.layout.Group(g.path + "/" + name)
}

// Tracking are the hierarchies by which service managers tell which processes
// belong together: v2, and the named systemd one.
func (l Layout) Tracking() Layout {
	var t Layout
	for _, h := range l {
		if h.Unified || h.Name == "systemd" {
			t = append(t, h)
		}
	}
	return t
}

// Tracked reports whether the calling process is below the root of any of the
// hierarchies.
func (l Layout) Tracked() (bool, error) {
	data, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return false, fmt.Errorf("cannot read the own cgroups: %w", err)
	}
	return l.trackedBy(string(data)), nil
}

// trackedBy looks into a /proc/PID/cgroup (man cgroups, "/proc files").
func (l Layout) trackedBy(file string) bool {
	for line := range strings.Lines(file) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 || f[2] == "/" {
			continue
		}
		for _, h := range l {
			if h.Unified && f[0] == "0" && f[1] == "" || !h.Unified && h.Name != "" && f[1] == "name="+h.Name {
				return true
			}
		}
	}
	return false
}

// EnterPID moves a whole process into the group.
func (g Group) EnterPID(pid int) error {
	for _, h := range g.layout {
		if err := enterPID(g.dir(h), pid); err != nil {
			return err
		}
	}
	return nil
}

// EnterRoot moves a whole process into the root of each hierarchy.
func (l Layout) EnterRoot(pid int) error {
	for _, h := range l {
		if err := enterPID(h.Mount, pid); err != nil {
			return err
		}
	}
	return nil
}

func enterPID(dir string, pid int) error {
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0); err != nil {
		return fmt.Errorf("cannot move process %d to cgroup %s: %w", pid, dir, err)
	}
	return nil
}
