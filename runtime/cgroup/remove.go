package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kill sends SIGKILL to every process in the group and below, by cgroup.kill
// where there is v2 (kernel 5.14), else one by one, and thaws what is frozen. It
// does not wait.
func (g Group) Kill() error {
	if err := g.killAll(); err != nil {
		return err
	}
	return g.ThawAll()
}

func (g Group) killAll() error {
	if h, ok := g.layout.Unified(); ok {
		err := os.WriteFile(filepath.Join(g.dir(h), "cgroup.kill"), []byte("1"), 0)
		if err == nil {
			return nil
		}
		if _, serr := os.Lstat(g.dir(h)); errors.Is(serr, os.ErrNotExist) {
			return g.killEach()
		}
		if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot kill the processes of cgroup %s: %w", g.path, err)
		}
	}
	return g.killEach()
}

// killEach kills what is found in any hierarchy. A process is held by a pidfd
// and looked for once more before it is killed, so that a number taken over by
// a stranger is not hit.
func (g Group) killEach() error {
	for _, h := range g.layout {
		pids, err := procsBelow(g.dir(h))
		if err != nil {
			return fmt.Errorf("cannot list the processes of cgroup %s: %w", g.dir(h), err)
		}
		for _, pid := range pids {
			fd, err := unix.PidfdOpen(pid, 0)
			if err != nil {
				continue // it ended
			}
			again, err := procsBelow(g.dir(h))
			if err == nil && slices.Contains(again, pid) {
				err = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			_ = unix.Close(fd) // nothing to lose
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("cannot kill process %d: %w", pid, err)
			}
		}
	}
	return nil
}

// Processes are the numbers of the processes in the group and below.
func (g Group) Processes() ([]int, error) {
	if len(g.layout) == 0 {
		return nil, nil
	}
	h, ok := g.layout.Unified()
	if !ok {
		h = g.layout[0]
	}
	pids, err := procsBelow(g.dir(h))
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes of cgroup %s: %w", g.path, err)
	}
	return pids, nil
}

// procsBelow lists the processes of a directory and those below it.
func procsBelow(dir string) ([]int, error) {
	var pids []int
	err := filepath.WalkDir(dir, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		}
		if d.Name() != "cgroup.procs" {
			return nil
		}
		data, _ := os.ReadFile(p) // fails if removed meanwhile, or of a threaded group, whose processes are listed above
		for _, f := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids, err
}

// removePoll is how long to wait for killed processes to be gone, at first.
const removePoll = time.Millisecond

// Remove removes the group in every hierarchy, with the groups below it, and
// the parents that are empty then. Processes in it are killed. It is no error
// when it is not there. It gives up when ctx ends.
func (g Group) Remove(ctx context.Context) error {
	for wait := removePoll; ; wait = min(2*wait, 50*time.Millisecond) {
		err := g.removeOnce()
		if err == nil {
			g.removeParents()
			return nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return err
		}
		if kerr := g.Kill(); kerr != nil {
			return errors.Join(err, kerr)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(wait):
		}
	}
}

func (g Group) removeOnce() error {
	for _, h := range g.layout {
		if err := removeDir(g.dir(h)); err != nil {
			return err
		}
	}
	return nil
}

// removeParents removes what is empty above the group: rmdir refuses a group
// that has children or processes, so there is nothing to check, and no failure
// matters.
func (g Group) removeParents() {
	for p := path.Dir(g.path); p != "/"; p = path.Dir(p) {
		for _, h := range g.layout {
			_ = unix.Rmdir(filepath.Join(h.Mount, p))
		}
	}
}

// removeDir removes a group's directory with all below, deepest first. The
// instance made those, so it walks by descriptors and one name at a time: a
// depth beyond PATH_MAX or beyond the descriptor limit does not stop it.
func removeDir(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err := removeBelow(dir); err != nil {
		return fmt.Errorf("cannot remove the groups below %s: %w", dir, err)
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot remove cgroup %s: %w", dir, err)
	}
	return nil
}

const openDir = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

func removeBelow(dir string) error {
	cur, err := unix.Open(dir, openDir, 0)
	if err != nil {
		return ignoreMissing(err)
	}
	defer func() { _ = unix.Close(cur) }() // read-only
	var names []string
	for {
		sub, err := firstChild(cur)
		if err != nil {
			return err
		}
		if sub == "" && len(names) == 0 {
			return nil
		}
		step := sub
		if sub == "" {
			step = ".."
		}
		next, err := unix.Openat(cur, step, openDir, 0)
		if err != nil {
			return err
		}
		_ = unix.Close(cur) // read-only
		cur = next
		if sub != "" {
			names = append(names, sub)
			continue
		}
		name := names[len(names)-1]
		names = names[:len(names)-1]
		if err := unix.Unlinkat(cur, name, unix.AT_REMOVEDIR); ignoreMissing(err) != nil {
			return err
		}
	}
}

func ignoreMissing(err error) error {
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// firstChild is the name of one group directly below an open directory; empty
// when there is none.
func firstChild(fd int) (string, error) {
	own, err := unix.Openat(fd, ".", openDir, 0)
	if err != nil {
		return "", err
	}
	f := os.NewFile(uintptr(own), "cgroup")
	defer func() { _ = f.Close() }() // read-only
	for {
		entries, err := f.ReadDir(64)
		for _, e := range entries {
			if e.IsDir() {
				return e.Name(), nil
			}
		}
		if len(entries) == 0 || err != nil {
			return "", nil // io.EOF: no directory among them
		}
	}
}
