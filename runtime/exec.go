package runtime

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/runtime/join"
)

// ExecOptions are the arguments of Exec.
type ExecOptions struct {
	// Args is the command; a first argument without a slash is looked for in the
	// PATH of Env.
	Args []string
	// Env is added to the default environment (PATH, HOME, USER, LANG, TERM and
	// container, as from LXC's and Incus's exec) and to that of Spec.Env.
	Env map[string]string
	// Cwd is where it runs; empty means /root for the instance's root, if there
	// is one, else /.
	Cwd string
	// UID, GID and Groups are ids as the instance sees them.
	UID, GID uint32
	Groups   []uint32
	// TTY runs it on a new terminal of the instance's own. Stdin and Stdout are
	// copied from and to that; Stdin, if it is a terminal, is in raw mode for the
	// time being, and its size is passed on. Stderr is not used.
	TTY bool
	// Stdin, Stdout and Stderr; nil means /dev/null.
	Stdin, Stdout, Stderr *os.File
	// Started, if not nil, is called once when the command runs; it must not block.
	Started func()
}

// Exit codes of commands that were not run, as shells have them (POSIX, "Exit
// Status for Commands").
const (
	codeNotExecutable = 126
	codeNotFound      = 127
	codeSignal        = 128
)

// Exec runs a command in the instance and returns its exit code: 128+N when
// signal N ended it; 126 or 127, with an error, when it could not be run; -1,
// with an error, when something else failed.
//
// SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1 and SIGUSR2 that the calling process
// receives meanwhile are passed on to the command, which decides what they mean.
// When ctx ends, the command is killed, unless such a signal came as well: the
// context of a program usually ends by them.
//
// Pipes and sockets are given to the command as they are, and to its ids. Other
// files are copied from and to by pipes: a descriptor of the caller's terminal,
// or of a directory, in the wrong hands is a way out of the instance.
func (i *Instance) Exec(ctx context.Context, o ExecOptions) (code int, err error) {
	if len(o.Args) == 0 || o.Args[0] == "" {
		return -1, errors.New("cannot run a command: none is given")
	}
	if err := ctx.Err(); err != nil {
		return -1, err
	}
	uid, ok := hostID(i.state.UIDMap, o.UID)
	gid, ok2 := hostID(i.state.GIDMap, o.GID)
	if !ok || !ok2 {
		return -1, fmt.Errorf("cannot run %s: user %d or group %d does not exist in the instance", o.Args[0], o.UID, o.GID)
	}
	if paused, err := i.Paused(); err != nil || paused {
		if ended(i.pidfd) {
			err = ErrNotRunning
		} else if paused {
			err = ErrPaused
		}
		return -1, fmt.Errorf("cannot run %s: %w", o.Args[0], err)
	}
	signals, stop := catchSignals() // before the command can run: none is lost
	defer stop()
	var stdio session
	if o.TTY {
		stdio, err = i.openTerminal(o, uid)
	} else {
		stdio, err = openPipes(o, uid, gid)
	}
	if err != nil {
		return -1, fmt.Errorf("cannot run %s: %w", o.Args[0], err)
	}
	pid, err := i.join(o, stdio.files())
	if err != nil {
		err = errors.Join(err, stdio.abort())
		var jerr *join.Error
		if errors.As(err, &jerr) && jerr.Exec {
			return execError(o.Args[0], jerr.Err)
		}
		if ended(i.pidfd) {
			err = ErrNotRunning
		}
		return -1, fmt.Errorf("cannot run %s: %w", o.Args[0], err)
	}
	if o.Started != nil {
		o.Started()
	}
	return superviseCommand(ctx, pid, stdio, signals)
}

// execError makes the shell's codes of an errno of execve.
func execError(name string, err error) (int, error) {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		if !strings.Contains(name, "/") {
			return codeNotFound, fmt.Errorf("cannot run %s: command not found", name)
		}
		return codeNotFound, fmt.Errorf("cannot run %s: %w", name, err)
	}
	return codeNotExecutable, fmt.Errorf("cannot run %s: %w", name, err)
}

// join starts the command in the namespaces and cgroups.
func (i *Instance) join(o ExecOptions, stdio [3]*os.File) (int, error) {
	g, err := i.group()
	if err != nil {
		return 0, err
	}
	entrance, err := g.Enter()
	if err != nil {
		return 0, err
	}
	limits, err := loadLimits(i.dir)
	if err != nil {
		return 0, errors.Join(err, entrance.Close())
	}
	own, err := loadEnv(i.dir)
	if err != nil {
		return 0, errors.Join(err, entrance.Close())
	}
	env := execEnv(o, own)
	cmd := join.Command{
		Paths: candidates(o.Args[0], env["PATH"]), Args: o.Args, Env: environ(env, nil),
		Cwds: []string{o.Cwd}, UID: o.UID, GID: o.GID, Groups: o.Groups, Stdio: stdio, TTY: o.TTY,
		Limits: execLimits(limits.Rlimits),
	}
	if o.Cwd == "" {
		cmd.Cwds = []string{"/"}
		if o.UID == 0 {
			cmd.Cwds = []string{"/root", "/"}
		}
	}
	filter, err := i.filter()
	if err != nil {
		return 0, errors.Join(err, entrance.Close())
	}
	enter := join.Start
	if i.state.Privileged {
		enter = startJoin
	}
	pid := 0
	err = withOOMScore(limits.OOMScore, func() (err error) {
		pid, err = enter(join.Target{PIDFD: i.pidfd, Privileged: i.state.Privileged, Filter: filter, Linux32: i.state.Linux32, Tasks: entrance.Tasks, Cgroup: entrance.Unified}, cmd)
		return err
	})
	if cerr := entrance.Close(); cerr != nil && err == nil {
		err = errors.Join(cerr, unix.Kill(pid, unix.SIGKILL))
	}
	return pid, err
}

// execEnv is the environment of a command; own is the instance's.
func execEnv(o ExecOptions, own map[string]string) map[string]string {
	env := map[string]string{"PATH": defaultPath, "LANG": "C.UTF-8", "container": "lxc"}
	if o.UID == 0 {
		env["HOME"], env["USER"] = "/root", "root"
	} else {
		env["HOME"] = "/"
	}
	if o.TTY {
		env["TERM"] = "xterm"
		if t := os.Getenv("TERM"); t != "" {
			env["TERM"] = t
		}
	}
	maps.Copy(env, own)
	maps.Copy(env, o.Env)
	return env
}

// environ merges environments, sorted; later ones win.
func environ(maps ...map[string]string) []string {
	all := map[string]string{}
	for _, m := range maps {
		for k, v := range m {
			all[k] = v
		}
	}
	list := make([]string, 0, len(all))
	for k, v := range all {
		list = append(list, k+"="+v)
	}
	sort.Strings(list)
	return list
}

// maxPathDirs bounds how much of PATH is searched.
const maxPathDirs = 64

// candidates are the paths to try for a command name.
func candidates(name, path string) []string {
	if strings.Contains(name, "/") {
		return []string{name}
	}
	var list []string
	for _, dir := range strings.Split(path, ":") {
		if dir == "" {
			dir = "." // POSIX, "PATH"
		}
		list = append(list, strings.TrimSuffix(dir, "/")+"/"+name)
		if len(list) == maxPathDirs {
			break
		}
	}
	return list
}
