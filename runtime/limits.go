package runtime

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
)

// Limits are what an instance gets of the host. The zero value is no limit.
type Limits struct {
	cgroup.Limits
	// CPUCount is how many processors it runs on; which, is balanced between all
	// instances that have a number, see balance. CPUs limits the choice.
	CPUCount int `json:"cpu_count,omitempty"`
	// Rlimits are resource limits of all its processes by the kernel's name
	// without RLIMIT_, in small letters ("nofile"). A change is one for what is
	// executed later.
	Rlimits map[string]Rlimit `json:"rlimits,omitempty"`
	// OOMScore is how early its processes are killed when the host is out of
	// memory, -1000 to 1000 (man proc_pid_oom_score_adj).
	OOMScore int `json:"oom_score,omitempty"`
}

// Rlimit is the soft and the hard limit of one resource; RlimitInfinity is none.
type Rlimit struct {
	Soft uint64 `json:"soft"`
	Hard uint64 `json:"hard"`
}

// RlimitInfinity stands for no limit.
const RlimitInfinity = unix.RLIM_INFINITY

// rlimits are the resources by name (man getrlimit).
var rlimits = map[string]int{
	"as": unix.RLIMIT_AS, "core": unix.RLIMIT_CORE, "cpu": unix.RLIMIT_CPU, "data": unix.RLIMIT_DATA, "fsize": unix.RLIMIT_FSIZE,
	"locks": unix.RLIMIT_LOCKS, "memlock": unix.RLIMIT_MEMLOCK, "msgqueue": unix.RLIMIT_MSGQUEUE, "nice": unix.RLIMIT_NICE,
	"nofile": unix.RLIMIT_NOFILE, "nproc": unix.RLIMIT_NPROC, "rss": unix.RLIMIT_RSS, "rtprio": unix.RLIMIT_RTPRIO,
	"rttime": unix.RLIMIT_RTTIME, "sigpending": unix.RLIMIT_SIGPENDING, "stack": unix.RLIMIT_STACK,
}

// KnownRlimit says whether there is a resource of that name.
func KnownRlimit(name string) bool { _, ok := rlimits[name]; return ok }

// RlimitNames are the names of all resources.
func RlimitNames() []string { return slices.Sorted(maps.Keys(rlimits)) }

func (l Limits) validate() error {
	for name, r := range l.Rlimits {
		if !KnownRlimit(name) {
			return fmt.Errorf("invalid resource %q", name)
		}
		if r.Soft > r.Hard {
			return fmt.Errorf("invalid limit of %s: the soft one is above the hard one", name)
		}
	}
	if l.OOMScore < -1000 || l.OOMScore > 1000 {
		return fmt.Errorf("invalid out-of-memory score %d", l.OOMScore)
	}
	return nil
}

func (l Limits) isZero() bool { return reflect.DeepEqual(l, Limits{}) }

// limitsFile is the file of a run directory that has an instance's limits; there
// is none when it has none.
const limitsFile = "limits.json"

func saveLimits(runDir string, l Limits) error {
	file := filepath.Join(runDir, limitsFile)
	if l.isZero() {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot save the instance's limits: %w", err)
		}
		return nil
	}
	data, err := json.Marshal(l)
	if err == nil {
		err = writeAtomic(file, data)
	}
	if err != nil {
		return fmt.Errorf("cannot save the instance's limits: %w", err)
	}
	return nil
}

func loadLimits(runDir string) (Limits, error) {
	var l Limits
	data, err := os.ReadFile(filepath.Join(runDir, limitsFile))
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &l)
	}
	if err != nil {
		return l, fmt.Errorf("cannot read the instance's limits: %w", err)
	}
	return l, nil
}

// Limits are those that the instance has.
func (i *Instance) Limits() (Limits, error) { return loadLimits(i.dir) }

// SetLimits changes the limits of the running instance; those of files and the
// like are for processes that are executed later. When one cannot be set, none
// is changed. The caller keeps others from changing them at the same time.
func (i *Instance) SetLimits(l Limits) (err error) {
	if err := l.validate(); err != nil {
		return err
	}
	was, err := loadLimits(i.dir)
	if err != nil {
		return err
	}
	g, err := i.group()
	if err != nil {
		return err
	}
	if err := applyLimits(g, was, l); err != nil {
		return err
	}
	if err := saveLimits(i.dir, l); err != nil {
		return errors.Join(err, applyLimits(g, l, was))
	}
	if l.OOMScore != was.OOMScore {
		if err := i.setOOMScores(g, l.OOMScore); err != nil {
			return errors.Join(err, applyLimits(g, l, was), saveLimits(i.dir, was))
		}
	}
	if l.CPUCount != 0 || was.CPUCount != 0 || l.CPUs != was.CPUs {
		if err := balance(filepath.Dir(i.dir)); err != nil {
			err = errors.Join(err, applyLimits(g, l, was), saveLimits(i.dir, was))
			if l.OOMScore != was.OOMScore {
				err = errors.Join(err, i.setOOMScores(g, was.OOMScore))
			}
			return err
		}
	}
	return nil
}

// applyLimits sets what the kernel does for the group. Where a number of
// processors is wanted, which they are is the business of balance.
func applyLimits(g cgroup.Group, from, to Limits) error {
	for _, l := range []*Limits{&from, &to} {
		if l.CPUCount > 0 {
			l.CPUs = ""
		}
	}
	if from.CPUCount > 0 && to.CPUCount == 0 && to.CPUs == "" {
		from.CPUs = "balanced" // anything but what it is to have
	}
	return g.Apply(from.Limits, to.Limits)
}
