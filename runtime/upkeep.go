package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/wait"
)

// Hooks are what is to be done for instances by whoever starts them: this package
// knows nothing of it. They are told Spec.About.
type Hooks struct {
	// Look says whether the upkeep of an instance has something to do (Act), and
	// under which conditions it is to be called again. It is called when the
	// instance has booted, and in a process of its own when a condition is met, with
	// what it returned as Saved the time before, nil at first, and with the highest
	// value since then of each condition (Within).
	Look func(about string, saved json.RawMessage, highest []uint64) (Look, error)
	// Act does it, in that process, which ends with the supervisor; one at a time.
	// ctx ends when the instance does, and the process is killed soon after that:
	// the stop waits for it. Look is called again after it.
	Act func(ctx context.Context, about string) error
	// Ended is called when the instance has ended for good and nothing is left of
	// the run: always if Spec.TellEnd is set, otherwise if it has ended of itself.
	Ended func(ctx context.Context, about string, how EndKind) error
}

// EndKind says by whose will an instance has ended.
type EndKind int

// The kinds.
const (
	EndedByOthers EndKind = iota // a stop, a host that shuts down, or not known: its supervisor had been killed
	EndedByItself                // powered off from inside, or its init has ended
)

// Look is the result of Hooks.Look.
type Look struct {
	Due        bool
	Conditions []Condition
	Saved      json.RawMessage
}

const (
	// upkeepFile is in the run directory, upkeepState in JSON.
	upkeepFile = "upkeep.json"
	// lookPause is how long it is not looked again at what is due all the time, or
	// could not be looked at.
	lookPause  = 2 * time.Second
	retryPause = time.Minute
)

// upkeepState is what one look leaves to the next.
type upkeepState struct {
	Saved json.RawMessage `json:"saved,omitempty"`
	// Told is the last problem, which is logged once and not every time.
	Told string `json:"told,omitempty"`
}

// lookFirst looks when the instance has booted.
func (s *supervisor) lookFirst() (wanted bool, err error) {
	if s.spec.About == "" || s.hooks.Look == nil {
		return false, nil
	}
	look, err := s.hooks.Look(s.spec.About, nil, nil)
	if err != nil {
		return false, fmt.Errorf("upkeep: %w", err)
	}
	if look.Due {
		look.Conditions = append(look.Conditions, Always(lookPause))
	}
	return true, saveLook(s.spec.RunDir, look.Conditions, upkeepState{Saved: look.Saved})
}

func saveLook(runDir string, conditions []Condition, st upkeepState) error {
	data, err := json.Marshal(st)
	if err == nil {
		err = writeAtomic(filepath.Join(runDir, upkeepFile), data)
	}
	if err == nil {
		var b strings.Builder
		for _, c := range conditions {
			b.WriteString(c.line())
		}
		err = writeAtomic(filepath.Join(runDir, wait.ConditionsFile), []byte(b.String()))
	}
	if err != nil {
		return fmt.Errorf("upkeep: cannot save its state: %w", err)
	}
	return nil
}

// runUpkeep is the main of the process that looks and acts; the result is its
// exit status.
func runUpkeep(hooks Hooks) int {
	debug.SetGCPercent(100) // a supervisor has none
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if len(os.Args) < 3 || hooks.Look == nil || hooks.Act == nil {
		return 2
	}
	name, runDir := os.Args[1], os.Args[2]
	var highest []uint64
	for _, arg := range os.Args[3:] {
		n, err := strconv.ParseUint(arg, 10, 64)
		if err != nil {
			return 2
		}
		highest = append(highest, n)
	}
	st, conditions, err := upkeepOnce(ctx, hooks, runDir, highest)
	problem := ""
	if err != nil && ctx.Err() == nil {
		problem = err.Error()
	}
	if problem != "" && problem != st.Told {
		fmt.Fprintf(os.Stderr, "%s: upkeep: %s\n", name, problem)
	}
	st.Told = problem
	if err := saveLook(runDir, conditions, st); err != nil && !errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 1
	}
	return 0
}

// upkeepOnce looks, acts and looks again.
func upkeepOnce(ctx context.Context, hooks Hooks, runDir string, highest []uint64) (st upkeepState, conditions []Condition, err error) {
	conditions = []Condition{Always(retryPause)} // after a failure
	rec, err := loadRecord(runDir)
	if err != nil {
		return st, conditions, err
	}
	f, err := os.Open(filepath.Join(runDir, upkeepFile))
	if err == nil {
		err = decodeLimited(f, &st)
	}
	if err != nil {
		return st, conditions, err
	}
	look, err := hooks.Look(rec.Spec.About, st.Saved, highest)
	if err != nil {
		return st, conditions, err
	}
	var acted error
	if look.Due {
		acted = hooks.Act(ctx, rec.Spec.About)
		st.Saved = look.Saved
		if look, err = hooks.Look(rec.Spec.About, st.Saved, nil); err != nil {
			return st, conditions, errors.Join(acted, err)
		}
	}
	if look.Due {
		look.Conditions = append(look.Conditions, Always(lookPause))
	}
	st.Saved = look.Saved
	return st, look.Conditions, acted
}
