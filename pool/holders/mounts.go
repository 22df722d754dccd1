package holders

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Mount is a mount in one of the machine's mount namespaces.
type Mount struct {
	MountPoint string // as processes of its namespace see it
	Root       string // what of the file system is shown
	Source     string // "/dev/loop3", as whoever mounted it named it
	FSType     string
	ReadOnly   bool // of the mount or of its file system
	ID, Parent int
	Dev        uint64
	// PID is a process of the mount's namespace, and Command its name; 0 for
	// this process's own namespace.
	PID     int
	Command string
}

// String names the place: "/mnt", or "/mnt in the mount namespace of process 7
// (sh)".
func (m Mount) String() string {
	if m.PID == 0 {
		return m.MountPoint
	}
	return fmt.Sprintf("%s in the mount namespace of process %d (%s)", m.MountPoint, m.PID, m.Command)
}

// Own lists the mounts of this process's mount namespace that keep wants.
func Own(keep func(Mount) bool) ([]Mount, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("cannot list the mounts: %w", err)
	}
	return kept(infos, 0, "", keep), nil
}

// Mounts lists the mounts of every mount namespace that has a process, this
// one's first. A namespace that only an open file keeps is not seen.
func Mounts(keep func(Mount) bool) ([]Mount, error) {
	out, err := Own(keep)
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	if own, err := os.Readlink("/proc/self/ns/mnt"); err == nil {
		seen[own] = true
	}
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		ns, err := os.Readlink(procPath(pid, "ns/mnt"))
		if err != nil || seen[ns] {
			continue // ended meanwhile
		}
		infos, err := mountsOf(pid)
		if err != nil {
			continue // as above: another one of that namespace will do
		}
		seen[ns] = true
		out = append(out, kept(infos, pid, command(pid), keep)...)
	}
	return out, nil
}

func mountsOf(pid int) ([]*mountinfo.Info, error) {
	f, err := os.Open(procPath(pid, "mountinfo"))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return mountinfo.GetMountsFromReader(f, nil)
}

func kept(infos []*mountinfo.Info, pid int, command string, keep func(Mount) bool) []Mount {
	var out []Mount
	for _, i := range infos {
		m := Mount{
			MountPoint: i.Mountpoint, Root: i.Root, Source: i.Source, FSType: i.FSType, ID: i.ID, Parent: i.Parent,
			ReadOnly: hasOption(i.Options, "ro") || hasOption(i.VFSOptions, "ro"),
			Dev:      unix.Mkdev(uint32(i.Major), uint32(i.Minor)), PID: pid, Command: command,
		}
		if keep(m) {
			out = append(out, m)
		}
	}
	return out
}

func hasOption(options, want string) bool {
	for o := range strings.SplitSeq(options, ",") {
		if o == want {
			return true
		}
	}
	return false
}

// processes lists the ids of all processes.
func processes() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes: %w", err)
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("cannot list the processes: %w", err)
	}
	var out []int
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			out = append(out, pid)
		}
	}
	return out, nil
}

func procPath(pid int, file string) string { return "/proc/" + strconv.Itoa(pid) + "/" + file }

// command is the name of a process (comm of proc(5)); "?" when it has ended.
func command(pid int) string {
	text, err := os.ReadFile(procPath(pid, "comm"))
	if errors.Is(err, fs.ErrNotExist) || len(text) == 0 {
		return "?"
	}
	return strings.TrimSuffix(string(text), "\n")
}
