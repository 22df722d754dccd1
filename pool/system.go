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
	dir, err := state.Open(root)
	if err != nil {
		return nil, err
	}
	s := &System{dir: dir, version: o.Version, notice: o.Notice, cgroups: cgroupParent(root)}
	if s.notice == nil {
		s.notice = func(string) {}
	}
	if err := journal.Recover(ctx, s.journalDir(), s.journalHandlers()); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		if !errors.Is(err, state.ErrLocked) { // else another command is at it
			s.notice(err.Error()) // it stays in the journal, and the next command tries again
		}
	}
	if err := runtime.Sweep(ctx, s.instancesRunDir(), s.cgroups, Hooks()); err != nil {
		s.notice(err.Error())
	}
	sweepLooks(s.dir)
	return s, nil
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
