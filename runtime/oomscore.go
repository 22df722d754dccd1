package runtime

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"poolctl/runtime/cgroup"
)

// setOOMScores gives the processes that there are a score: new ones inherit it.
func (i *Instance) setOOMScores(g cgroup.Group, score int) error {
	pids, err := g.Processes()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := setOOMScore(pid, score); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}

func setOOMScore(pid, score int) error {
	err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/oom_score_adj", []byte(strconv.Itoa(score)), 0)
	if errors.Is(err, os.ErrPermission) && score == 0 {
		return nil // less than the caller's own: on a host that keeps CAP_SYS_RESOURCE from its root
	}
	if err != nil {
		return fmt.Errorf("cannot set the out-of-memory score: %w", err)
	}
	return nil
}

// ownOOMScore is that of the calling process.
func ownOOMScore() (int, error) {
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0, fmt.Errorf("cannot read the out-of-memory score: %w", err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, fmt.Errorf("invalid out-of-memory score: %w", err)
	}
	return n, nil
}

var ownScore sync.Mutex

// withOOMScore calls f while the calling process has a score, which the processes
// that f makes inherit.
func withOOMScore(score int, f func() error) error {
	ownScore.Lock()
	defer ownScore.Unlock()
	was, err := ownOOMScore()
	if err != nil {
		return err
	}
	if was == score {
		return f()
	}
	if err := setOOMScore(os.Getpid(), score); err != nil {
		return err
	}
	// To go back up is always allowed, and to go down to what it was, too
	// (fs/proc/base.c, __set_oom_adj).
	return errors.Join(f(), setOOMScore(os.Getpid(), was))
}
