package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	goruntime "runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// UserNamespace makes a user namespace with those maps and no process in it, for
// idmapped mounts (man mount_setattr): an id on disk is a ContainerID, and is
// seen as the HostID. It lasts for as long as the file is open, or a mount has it.
//
// The kernel makes one only together with a process: a child that stops before
// its first instruction, being traced (man ptrace, PTRACE_TRACEME), and is
// killed.
func UserNamespace(uids, gids []IDMap) (*os.File, error) {
	// A tracer is a thread, and the child would go on if it ended.
	goruntime.LockOSThread()
	defer goruntime.UnlockOSThread()
	pidfd := -1
	cmd := exec.CommandContext(context.Background(), "/proc/self/exe") // it never runs
	cmd.Args = []string{"poolctl: user namespace"}
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER, UidMappings: sysMap(uids), GidMappings: sysMap(gids),
		Ptrace: true, Pdeathsig: unix.SIGKILL, PidFD: &pidfd,
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("cannot make a user namespace: %w", err)
	}
	ns, err := os.Open("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/ns/user")
	kerr := unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	var killed *exec.ExitError
	if werr := cmd.Wait(); kerr == nil && !errors.As(werr, &killed) {
		kerr = werr
	}
	if err = errors.Join(err, kerr, unix.Close(pidfd)); err != nil {
		if ns != nil {
			err = errors.Join(err, ns.Close())
		}
		return nil, fmt.Errorf("cannot make a user namespace: %w", err)
	}
	return ns, nil
}

// composeMaps is the map of an idmapped mount that shows a disk whose ids are
// shifted to an instance: of the ids that both know, from what is on the disk to
// what is on the host. onDisk maps an instance's ids to those on disk, host to
// those on the host.
func composeMaps(onDisk, host []IDMap) []IDMap {
	var out []IDMap
	for _, d := range onDisk {
		for _, h := range host {
			first := max(d.ContainerID, h.ContainerID)
			end := min(uint64(d.ContainerID)+uint64(d.Size), uint64(h.ContainerID)+uint64(h.Size))
			if uint64(first) < end {
				out = append(out, IDMap{
					ContainerID: d.HostID + (first - d.ContainerID), HostID: h.HostID + (first - h.ContainerID), Size: uint32(end - uint64(first)), //nolint:gosec // at most that of d
				})
			}
		}
	}
	return out
}
