package runtime

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// slimDown gives back memory that was needed to start only.
func (s *supervisor) slimDown() {
	debug.FreeOSMemory()
	if err := dropText(); err != nil {
		s.log.Print(err)
	}
}

// dropText unmaps the pages of the program file: they are clean, and come back
// from the page cache when they are needed, which for a process that sleeps are
// few. Mappings with a page of their own (relocations) are left alone.
func dropText() error {
	data, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("cannot read the memory map: %w", err)
	}
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("cannot find the program file: %w", err)
	}
	for _, r := range cleanMappings(string(data), strings.TrimSuffix(exe, " (deleted)")) {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, r[0], r[1]-r[0], unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("cannot give back memory: %w", errno)
		}
	}
	return nil
}

// cleanMappings finds, in a /proc/PID/smaps (man proc_pid_smaps), the ranges
// that map file read-only and hold no page of the process's own.
func cleanMappings(smaps, file string) [][2]uintptr {
	var list [][2]uintptr
	var cur [2]uintptr
	candidate := false
	for line := range strings.Lines(smaps) {
		line = strings.TrimSuffix(line, "\n")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if r, ok := mappingRange(f[0]); ok && len(f) >= 5 {
			cur = r
			path := ""
			if i := strings.IndexByte(line, '/'); i >= 0 {
				path = strings.TrimSuffix(line[i:], " (deleted)")
			}
			candidate = path == file && len(f[1]) == 4 && f[1][0] == 'r' && f[1][1] == '-'
			continue
		}
		if !candidate || len(f) < 2 {
			continue
		}
		// Not the dirty pages: those of a program file just written count as such.
		if f[0] == "Anonymous:" && f[1] == "0" {
			list = append(list, cur)
		}
	}
	return list
}

// mappingRange reads "55d0c0000000-55d0c0100000".
func mappingRange(s string) ([2]uintptr, bool) {
	from, to, ok := strings.Cut(s, "-")
	if !ok {
		return [2]uintptr{}, false
	}
	a, err1 := strconv.ParseUint(from, 16, 64)
	b, err2 := strconv.ParseUint(to, 16, 64)
	return [2]uintptr{uintptr(a), uintptr(b)}, err1 == nil && err2 == nil && a < b
}
