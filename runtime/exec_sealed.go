package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"poolctl/runtime/join"
)

// joinRequest is what the program that joins a privileged instance is told. Its
// files are inherited, in the order of joinFiles.
type joinRequest struct {
	Target  join.Target
	Command join.Command
	Unified bool
	Tasks   int
}

// joinAnswer says what became of it. PIDs are children of the asking process, of
// which the last one runs the command unless there is an Error.
type joinAnswer struct {
	PIDs  []int
	Op    string
	Errno int
	Exec  bool
	Error string
}

// Inherited files of the program that joins: the socket, the pidfd, the standard
// files; then the v2 group if there is one, and the tasks files.
const (
	joinSocket = 3 + iota
	joinPIDFD
	joinStdio
	joinCgroups = joinStdio + 3
)

// startJoin is join.Start for a privileged instance: from a sealed copy of this
// program. The command is a child of this process all the same.
func startJoin(t join.Target, c join.Command) (pid int, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot make a socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "joiner"), os.NewFile(uintptr(fds[1]), "caller")
	defer func() { _ = ours.Close() }() // all that matters has been read
	program, err := sealedProgram()
	if err != nil {
		return 0, errors.Join(err, theirs.Close())
	}
	pidfd, err := unix.FcntlInt(uintptr(t.PIDFD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("cannot copy a descriptor: %w", err), theirs.Close(), program.Close())
	}
	init := os.NewFile(uintptr(pidfd), "init")
	request := joinRequest{Target: t, Command: c, Unified: t.Cgroup != nil, Tasks: len(t.Tasks)}
	cmd := exec.CommandContext(context.Background(), pathOf(program)) // it ends by itself
	cmd.Args = []string{joinName}
	cmd.Env = supervisorEnv
	cmd.ExtraFiles = append([]*os.File{theirs, init}, c.Stdio[:]...)
	if t.Cgroup != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, t.Cgroup)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, t.Tasks...)
	request.Target.Tasks, request.Target.Cgroup, request.Command.Stdio = nil, nil, [3]*os.File{}
	err = cmd.Start()
	if err = errors.Join(err, theirs.Close(), init.Close(), program.Close()); err != nil {
		return 0, fmt.Errorf("cannot start a process: %w", err)
	}
	var answer joinAnswer
	if err = json.NewEncoder(ours).Encode(request); err == nil {
		err = json.NewDecoder(ours).Decode(&answer)
	}
	if werr := cmd.Wait(); err == nil {
		err = werr
	}
	if err != nil {
		return 0, fmt.Errorf("cannot enter the instance: %w", err)
	}
	return answer.result()
}

// result reaps what is not the command.
func (a joinAnswer) result() (int, error) {
	var err error
	switch {
	case a.Op != "":
		err = &join.Error{Op: a.Op, Err: syscall.Errno(a.Errno), Exec: a.Exec} //nolint:gosec // it was one
	case a.Error != "":
		err = errors.New(a.Error)
	case len(a.PIDs) == 0:
		err = errors.New("cannot enter the instance: no process was made")
	}
	command := 0
	if err == nil {
		command = a.PIDs[len(a.PIDs)-1]
	}
	for _, pid := range a.PIDs {
		if pid != command {
			err = errors.Join(err, join.Reap(pid))
		}
	}
	return command, err
}

// runJoin is the whole life of the program that joins.
func runJoin() int {
	socket := os.NewFile(joinSocket, "caller")
	unix.CloseOnExec(joinSocket)
	var r joinRequest
	if err := json.NewDecoder(socket).Decode(&r); err != nil {
		return 1
	}
	r.Target.PIDFD = joinPIDFD
	for i := range r.Command.Stdio {
		r.Command.Stdio[i] = os.NewFile(uintptr(joinStdio+i), "stdio") //nolint:gosec // 5 to 7
	}
	next := uintptr(joinCgroups)
	if r.Unified {
		r.Target.Cgroup = os.NewFile(next, "cgroup")
		next++
	}
	for range r.Tasks {
		r.Target.Tasks = append(r.Target.Tasks, os.NewFile(next, "tasks"))
		next++
	}
	var a joinAnswer
	var err error
	a.PIDs, err = join.StartForParent(r.Target, r.Command)
	var jerr *join.Error
	var errno syscall.Errno
	if errors.As(err, &jerr) && errors.As(jerr.Err, &errno) {
		a.Op, a.Errno, a.Exec = jerr.Op, int(errno), jerr.Exec
	} else if err != nil {
		a.Error = err.Error()
	}
	if err := json.NewEncoder(socket).Encode(a); err != nil {
		return 1
	}
	return 0
}
