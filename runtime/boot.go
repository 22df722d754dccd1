package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime/caps"
	"poolctl/runtime/cgroup"
	"poolctl/runtime/stage"
)

// process is an instance's PID 1: the stage, then its init.
type process struct {
	cmd   *exec.Cmd
	pidfd int
	tasks int // how many files of v1 cgroups it has inherited
}

// kill ends it and reaps it.
func (p *process) kill() error {
	err := unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		err = nil
	}
	return errors.Join(err, p.wait())
}

// wait reaps it.
func (p *process) wait() error {
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return errors.Join(err, unix.Close(p.pidfd))
}

// boot makes cgroup, namespaces, mounts and network, and returns once init has
// been executed. On failure the process is gone; the caller cleans the rest.
func (s *supervisor) boot(ctx context.Context) (*process, error) {
	uid, _ := hostID(s.spec.UIDMap, 0)
	gid, _ := hostID(s.spec.GIDMap, 0)
	if err := s.group.Create(uid, gid); err != nil {
		return nil, err
	}
	limits, err := loadLimits(s.spec.RunDir) // those of now: this may be a reboot
	if err != nil {
		return nil, err
	}
	s.rlimits, s.oomScore = limits.Rlimits, limits.OOMScore
	if err := applyLimits(s.group, Limits{}, limits); err != nil {
		return nil, err
	}
	if limits.CPUCount > 0 || limits.CPUs != "" {
		if err := balance(filepath.Dir(s.spec.RunDir)); err != nil {
			return nil, err
		}
	}
	if err := s.limitDevices(uid, gid); err != nil {
		return nil, err
	}
	entrance, err := s.group.Enter()
	if err != nil {
		return nil, err
	}
	init, err := s.bootIn(ctx, entrance)
	if cerr := entrance.Close(); cerr != nil && err == nil {
		return nil, errors.Join(cerr, init.kill())
	}
	return init, err
}

func (s *supervisor) bootIn(ctx context.Context, entrance *cgroup.Entrance) (_ *process, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return nil, fmt.Errorf("cannot make a mount namespace: %w", err)
	}
	home := false
	goHome := func() error {
		if home {
			return nil
		}
		home = true
		if err := unix.Setns(int(s.hostNS.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("cannot return to the host's mount namespace: %w", err)
		}
		return nil
	}
	defer func() { err = errors.Join(err, goHome()) }()
	// Unmounting on the host reaches the copy, nothing here reaches the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return nil, fmt.Errorf("cannot make the mounts private: %w", err)
	}
	init, sock, err := s.startStage(entrance)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sock.Close()) }()
	stop := context.AfterFunc(ctx, func() { _ = unix.PidfdSendSignal(init.pidfd, unix.SIGKILL, nil, 0) })
	disks, err := loadDisks(s.spec.RunDir)
	if err == nil {
		err = s.talk(ctx, init, int(sock.Fd()), byDepth(disks), goHome)
	}
	if !stop() && err == nil {
		err = ctx.Err() // it has been killed
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, errors.Join(err, init.kill())
	}
	return init, nil
}

// startStage executes this program as the stage, in new namespaces but for
// those of mounts and cgroups.
func (s *supervisor) startStage(entrance *cgroup.Entrance) (*process, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make a socket: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "stage"), os.NewFile(uintptr(fds[1]), "supervisor")
	p := &process{pidfd: -1, tasks: len(entrance.Tasks)}
	p.cmd = exec.CommandContext(context.Background(), "/proc/self/exe") // ended by its cgroup and PDEATHSIG, not by a context
	p.cmd.Args = []string{stageName}
	p.cmd.Env = supervisorEnv
	p.cmd.ExtraFiles = append([]*os.File{theirs}, entrance.Tasks...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:                 unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		UidMappings:                sysMap(s.spec.UIDMap),
		GidMappings:                sysMap(s.spec.GIDMap),
		GidMappingsEnableSetgroups: true,
		AmbientCaps:                caps.All(),
		Pdeathsig:                  unix.SIGKILL,
		PidFD:                      &p.pidfd,
	}
	if s.spec.Idle {
		program, err := idleProgram()
		if err != nil {
			return nil, nil, errors.Join(err, ours.Close(), theirs.Close())
		}
		defer func() { _ = program.Close() }() // the process has it
		// From within a user namespace the supervisor's files are out of reach.
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, program)
		p.cmd.Path = fmt.Sprintf("/proc/self/fd/%d", stage.SocketFD+len(p.cmd.ExtraFiles)-1)
	} else if s.spec.Privileged {
		program, err := sealedProgram()
		if err != nil {
			return nil, nil, errors.Join(err, ours.Close(), theirs.Close())
		}
		defer func() { _ = program.Close() }() // the process has it
		p.cmd.Path = pathOf(program)
	}
	if s.spec.Privileged {
		p.cmd.SysProcAttr.Cloneflags &^= unix.CLONE_NEWUSER
		p.cmd.SysProcAttr.UidMappings, p.cmd.SysProcAttr.GidMappings = nil, nil
		p.cmd.SysProcAttr.AmbientCaps = nil // root keeps them
	}
	if entrance.Unified != nil {
		p.cmd.SysProcAttr.UseCgroupFD = true
		p.cmd.SysProcAttr.CgroupFD = int(entrance.Unified.Fd())
	}
	err = p.cmd.Start()
	if cerr := theirs.Close(); err == nil && cerr != nil {
		err = errors.Join(cerr, p.kill())
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("cannot make the instance's namespaces: %w", err), ours.Close())
	}
	return p, ours, nil
}

func sysMap(maps []IDMap) []syscall.SysProcIDMap {
	out := make([]syscall.SysProcIDMap, len(maps))
	for i, m := range maps {
		out[i] = syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)}
	}
	return out
}

// talk is the supervisor's side of the protocol in package stage.
func (s *supervisor) talk(ctx context.Context, init *process, sock int, disks []Disk, goHome func() error) error {
	pid := init.cmd.Process.Pid
	attached := make(chan error, 1)
	go func() { attached <- s.attachNICs(ctx, pid) }()
	err := s.talkMounts(ctx, init, sock, disks, goHome)
	if nerr := <-attached; err == nil {
		err = nerr
	}
	if err != nil {
		return err
	}
	if err := s.note(pid, false); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := stage.Send(sock, stage.Message{Kind: stage.KindGo}, -1); err != nil {
		return err
	}
	// The socket closes as init is executed; an idle one closes it later, itself.
	if err := expect(sock, "", nil); !errors.Is(err, stage.ErrClosed) {
		return err
	}
	if err := s.awaitInit(init, s.console.master); err != nil {
		return err
	}
	return s.note(pid, true)
}

// talkMounts is the part up to the console.
func (s *supervisor) talkMounts(ctx context.Context, init *process, sock int, disks []Disk, goHome func() error) error {
	if err := prepareProcess(init.cmd.Process.Pid, s.rlimits, s.oomScore); err != nil {
		return err
	}
	cfg := stage.Config{
		Hostname: s.spec.Hostname, Init: s.spec.initArgs(), Program: s.spec.program(), Env: s.spec.environ(),
		Linux32: s.spec.Linux32, Filter: s.spec.Filter, Nesting: s.spec.Nesting, Cgroups: guestLayout(s.layout), Tasks: init.tasks,
		Sysctls: s.spec.Sysctls, Files: softFiles,
	}
	if own, ok := s.rlimits["nofile"]; ok {
		cfg.Files = own.Soft
	}
	for _, d := range disks {
		cfg.Disks = append(cfg.Disks, d.staged())
	}
	if err := stage.Send(sock, stage.Message{Kind: stage.KindConfig, Config: &cfg}, -1); err != nil {
		return err
	}
	if err := s.sendDisks(ctx, init, sock, disks); err != nil {
		return err
	}
	userns, err := s.spec.rootNamespace(init.cmd.Process.Pid)
	if err != nil {
		return err
	}
	// The device cgroup is what keeps a privileged one from devices; it may make
	// and use the nodes of those that it has.
	root, err := mapRoot(s.spec.Rootfs, userns, !s.spec.Privileged)
	if userns != nil {
		if cerr := userns.Close(); err == nil && cerr != nil { // the mount holds it
			err = errors.Join(cerr, unix.Close(root))
		}
	}
	if err != nil {
		return err
	}
	err = stage.Send(sock, stage.Message{Kind: stage.KindRoot}, root)
	if cerr := unix.Close(root); err == nil && cerr != nil {
		err = fmt.Errorf("cannot close the root filesystem: %w", cerr)
	}
	if err != nil {
		return err
	}
	if err := expect(sock, stage.KindMoved, nil); err != nil {
		return err
	}
	if err := goHome(); err != nil {
		return err
	}
	master := -1
	if err := expect(sock, stage.KindConsole, &master); err != nil {
		return err
	}
	return s.console.is(master)
}

// sendDisks makes the mounts of the disks and hands them over.
func (s *supervisor) sendDisks(ctx context.Context, init *process, sock int, disks []Disk) error {
	mounts, err := lockedMounts(ctx, s.spec.RunDir, disks, s.spec.UIDMap, s.spec.GIDMap, init.cmd.Process.Pid)
	if err != nil {
		return err
	}
	defer closeMounts(mounts)
	for _, fd := range mounts {
		if err := stage.Send(sock, stage.Message{Kind: stage.KindDisk}, fd); err != nil {
			return err
		}
	}
	return nil
}

// expect receives a message of one kind, or the stage's error. The descriptor
// that comes with it is put into fd, which may be nil when there is none.
func expect(sock int, kind stage.Kind, fd *int) error {
	m, got, err := stage.Receive(sock)
	switch {
	case errors.Is(err, stage.ErrClosed) && kind != "":
		return errors.New("the instance's first process ended unexpectedly")
	case err != nil:
		return err
	case m.Kind == stage.KindFailed:
		return errors.New(m.Error)
	case m.Kind != kind || (fd == nil) != (got < 0):
		return fmt.Errorf("unexpected message %q from the instance's first process", m.Kind)
	}
	if fd != nil {
		*fd = got
	}
	return nil
}

// note saves what is to be known of the process.
func (s *supervisor) note(pid int, ready bool) error {
	start, err := startTime(pid)
	if err != nil {
		return fmt.Errorf("cannot read the start time of process %d: %w", pid, err)
	}
	s.state.InitPID, s.state.InitStart, s.state.Ready = pid, start, ready
	if ready {
		s.state.Restarting = false
		s.state.StartedAt = time.Now().UTC()
	}
	return s.state.save(s.spec.RunDir)
}

// guestLayout is what an instance gets to see of the host's hierarchies.
func guestLayout(l cgroup.Layout) []stage.Hierarchy {
	if l.Pure() {
		return []stage.Hierarchy{{Unified: true}}
	}
	out := make([]stage.Hierarchy, len(l))
	for i, h := range l {
		out[i] = stage.Hierarchy{Dir: h.Dir(), Unified: h.Unified, Controllers: h.Controllers, Name: h.Name}
	}
	return out
}
