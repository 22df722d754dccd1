package runtime

import (
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Root opens the instance's root as its init sees it, with what is mounted in it.
// Ids seen there are the host's, and the maps say which. Paths in it are to be
// resolved as package guestfs does: whatever is in it is the guest's.
func (i *Instance) Root() (dir *os.File, uids, gids []IDMap, err error) {
	dir, err = os.OpenFile("/proc/"+strconv.Itoa(i.state.InitPID)+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
	if ended(i.pidfd) { // the number may be another's
		if err == nil {
			_ = dir.Close() // a path only
		}
		return nil, nil, nil, ErrNotRunning
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("cannot open the root of the instance: %w", err)
	}
	return dir, slices.Clone(i.state.UIDMap), slices.Clone(i.state.GIDMap), nil
}
