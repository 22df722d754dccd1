package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"poolctl/pool/state"
	"poolctl/pool/tree"
	"poolctl/runtime"
)

// findInstance opens the pool that holds the instance and reads its record, with
// little of its snapshots (tree.BriefInstance). The caller closes the pool.
func (s *System) findInstance(ctx context.Context, name string) (*openedPool, tree.Instance, error) {
	var in tree.Instance
	p, err := s.searchInstance(ctx, name, func(t *tree.Tree) (err error) { in, err = t.BriefInstance(name); return err })
	return p, in, err
}

// searchInstance opens the pool that holds the instance, which is the first for which
// look does not say fs.ErrNotExist.
func (s *System) searchInstance(ctx context.Context, name string, look func(*tree.Tree) error) (*openedPool, error) {
	if err := state.ValidateName("instance", name); err != nil { // LXD's may be PROJECT_NAME
		return nil, withHint(fmt.Errorf("cannot find instance %q: %w", name, ErrNotFound), "poolctl list shows them")
	}
	pools, detached, err := s.poolNames()
	if err != nil {
		return nil, err
	}
	notFound := withHint(fmt.Errorf("cannot find instance %q: %w", name, ErrNotFound), "poolctl list shows them")
	for i, n := range append(pools, detached...) {
		p, err := s.openPool(ctx, n)
		if err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			if !errors.Is(err, ErrNotFound) { // it may be in there, or in the next one
				notFound = errors.Join(notFound, err)
			}
			continue
		}
		err = look(p.Tree)
		if err == nil {
			return p, nil
		}
		if err = errors.Join(ignoreNotExist(err), p.close()); err != nil {
			return nil, err
		}
		if i >= len(pools) {
			s.detachAgain(ctx, n)
		}
	}
	return nil, notFound
}

// detachAgain detaches a pool that was attached only to look into it. Who uses
// it by now keeps it: waiting for them could be waiting for each other, since
// the caller may hold an instance's lock.
func (s *System) detachAgain(ctx context.Context, name string) {
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if unlock, err := s.dir.LockPool(short, name, false); err == nil {
		_ = s.detachLocked(ctx, name) // in use: it stays
		unlock()
	}
}

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// lockedInstance is an instance with its own lock and its pool's shared lock held.
type lockedInstance struct {
	*openedPool
	rec    tree.Instance
	unlock func()
}

func (l *lockedInstance) close() error {
	l.unlock()
	return l.openedPool.close()
}

// lockInstance finds an instance and locks it: one writer at a time. Of its snapshots
// there is what tree.BriefInstance has. Of one that has
// ended nothing is left of its run then.
func (s *System) lockInstance(ctx context.Context, name string) (*lockedInstance, error) {
	return s.lockAndRead(ctx, name, (*tree.Tree).BriefInstance)
}

// lockAndRead is lockInstance that reads the record by read.
func (s *System) lockAndRead(ctx context.Context, name string, read func(*tree.Tree, string) (tree.Instance, error)) (*lockedInstance, error) {
	p, err := s.searchInstance(ctx, name, func(t *tree.Tree) error { return t.HasInstance(name) })
	if err != nil {
		return nil, err
	}
	unlock, err := s.lockEnded(ctx, name)
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	rec, err := read(p.Tree, name) // it may have been deleted while we waited
	if err != nil {
		unlock()
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("cannot find instance %q: %w", name, ErrNotFound)
		}
		return nil, errors.Join(err, p.close())
	}
	return &lockedInstance{openedPool: p, rec: rec, unlock: unlock}, nil
}

// lockEnded locks an instance that does not run any more only after its supervisor has
// cleaned up: interfaces come back to the host then, and nothing uses its volume. It is
// waited for without the lock, which the supervisor may need at the very end.
func (s *System) lockEnded(ctx context.Context, name string) (unlock func(), err error) {
	runDir := s.instanceRunDir(name)
	for {
		if err := runtime.AwaitEnd(ctx, runDir, s.cgroups+"/"+name, Hooks()); err != nil {
			return nil, fmt.Errorf("cannot lock instance %s: %w", name, err)
		}
		unlock, err := s.dir.LockInstance(ctx, name)
		if err != nil {
			return nil, err
		}
		ending, err := runtime.Ending(runDir)
		if err == nil && !ending {
			return unlock, nil
		}
		unlock()
		if err != nil {
			return nil, err
		}
	}
}

// runningInstance is the live side of an instance; runtime.ErrNotRunning when
// it is stopped.
func (s *System) runningInstance(name string) (*runtime.Instance, error) {
	return runtime.Open(s.instanceRunDir(name))
}

// isRunning says whether the instance runs, or is about to again by itself.
func (s *System) isRunning(name string) bool {
	return s.isLive(name) || runtime.Restarting(s.instanceRunDir(name))
}

// stoppedError says of an instance that does not run that it does not, with a hint
// how it is made to; of one that is about to again, that.
func (s *System) stoppedError(name, hint string, args ...any) error {
	if runtime.Restarting(s.instanceRunDir(name)) {
		return withHint(errors.New("it has ended, and is about to be started again"), "it reboots, or boot.autorestart has it started: try again in a moment; poolctl info %s", name)
	}
	return withHint(errors.New("it is stopped"), hint, args...)
}

// isLive says whether the instance's PID 1 lives.
func (s *System) isLive(name string) bool {
	in, err := s.runningInstance(name)
	if err != nil {
		return false
	}
	_ = in.Close()
	return true
}

// runningIn names the running instances of an attached pool, and those that have
// a volume of it mounted.
func (s *System) runningIn(pool string) ([]string, error) {
	live, err := s.liveNames()
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range live {
		_, err := os.Lstat(s.dir.MountPoint(pool) + "/containers/" + n)
		if err == nil || slices.ContainsFunc(s.mountedDisks(n), func(d runtime.Disk) bool { return strings.HasPrefix(d.Volume, pool+"/") }) {
			out = append(out, n)
		}
	}
	return out, nil
}

// mountedDisks are the disks that an instance has now; none when it is stopped.
func (s *System) mountedDisks(name string) []runtime.Disk {
	in, err := s.runningInstance(name)
	if err != nil {
		return nil
	}
	disks, _ := in.Disks() // one that cannot be read is told by what changes them
	_ = in.Close()
	return disks
}

// liveNames names the instances that run, or are about to again by themselves.
func (s *System) liveNames() ([]string, error) {
	entries, err := os.ReadDir(s.instancesRunDir())
	if err != nil {
		return nil, ignoreNotExist(err)
	}
	var out []string
	for _, e := range entries {
		if !isOfflineID(e.Name()) && s.isRunning(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// records reads the instance records of the attached pools. One that cannot be
// read is told of and left out.
func (s *System) records(ctx context.Context) ([]tree.Instance, error) {
	pools, _, err := s.poolRecords()
	if err != nil {
		return nil, err
	}
	var out []tree.Instance
	for _, rec := range pools {
		t, err := s.peek(rec)
		if err == nil && t == nil {
			continue
		}
		var all []tree.Instance
		if err == nil {
			all, err = t.Instances(ctx)
			err = errors.Join(err, t.Close())
		}
		if err = s.leftOut(ctx, rec.Name, err); err != nil {
			return nil, err
		}
		out = append(out, all...)
	}
	return out, nil
}
