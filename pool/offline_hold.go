package pool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// offlineMark is in the names under which the runtime has commands that run offline.
// No instance's name has it.
const offlineMark = "@"

// isOfflineID says whether it is such a name.
func isOfflineID(id string) bool { return strings.Contains(id, offlineMark) }

// offlineHold says that a command runs in an instance or a snapshot: a file that the
// process which runs it holds the flock of, so that the next command knows when that
// process is gone.
type offlineHold struct {
	id   string // in the runtime
	path string
	file *os.File
}

// offlineNote is what is in the file.
type offlineNote struct {
	Ref  string `json:"ref"` // NAME or NAME/SNAPSHOT
	Pool string `json:"pool"`
	// Network says that it has the instance's network devices.
	Network bool `json:"network,omitempty"`
	// Owner is the process that runs the command.
	Owner processID `json:"owner"`
}

// maxOfflineNote bounds what is read of it, in bytes.
const maxOfflineNote = 4096

func (s *System) offlineDir() string { return filepath.Join(s.dir.Run(), "offline") }

func (s *System) offlineCgroup(id string) string { return s.cgroups + "/" + id }

// holdOffline notes that a command runs in an instance, one at a time, or in a copy of
// a snapshot, of which one at a time has the instance's network devices. The caller has
// the instance's lock.
func (s *System) holdOffline(about offlineNote) (_ *offlineHold, err error) {
	name, _, isSnapshot := strings.Cut(about.Ref, "/")
	if about.Network {
		if err := s.checkNetworkFree(name); err != nil {
			return nil, err
		}
	}
	id := name + offlineMark + "offline"
	if isSnapshot {
		id = name + offlineMark + strconv.Itoa(os.Getpid())
	}
	if about.Owner, err = ownProcessID(); err != nil {
		return nil, err
	}
	note, err := json.Marshal(about)
	if err != nil {
		return nil, err
	}
	for range 100 {
		if err := os.MkdirAll(s.offlineDir(), 0o700); err != nil {
			return nil, err
		}
		path := filepath.Join(s.offlineDir(), id)
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the directory was removed just now
		} else if err != nil {
			return nil, err
		}
		held, err := lockIfThere(f, path)
		if err == nil && held {
			if err = f.Truncate(0); err == nil {
				_, err = f.WriteAt(note, 0)
			}
			if err == nil {
				return &offlineHold{id, path, f}, nil
			}
		}
		err = errors.Join(err, f.Close())
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("%w: a command runs in it already (exec --offline)", ErrInUse)
		} else if err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("cannot hold %s", about.Ref)
}

// lockIfThere takes the flock of a file, if path still names it.
func lockIfThere(f *os.File, path string) (bool, error) {
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return false, err
	}
	held, err := f.Stat()
	if err != nil {
		return false, err
	}
	named, err := os.Lstat(path)
	if err != nil {
		return false, ignoreNotExist(err)
	}
	return os.SameFile(held, named), nil
}

// release gives it back.
func (h *offlineHold) release() error {
	err := errors.Join(os.Remove(h.path), h.file.Close())
	_ = os.Remove(filepath.Dir(h.path)) // unless there are others
	return err
}

// sweepOffline ends the commands whose process was killed.
func (s *System) sweepOffline(ctx context.Context) error {
	entries, err := os.ReadDir(s.offlineDir())
	if err != nil {
		return ignoreNotExist(err)
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, s.sweepOfflineRun(ctx, e.Name()))
	}
	return errors.Join(errs...)
}

func (s *System) sweepOfflineRun(ctx context.Context, id string) error {
	path := filepath.Join(s.offlineDir(), id)
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return ignoreNotExist(err)
	}
	held, err := lockOfGone(ctx, f, path)
	if err != nil || !held {
		return errors.Join(err, f.Close())
	}
	run := &offlineRun{s: s, hold: &offlineHold{id, path, f}}
	return run.end(ctx)
}

// lockOfGone takes the lock from a process that is gone; false of one that lives, and
// when the file is gone. A child that was being made as the process was killed has the
// lock until it executes its program; and another command may be cleaning up.
func lockOfGone(ctx context.Context, f *os.File, path string) (bool, error) {
	for {
		held, err := lockIfThere(f, path)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return held, err
		}
		if note, ok := readOfflineNote(f); !ok || note.Owner.alive() {
			return false, nil // what is not written yet has an owner
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(holdPoll):
		}
	}
}

// holdPoll is how often a lock is tried again whose process is gone.
const holdPoll = 5 * time.Millisecond

func readOfflineNote(f *os.File) (note offlineNote, ok bool) {
	raw, err := io.ReadAll(io.NewSectionReader(f, 0, maxOfflineNote))
	return note, err == nil && json.Unmarshal(raw, &note) == nil
}

// offlineNotes are those of the commands that run now, or could not be cleaned up
// after.
func (s *System) offlineNotes() []offlineNote {
	entries, err := os.ReadDir(s.offlineDir())
	if err != nil {
		return nil
	}
	var out []offlineNote
	for _, e := range entries {
		f, err := os.OpenFile(filepath.Join(s.offlineDir(), e.Name()), os.O_RDONLY|unix.O_NOFOLLOW, 0)
		if err != nil {
			continue // it has ended
		}
		if note, ok := readOfflineNote(f); ok {
			out = append(out, note)
		}
		_ = f.Close() // read only
	}
	return out
}

// offlineIn are the instances and snapshots of a pool in which commands run.
func (s *System) offlineIn(pool string) (refs []string) {
	for _, n := range s.offlineNotes() {
		if n.Pool == pool {
			refs = append(refs, n.Ref)
		}
	}
	return refs
}

// checkNoOffline refuses to delete or rename, for instance, an instance or snapshot in
// which a command runs; of an instance also when it runs in a copy of a snapshot of it.
func (s *System) checkNoOffline(refs ...string) error {
	return s.refuseOffline(func(n offlineNote) bool {
		return slices.ContainsFunc(refs, func(r string) bool { return n.Ref == r || strings.HasPrefix(n.Ref, r+"/") })
	})
}

// checkRootFree refuses to use an instance's root while a command runs in it.
func (s *System) checkRootFree(name string) error {
	return s.refuseOffline(func(n offlineNote) bool { return n.Ref == name })
}

// checkNetworkFree refuses to use an instance's network devices while a command has them.
func (s *System) checkNetworkFree(name string) error {
	return s.refuseOffline(func(n offlineNote) bool { return n.Network && (n.Ref == name || strings.HasPrefix(n.Ref, name+"/")) })
}

func (s *System) refuseOffline(inTheWay func(offlineNote) bool) error {
	for _, n := range s.offlineNotes() {
		if inTheWay(n) {
			return withHint(fmt.Errorf("%w: a command runs in %s (exec --offline)", ErrInUse, n.Ref), "end it first")
		}
	}
	return nil
}
