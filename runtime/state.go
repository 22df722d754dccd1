package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/wait"
)

// state is a run directory's state.json. It says what was made, not what is
// alive: see doc.go.
type state struct {
	Name string `json:"name"`
	// InitPID and InitStart identify PID 1 on the host: /proc/PID/stat's start
	// time, in clock ticks after boot. 0 as long as there is none.
	InitPID   int    `json:"init_pid,omitempty"`
	InitStart uint64 `json:"init_starttime,omitempty"`
	// BootID is the host's boot that this is about: the run directory may lie on a
	// disk.
	BootID string `json:"boot_id"`
	// Ready is set once the image's init has been executed.
	Ready bool `json:"ready,omitempty"`
	// Restarting says that the supervisor is about to boot it again after a pause.
	Restarting bool `json:"restarting,omitempty"`
	// NoConsole says that the console was lost with the supervisor that had it.
	NoConsole     bool      `json:"no_console,omitempty"`
	SupervisorPID int       `json:"supervisor_pid"`
	StartedAt     time.Time `json:"started_at,omitzero"`
	Cgroup        string    `json:"cgroup"`
	Linux32       bool      `json:"linux32,omitempty"`
	Privileged    bool      `json:"privileged,omitempty"`
	UIDMap        []IDMap   `json:"uid_map"`
	GIDMap        []IDMap   `json:"gid_map"`
}

// Files of a run directory.
const (
	stateFile = "state.json"
	lockFile  = "lock"
	stopFile  = "stopping" // locked while somebody stops the instance
	// filterFile is the filter of system calls, for who joins the instance.
	filterFile = "filter"
)

// runDirFiles are all files of a run directory; the lock goes last.
func runDirFiles() []string {
	names := []string{stopFile, filterFile, pinFile, wait.ConsoleSocket, proxiesLock}
	for _, name := range []string{disksFile, nicsFile, devicesFile, limitsFile, envFile, proxiesFile, wait.ProxiesFile, wait.ConditionsFile, upkeepFile, recordFile, stateFile} {
		names = append(names, name, name+newSuffix)
	}
	return append(names, lockFile)
}

// newSuffix is of a file that is being written, to replace the one without.
const newSuffix = ".new"

// maxState bounds what is read back.
const maxState = 1 << 20

// save replaces the state file atomically. What it says is of
// no use after a crash of the host: nothing is synced.
func (s state) save(runDir string) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := writeAtomic(filepath.Join(runDir, stateFile), data); err != nil {
		return fmt.Errorf("cannot save the instance's state: %w", err)
	}
	return nil
}

func writeAtomic(path string, data []byte) error {
	tmp := path + newSuffix
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func loadState(runDir string) (state, error) {
	var s state
	f, err := os.Open(filepath.Join(runDir, stateFile))
	if err != nil {
		return s, err
	}
	return s, decodeLimited(f, &s)
}

// openInit returns a pidfd of the init that the state names, or ErrNotRunning.
func (s state) openInit() (int, error) {
	if s.InitPID <= 0 {
		return -1, ErrNotRunning
	}
	boot, err := bootID()
	if err != nil {
		return -1, err
	}
	if s.BootID != boot {
		return -1, ErrNotRunning
	}
	fd, err := unix.PidfdOpen(s.InitPID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) { // EINVAL: a thread's number now
		return -1, ErrNotRunning
	}
	if err != nil {
		return -1, fmt.Errorf("cannot open process %d: %w", s.InitPID, err)
	}
	// The number is held now; whether it was ours when opened, the start time tells.
	start, err := startTime(s.InitPID)
	if err == nil && start == s.InitStart && !ended(fd) {
		return fd, nil
	}
	_ = unix.Close(fd) // nothing to lose
	if err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH) {
		return -1, err
	}
	return -1, ErrNotRunning
}

// bootID is a random id of the host's current boot (man proc_sys_kernel).
func bootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read the boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// ended reports whether a pidfd's process has ended, reaped or not.
func ended(pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 1
}

// startTime is field 22 of /proc/PID/stat (man proc_pid_stat).
func startTime(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	return parseStartTime(string(data))
}

func parseStartTime(stat string) (uint64, error) {
	// The second field, the name, may hold spaces and parentheses.
	i := strings.LastIndexByte(stat, ')')
	f := strings.Fields(stat[i+1:])
	if i < 0 || len(f) < 20 {
		return 0, errors.New("invalid /proc/PID/stat")
	}
	n, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("invalid start time in /proc/PID/stat: %w", err)
	}
	return n, nil
}

// runLock is the held lock of a run directory.
type runLock struct {
	dir  string
	file *os.File
}

// errLocked is returned by tryLock when another process holds the lock.
var errLocked = errors.New("the run directory is locked")

// tryLock takes the lock of a run directory; create makes directory and file
// when missing. Because the lock's file is removed with the directory by its
// holder, it is looked up again after it has been locked.
func tryLock(dir string, create bool) (*runLock, error) {
	path := filepath.Join(dir, lockFile)
	for {
		flags := os.O_RDWR
		if create {
			flags |= os.O_CREATE
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return nil, err
			}
		}
		f, err := os.OpenFile(path, flags|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			if create && errors.Is(err, os.ErrNotExist) {
				continue // its directory was removed just now
			}
			return nil, err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && sameFile(f, path) {
			return &runLock{dir: dir, file: f}, nil
		}
		_ = f.Close() // nothing to lose
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		if err != nil {
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
	}
}

func sameFile(f *os.File, path string) bool {
	a, err := f.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

// lockPoll is how often a held lock is tried again.
const lockPoll = 2 * time.Millisecond

// lockRunDir is tryLock, waiting until ctx ends.
func lockRunDir(ctx context.Context, dir string, create bool) (*runLock, error) {
	for {
		l, err := tryLock(dir, create)
		if !errors.Is(err, errLocked) {
			return l, err
		}
		select {
		case <-ctx.Done():
			return nil, errLocked
		case <-time.After(lockPoll):
		}
	}
}

// remove removes the run directory, and with it the lock.
func (l *runLock) remove() error {
	for _, name := range runDirFiles() {
		if err := os.Remove(filepath.Join(l.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return errors.Join(fmt.Errorf("cannot remove the run directory: %w", err), l.file.Close())
		}
	}
	// A Start that waits for the lock may have made a new one already.
	err := os.Remove(l.dir)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) {
		err = nil
	}
	return errors.Join(err, l.file.Close())
}

// release gives up the lock and leaves the directory.
func (l *runLock) release() error { return l.file.Close() }
