package holders

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Process is a process that holds something.
type Process struct {
	PID     int
	Command string
	// How says what it holds it by: "working directory", "root directory",
	// "program", "open file" or "mapped file".
	How string
	// Path is what it holds, as the process sees it.
	Path string
}

// String is "process 7 (sh, working directory /mnt)".
func (p Process) String() string {
	return fmt.Sprintf("process %d (%s, %s %s)", p.PID, p.Command, p.How, p.Path)
}

// Link is one of the kernel's links from a process to what it holds (cwd, root,
// exe, fd/N and map_files/RANGE of proc(5)). The system calls that take a path
// reach the file itself through it, whatever its name is by now.
type Link string

// OnMount says whether the file is reached through the mount of that id
// (statx(2), Linux 5.8).
func (l Link) OnMount(id int) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, string(l), unix.AT_NO_AUTOMOUNT|unix.AT_STATX_DONT_SYNC, unix.STATX_MNT_ID, &st)
	return err == nil && st.Mask&unix.STATX_MNT_ID != 0 && st.Mnt_id == uint64(id)
}

// OnFS says whether statfs(2) of the file is what is says.
func (l Link) OnFS(is func(unix.Statfs_t) bool) bool {
	var st unix.Statfs_t
	return unix.Statfs(string(l), &st) == nil && is(st)
}

// IsDevice says whether it is the block device of that number, open for writing.
func (l Link) IsDevice(dev uint64) bool {
	var st unix.Stat_t
	if unix.Stat(string(l), &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK || st.Rdev != dev {
		return false
	}
	text, err := os.ReadFile(strings.Replace(string(l), "/fd/", "/fdinfo/", 1))
	if err != nil {
		return false
	}
	return writable(string(text))
}

// writable reads the flags of an fdinfo file (proc_pid_fdinfo(5)).
func writable(fdinfo string) bool {
	for line := range strings.Lines(fdinfo) {
		if value, ok := strings.CutPrefix(line, "flags:"); ok {
			flags, err := strconv.ParseUint(strings.TrimSpace(value), 8, 64)
			return err == nil && flags&unix.O_ACCMODE != unix.O_RDONLY
		}
	}
	return false
}

// Processes lists the processes with a link that match wants, by ascending id,
// at most limit of them, each once.
func Processes(limit int, match func(Link) bool) ([]Process, error) {
	pids, err := processes()
	if err != nil {
		return nil, err
	}
	slices.Sort(pids)
	var out []Process
	for _, pid := range pids {
		if link, how := firstMatch(pid, match); link != "" {
			path, _ := os.Readlink(link) // for people; the process may have ended
			out = append(out, Process{PID: pid, Command: command(pid), How: how, Path: path})
			if len(out) == limit {
				break
			}
		}
	}
	return out, nil
}

// firstMatch looks through the links of one process, those that say most first.
func firstMatch(pid int, match func(Link) bool) (link, how string) {
	for _, l := range []struct{ file, how string }{
		{"cwd", "working directory"}, {"root", "root directory"}, {"exe", "program"},
	} {
		if path := procPath(pid, l.file); match(Link(path)) {
			return path, l.how
		}
	}
	for _, l := range []struct{ dir, how string }{{"fd", "open file"}, {"map_files", "mapped file"}} {
		entries, err := os.ReadDir(procPath(pid, l.dir))
		if err != nil {
			continue // ended meanwhile, or a kernel thread
		}
		for _, e := range entries {
			if path := filepath.Join(procPath(pid, l.dir), e.Name()); match(Link(path)) {
				return path, l.how
			}
		}
	}
	return "", ""
}
