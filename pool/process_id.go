package pool

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// processID names a process of this boot: the number alone may be another one's later.
type processID struct {
	PID int `json:"pid"`
	// Start is field 22 of /proc/PID/stat (man proc_pid_stat), in clock ticks.
	Start string `json:"start"`
}

func ownProcessID() (processID, error) {
	pid := os.Getpid()
	_, start, err := processStat(pid)
	return processID{pid, start}, err
}

// alive says whether the process has not ended; a zombie has.
func (p processID) alive() bool {
	state, start, err := processStat(p.PID)
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) && !errors.Is(err, unix.ESRCH)
	}
	return start == p.Start && state != "Z" && state != "X"
}

// processStat reads the state and the start time of a process.
func processStat(pid int) (state, start string, err error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return "", "", err
	}
	// The second field, the name, may hold spaces and parentheses.
	stat := string(data)
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 20 {
		return "", "", errors.New("invalid /proc/PID/stat")
	}
	return f[0], f[19], nil
}
