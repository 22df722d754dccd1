package runtime

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
)

// balance chooses the processors of all instances with a number of them, as
// Incus does when an instance starts, stops or changes: the pinned ones count
// where they are, and each of the others gets the processors that the fewest
// share. instancesRunDir is the directory of the run directories.
//
// It is done by whoever makes such a change, so nothing is remembered but the
// limits in the run directories. Instances of other state directories are not
// known here.
func balance(instancesRunDir string) (err error) {
	unlock, err := lockDir(instancesRunDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot balance the processors: %w", err)
	}
	defer func() { err = errors.Join(err, unlock()) }()
	layout, err := cgroup.Detect()
	if err != nil {
		return err
	}
	list, err := balanced(layout, instancesRunDir)
	if err != nil || len(list) == 0 {
		return err
	}
	online, err := list[0].group.ParentCPUs()
	if err != nil {
		return err
	}
	var errs []error
	for name, cpus := range share(online, list) {
		i := slices.IndexFunc(list, func(b balancedInstance) bool { return b.name == name })
		err := list[i].group.SetCPUs(cgroup.FormatCPUs(cpus))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it has just stopped
			errs = append(errs, fmt.Errorf("cannot balance the processors of %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// balancedInstance is a running instance with limits of its processors.
type balancedInstance struct {
	name  string
	group cgroup.Group
	count int   // 0: pinned
	cpus  []int // pinned to these, or to be chosen from them; empty for any
}

// balanced are the instances with limits of processors, by name.
func balanced(layout cgroup.Layout, instancesRunDir string) ([]balancedInstance, error) {
	entries, err := os.ReadDir(instancesRunDir)
	if err != nil {
		return nil, fmt.Errorf("cannot balance the processors: %w", err)
	}
	var out []balancedInstance
	for _, e := range entries {
		dir := filepath.Join(instancesRunDir, e.Name())
		l, err := loadLimits(dir)
		if err != nil || l.CPUCount == 0 && l.CPUs == "" {
			continue // one that cannot be read is being removed
		}
		st, err := loadState(dir)
		if err != nil {
			continue // as above
		}
		g, err := layout.Group(st.Cgroup)
		if err != nil || !g.Exists() {
			continue
		}
		cpus, err := cgroup.ParseCPUs(l.CPUs)
		if err != nil {
			return nil, fmt.Errorf("invalid processors of %s: %w", e.Name(), err)
		}
		out = append(out, balancedInstance{e.Name(), g, l.CPUCount, cpus})
	}
	return out, nil
}

// share says which processors each instance with a number gets.
func share(online []int, list []balancedInstance) map[string][]int {
	users := map[int]int{}
	for _, b := range list {
		if b.count == 0 {
			for _, c := range b.cpus {
				users[c]++
			}
		}
	}
	out := map[string][]int{}
	for _, b := range list {
		if b.count == 0 {
			continue
		}
		var from []int
		for _, c := range online {
			if len(b.cpus) == 0 || slices.Contains(b.cpus, c) {
				from = append(from, c)
			}
		}
		if len(from) == 0 {
			from = slices.Clone(online) // those wanted have gone: any are better than none
		}
		slices.SortStableFunc(from, func(x, y int) int { return cmp.Compare(users[x], users[y]) })
		from = from[:min(b.count, len(from))]
		for _, c := range from {
			users[c]++
		}
		slices.Sort(from)
		out[b.name] = from
	}
	return out
}

// lockDir takes the lock of a directory, which ends with the process.
func lockDir(dir string) (unlock func() error, err error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f.Close, nil
}
