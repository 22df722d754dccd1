package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"poolctl/pool/journal"
	"poolctl/pool/state"
	"poolctl/remotes"
	"poolctl/runtime"
)

// Options say how a state directory is opened.
type Options struct {
	// Root is the state directory, /var/lib/poolctl by default.
	Root string
	// Version is poolctl's own, for the User-Agent and `info`.
	Version string
	// Notice is given one line for the user at a time; nil drops them.
	Notice func(string)
	// CleanUpLater leaves what killed commands left behind to Exec, the only
	// operation then, which cleans up while its command runs.
	CleanUpLater bool
}

// System is one opened state directory and everything that is reached from it.
// Its methods may be called from several goroutines and by several processes.
type System struct {
	dir     *state.Dir
	version string
	notice  func(string)
	// cgroups is the cgroup below which this state directory's instances live,
	// absolute in every hierarchy; several state directories never meet.
	cgroups string
	// uncleaned is the state directory, as it was named, of which what killed
	// commands left behind is still to be cleaned up; else "".
	uncleaned string

	toldOfProfiles sync.Map // the notices of reexpandKnown

	clientsMu sync.Mutex
	clients   []*remotes.Client
}

// Open opens the state directory o.Root, making it if it is not there, and
// finishes or undoes what killed commands left behind. It needs root.
func Open(ctx context.Context, o Options) (*System, error) {
	if os.Geteuid() != 0 {
		return nil, withHint(errors.New("cannot manage pools: must be run as root"), "try it with sudo")
	}
	root, err := filepath.Abs(o.Root)
	if err != nil {
		return nil, fmt.Errorf("cannot open the state directory %s: %w", o.Root, err)
	}
	s := &System{version: o.Version, notice: o.Notice, cgroups: cgroupParent(root)}
	if s.notice == nil {
		s.notice = func(string) {}
	}
	if o.CleanUpLater {
		if s.dir, err = state.Find(root); err == nil {
			s.uncleaned = root
			return s, nil
		}
	}
	if s.dir, err = state.Open(root); err != nil {
		return nil, err
	}
	return s, s.cleanUp(ctx, s.notice)
}

// cleanUp finishes or undoes what killed commands left behind. What cannot be
// cleaned up is told of and no error.
func (s *System) cleanUp(ctx context.Context, notice func(string)) error {
	if err := journal.Recover(ctx, s.journalDir(), s.journalHandlers()); err != nil {
		if ctx.Err() != nil {
			return err
		}
		if !errors.Is(err, state.ErrLocked) { // else another command is at it
			notice(err.Error()) // it stays in the journal, and the next command tries again
		}
	}
	if err := s.sweepOffline(ctx); err != nil {
		notice(err.Error())
	}
	if err := runtime.Sweep(ctx, s.instancesRunDir(), s.cgroups, Hooks()); err != nil {
		notice(err.Error())
	}
	sweepLooks(s.dir)
	return nil
}

// cleanUpNow does what Open has left for later.
func (s *System) cleanUpNow(ctx context.Context, notice func(string)) error {
	root := s.uncleaned
	if root == "" {
		return nil
	}
	s.uncleaned = ""
	if _, err := state.Open(root); err != nil {
		return err
	}
	return s.cleanUp(ctx, notice)
}

// Close releases what the System holds. Locks are released by the operations
// themselves.
func (s *System) Close() error { return nil }

func (s *System) noticef(format string, args ...any) { s.notice(fmt.Sprintf(format, args...)) }

func (s *System) journalDir() string             { return filepath.Join(s.dir.Root, "journal") }
func (s *System) instancesRunDir() string        { return filepath.Join(s.dir.Run(), "instances") }
func (s *System) instanceRunDir(n string) string { return filepath.Join(s.instancesRunDir(), n) }

// cgroupParent names the cgroup of a state directory: the same path for the
// same directory, another one for any other.
func cgroupParent(root string) string {
	sum := sha256.Sum256([]byte(root))
	return "/poolctl/" + hex.EncodeToString(sum[:4])
}
