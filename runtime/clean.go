package runtime

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
)

// clean removes what a run of an instance has made outside its run directory:
// processes, cgroup, interfaces, proxy devices. The caller holds the lock.
func clean(ctx context.Context, runDir string, st state, path string) error {
	var errs []error
	if fd, err := st.openInit(); err == nil {
		st.Cgroup = path
		i := newInstance("", st, fd)
		errs = append(errs, i.kill(ctx), i.Close())
	}
	errs = append(errs, endProxies(ctx, runDir), detachNICs(runDir), removeGroup(ctx, path))
	return errors.Join(errs...)
}

func removeGroup(ctx context.Context, path string) error {
	layout, err := cgroup.Detect()
	if err != nil {
		return err
	}
	g, err := layout.Group(path)
	if err != nil {
		return err
	}
	if g.Exists() {
		if err := g.Kill(); err != nil {
			return err
		}
	}
	return g.Remove(ctx) // its parents may be there without it
}

// sweepLocked removes what is left of an instance whose supervisor is gone,
// and whose lock the caller holds, and gives up the lock. One whose init is alive
// gets another supervisor. ended says that it has ended; rec is zero unless it is
// known.
func sweepLocked(ctx context.Context, lock *runLock, path string) (rec record, ended bool, err error) {
	st, err := loadState(lock.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		st = state{} // written in part or by nobody: the cgroup says the rest
	}
	if st.Ready {
		if fd, err := st.openInit(); err == nil {
			return record{}, false, errors.Join(unix.Close(fd), startAdopter(lock), lock.release())
		}
	}
	return finish(ctx, lock, st, path, Exit{At: time.Now().UTC(), Reason: ExitUnknown})
}

// finish removes all of an instance and gives up the lock, in place of its
// supervisor.
func finish(ctx context.Context, lock *runLock, st state, path string, exit Exit) (rec record, ended bool, err error) {
	rec, rerr := loadRecord(lock.dir)
	if rerr != nil {
		rec = record{} // it ended before it ran
	}
	if err := errors.Join(clean(ctx, lock.dir, st, path), removeGroup(ctx, path+monitorSuffix), exit.save(rec.Spec.ExitFile)); err != nil {
		return rec, false, errors.Join(err, lock.release())
	}
	return rec, true, lock.remove()
}
