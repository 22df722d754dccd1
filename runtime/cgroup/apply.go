package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// MissingError says that the host has no controller for a limit.
type MissingError struct {
	// Controller is the kernel's name of it in v2; File the file that was looked
	// for, if the controller is there without it.
	Controller, File string
}

func (e *MissingError) Error() string {
	if e.File != "" {
		return fmt.Sprintf("the host's cgroup controller %q has no %s", e.Controller, e.File)
	}
	return fmt.Sprintf("the host has no cgroup controller %q", e.Controller)
}

// Hint tells the user what to do.
func (e *MissingError) Hint() string {
	switch {
	case e.File == "":
		return "/proc/cgroups lists those of the kernel; cgroup_disable= on its command line turns them off, and a v1 one has to be mounted"
	case e.Controller == "hugetlb":
		return "the sizes of huge pages that there are: ls /sys/kernel/mm/hugepages"
	}
	return "the kernel was built without it"
}

// Apply brings the group, which must have the limits of from, to those of to.
// When one cannot be set, those that were are set back, and the error is a
// *MissingError where the host lacks a controller. Setting limits back is Apply
// with the two swapped.
func (g Group) Apply(from, to Limits) error {
	todo := changes(from, to)
	for i, s := range todo {
		err := g.set(s)
		if err == nil {
			continue
		}
		undo := changes(to, from)
		for _, u := range slices.Backward(undo) {
			if slices.ContainsFunc(todo[:i+1], func(done setting) bool { return done.id == u.id }) {
				err = errors.Join(err, onlyReal(g.set(u)))
			}
		}
		return err
	}
	return nil
}

// onlyReal drops the failure to take back what could not be set for want of a
// controller.
func onlyReal(err error) error {
	if _, missing := errors.AsType[*MissingError](err); missing {
		return nil
	}
	return err
}

// set puts one setting into effect.
func (g Group) set(s setting) error {
	h, v1, err := g.controller(s.controller)
	if err != nil {
		if s.optional {
			return nil
		}
		return err
	}
	writes := s.v2
	if v1 {
		writes = s.v1
	}
	for _, w := range writes {
		if err := g.write(h, s, w); err != nil {
			return err
		}
	}
	return nil
}

// v1Names are the v1 controllers that are called otherwise in v2.
var v1Names = map[string]string{"io": "blkio"}

// controller finds the hierarchy that has a controller, named as in v2, for the
// group. One of v2 is passed down to it if it was not yet.
func (g Group) controller(name string) (h Hierarchy, v1 bool, err error) {
	old := name
	if n, ok := v1Names[name]; ok {
		old = n
	}
	if h, ok := g.layout.v1(old); ok {
		return h, true, nil
	}
	h, ok := g.layout.Unified()
	if !ok {
		return h, false, &MissingError{Controller: name}
	}
	if err := g.passDown(h, name); err != nil {
		return h, false, err
	}
	return h, false, nil
}

// passDown gives the group a v2 controller, through all groups above.
func (g Group) passDown(h Hierarchy, name string) error {
	above := []string{h.Mount}
	for _, part := range strings.Split(strings.Trim(path.Dir(g.path), "/"), "/") {
		if part != "" {
			above = append(above, filepath.Join(above[len(above)-1], part))
		}
	}
	for _, dir := range above {
		for _, file := range []string{"cgroup.controllers", "cgroup.subtree_control"} {
			have, err := os.ReadFile(filepath.Join(dir, file))
			if err != nil {
				return fmt.Errorf("cannot read the controllers of cgroup %s: %w", dir, err)
			}
			if slices.Contains(strings.Fields(string(have)), name) {
				continue
			}
			if file == "cgroup.controllers" {
				return &MissingError{Controller: name}
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte("+"+name), 0); err != nil {
				return fmt.Errorf("cannot use cgroup controller %q below %s: %w", name, dir, err)
			}
		}
	}
	return nil
}

// write writes to the first of the files that is there.
func (g Group) write(h Hierarchy, s setting, w write) error {
	dir := g.dir(h)
	for _, name := range w.files {
		if name == "" {
			return nil
		}
		value := w.value
		switch {
		case value == "" && h.Unified: // a write of nothing is none
			value = "\n"
		case value == "": // v1's cpusets inherit nothing by being empty
			above, err := os.ReadFile(filepath.Join(filepath.Dir(dir), name))
			if err != nil {
				return fmt.Errorf("cannot read %s: %w", name, err)
			}
			value = strings.TrimSpace(string(above))
		}
		err := writeLimit(dir, name, value)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, fs.ErrNotExist):
			return limitError(s, name, value, err)
		}
	}
	if s.optional {
		return nil
	}
	return &MissingError{Controller: s.controller, File: w.files[0]}
}

// limitError says what an errno means there.
func limitError(s setting, name, value string, err error) error {
	switch {
	case s.id == "memory" && errors.Is(err, unix.EBUSY):
		return fmt.Errorf("cannot set %s to %s: more is in use, and cannot be taken back", name, value)
	case s.id == "cpuset" && (errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ERANGE)):
		return fmt.Errorf("cannot set %s to %s: the host does not have these processors", name, value)
	}
	return fmt.Errorf("cannot set %s to %s: %w", name, value, err)
}

// writeLimit writes a file of a group. Two of v1 refuse less than groups below
// have, which the instance can have made: those are cut down first.
func writeLimit(dir, name, value string) error {
	err := writeExisting(filepath.Join(dir, name), value)
	switch {
	case name == "cpuset.cpus" && errors.Is(err, unix.EBUSY):
		// "" is no set there; the new one of all is.
		err = lowerBelow(dir, name, value)
	case name == "cpu.cfs_quota_us" && errors.Is(err, unix.EINVAL):
		err = lowerBelow(dir, name, "-1")
	default:
		return err
	}
	if err != nil {
		return err
	}
	return writeExisting(filepath.Join(dir, name), value)
}

// writeExisting never makes a file: in a directory that is no cgroup any more
// there is none.
func writeExisting(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// lowerBelow writes the file of all groups below, the lowest first.
func lowerBelow(dir, name, value string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if d.IsDir() && p != dir {
			dirs = append(dirs, p)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		if err := writeExisting(filepath.Join(d, name), value); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
