package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"poolctl/runtime/cgroup"
)

// Sweep cleans up after supervisors that were killed: processes, cgroups,
// interfaces and run directories of instances that do not run. instancesRunDir
// is the directory that holds the run directories, cgroupParent the path above
// the instances' cgroups; an instance has the same name in both. What a living
// supervisor holds is not touched; a running instance without one gets another.
// hooks.Ended is called for those that were cleaned up and want it. When there is
// nothing to do it costs a few system calls.
func Sweep(ctx context.Context, instancesRunDir, cgroupParent string, hooks Hooks) error {
	var errs []error
	entries, err := os.ReadDir(instancesRunDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot look for stopped instances: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			errs = append(errs, sweepOne(ctx, filepath.Join(instancesRunDir, e.Name()), cgroupParent+"/"+e.Name(), false, hooks))
		}
	}
	// Groups without a run directory: it is the first thing made and the last
	// removed, so these come from outside, for instance from a /run that was lost.
	names, err := strayGroups(cgroupParent)
	errs = append(errs, err)
	for _, name := range names {
		errs = append(errs, sweepOne(ctx, filepath.Join(instancesRunDir, name), cgroupParent+"/"+name, true, hooks))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("cannot clean up after stopped instances: %w", err)
	}
	return nil
}

// strayGroups names the instances that have a cgroup.
func strayGroups(parent string) ([]string, error) {
	layout, err := cgroup.Detect()
	if err != nil {
		return nil, err
	}
	g, err := layout.Group(parent)
	if err != nil {
		return nil, err
	}
	children, err := g.Children()
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	var names []string
	for _, c := range children {
		name := strings.TrimSuffix(c, monitorSuffix)
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names, nil
}

// sweepOne cleans up one instance unless its lock is held. With create, a run
// directory is made to hold the lock of.
func sweepOne(ctx context.Context, dir, path string, create bool, hooks Hooks) error {
	lock, err := tryLock(dir, create)
	if errors.Is(err, errLocked) {
		return nil
	}
	if errors.Is(err, os.ErrNotExist) {
		if create {
			return err
		}
		// Killed between making the directory and the lock: nothing else is there.
		if rerr := os.Remove(dir); rerr != nil && !errors.Is(rerr, os.ErrNotExist) {
			return sweepOne(ctx, dir, path, true, hooks)
		}
		return nil
	}
	if err != nil {
		return err
	}
	rec, ended, err := sweepLocked(ctx, lock, path)
	if ended && rec.Spec.TellEnd && hooks.Ended != nil {
		err = errors.Join(err, hooks.Ended(ctx, rec.Spec.About, EndedByOthers))
	}
	return err
}
