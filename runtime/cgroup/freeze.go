package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// freezer is the directory of the group in the hierarchy that can freeze it.
// v2 needs no controller for that, since Linux 5.2.
func (g Group) freezer() (dir string, v1 bool, err error) {
	if h, ok := g.layout.v1("freezer"); ok {
		return g.dir(h), true, nil
	}
	if h, ok := g.layout.Unified(); ok {
		return g.dir(h), false, nil
	}
	return "", false, &MissingError{Controller: "freezer"}
}

// Freeze stops all processes of the group and those below it where they are,
// and returns when they have stopped, or ctx ends: then they go on.
func (g Group) Freeze(ctx context.Context) error {
	dir, v1, err := g.freezer()
	if err != nil {
		return err
	}
	file, value := "cgroup.freeze", "1"
	if v1 {
		file, value = "freezer.state", "FROZEN"
	}
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		// v1 is written again: a process that was about to fork can have escaped
		// (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
		if err := writeExisting(filepath.Join(dir, file), value); err != nil {
			return fmt.Errorf("cannot freeze cgroup %s: %w", g.path, err)
		}
		frozen, err := g.Frozen()
		if err != nil || frozen {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("cannot freeze cgroup %s: %w", g.path, context.Cause(ctx)), g.Thaw())
		case <-time.After(wait):
		}
	}
}

// Frozen says whether the group is frozen as a whole, by itself and not by what
// its processes did to groups of their own.
func (g Group) Frozen() (bool, error) {
	dir, v1, err := g.freezer()
	if err != nil {
		return false, nil //nolint:nilerr // nobody can have frozen it
	}
	file := "cgroup.events"
	if v1 {
		file = "freezer.state"
	}
	data, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		return false, fmt.Errorf("cannot read whether cgroup %s is frozen: %w", g.path, err)
	}
	if v1 {
		return strings.TrimSpace(string(data)) == "FROZEN", nil
	}
	return slices.Contains(strings.Split(string(data), "\n"), "frozen 1"), nil
}

// Thaw lets the group's processes go on.
func (g Group) Thaw() error {
	dir, v1, err := g.freezer()
	if err != nil {
		return err
	}
	return thaw(dir, v1)
}

func thaw(dir string, v1 bool) error {
	file, value := "cgroup.freeze", "0"
	if v1 {
		file, value = "freezer.state", "THAWED"
	}
	if err := writeExisting(filepath.Join(dir, file), value); err != nil {
		return fmt.Errorf("cannot thaw cgroup %s: %w", dir, err)
	}
	return nil
}

// ThawAll thaws the group and all below it, which its processes can have made
// and frozen: with v1, what is frozen does not even die by SIGKILL.
func (g Group) ThawAll() error {
	dir, v1, err := g.freezer()
	if err != nil {
		return nil //nolint:nilerr // nobody can have frozen it
	}
	return filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			err = thaw(p, v1)
		}
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) { // removed just now, ENODEV after it was opened
			return nil
		}
		return err
	})
}
