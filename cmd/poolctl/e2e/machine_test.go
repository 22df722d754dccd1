package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// machine is what commands can leave behind on a machine: each map's key is the thing, its value a line about it.
type machine map[string]string

// lookAround lists the loop devices, mounts, network devices, cgroups of poolctl and processes of the program on the
// whole machine.
func lookAround() (machine, error) {
	m := machine{}
	for _, add := range []func(machine) error{addLoops, addMounts, addLinks, addCgroups, addProcesses} {
		if err := add(m); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// since lists what is in m and was not in before.
func (m machine) since(before machine) []string {
	var out []string
	for k, v := range m {
		if old, was := before[k]; !was || old != v {
			out = append(out, k+" "+v)
		}
	}
	sort.Strings(out)
	return out
}

// below keeps what belongs to the state directory: what is in it or made from a file in it, and its cgroups.
func (m machine) below(state string) machine {
	out := machine{}
	for k, v := range m {
		if strings.Contains(k, state) || strings.Contains(v, state) || strings.Contains(k, cgroupOf(state)) || strings.Contains(v, cgroupOf(state)) {
			out[k] = v
		}
	}
	return out
}

// kind keeps the things of one kind: "loop", "mount", "link", "cgroup" or "process".
func (m machine) kind(kind string) machine {
	out := machine{}
	for k, v := range m {
		if strings.HasPrefix(k, kind+" ") {
			out[k] = v
		}
	}
	return out
}

// settle looks around until nothing more than before is there, or the time is over; then it returns what is. The kernel
// takes network namespaces down, and with them veths, after the last process is gone.
func settle(before machine, keep func(machine) machine, limit time.Duration) ([]string, error) {
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		now, err := lookAround()
		if err != nil {
			return nil, err
		}
		left := keep(now).since(before)
		if len(left) == 0 || time.Now().After(deadline) {
			return left, nil
		}
	}
}

func addLoops(m machine) error {
	paths, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return err
	}
	for _, p := range paths {
		file, err := os.ReadFile(p)
		if err != nil {
			continue // detached meanwhile
		}
		m["loop "+strings.Split(p, "/")[3]] = strings.TrimSpace(string(file))
	}
	return nil
}

// addMounts reads mountinfo (proc_pid_mountinfo(5)): fields 4 and 5 are the root and the mount point, and after " - "
// come type and source.
func addMounts(m machine) error {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		head, tail, ok := strings.Cut(line, " - ")
		fields := strings.Fields(head)
		if !ok || len(fields) < 5 {
			return fmt.Errorf("cannot read mountinfo: %q", line)
		}
		kind, source, _ := strings.Cut(tail, " ")
		m["mount "+fields[0]+" "+fields[4]] = "of " + fields[3] + " " + kind + " " + strings.Fields(source)[0]
	}
	return nil
}

func addLinks(m machine) error {
	links, err := net.Interfaces()
	for _, l := range links {
		m["link "+l.Name] = l.HardwareAddr.String()
	}
	return err
}

// addCgroups lists the cgroups below poolctl in every hierarchy.
func addCgroups(m machine) error {
	tops, err := filepath.Glob("/sys/fs/cgroup/*/poolctl")
	if err != nil {
		return err
	}
	for _, top := range append(tops, "/sys/fs/cgroup/poolctl") {
		err := filepath.WalkDir(top, func(path string, e fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // gone meanwhile
			}
			if err != nil {
				return err
			}
			if !e.IsDir() || strings.Count(strings.TrimPrefix(path, top), "/") == 0 {
				return nil // a control file, or the common parent
			}
			m["cgroup "+path] = ""
			if strings.Count(strings.TrimPrefix(path, top), "/") >= 2 {
				return fs.SkipDir
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addProcesses lists the processes that run one of the programs under test (also after it was deleted), and those in a
// cgroup of poolctl.
func addProcesses(m machine) error {
	pids, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, p := range pids {
		exe, err := os.Readlink(p + "/exe")
		if err != nil {
			continue // a kernel thread, or gone
		}
		cgroups, _ := os.ReadFile(p + "/cgroup") // gone meanwhile: nothing to list
		command, _ := os.ReadFile(p + "/cmdline")
		line := strings.ReplaceAll(strings.TrimRight(string(command), "\x00"), "\x00", " ")
		cgroup := ""
		for _, c := range strings.Split(string(cgroups), "\n") {
			if _, path, ok := strings.Cut(c, ":/poolctl/"); ok {
				cgroup = "/poolctl/" + path
			}
		}
		if cgroup == "" && !strings.HasPrefix(exe, suite.dir) && !strings.Contains(line, suite.dir) {
			continue
		}
		if filepath.Base(p) == fmt.Sprint(os.Getpid()) {
			continue
		}
		m["process "+filepath.Base(p)] = line + " " + cgroup
	}
	return nil
}
