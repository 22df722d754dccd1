package btrfs

import (
	"errors"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// KernelError is what the kernel's log says of an error of a file system.
type KernelError struct {
	Errno unix.Errno // 0 where the line has none
	Text  string     // the line, without time and level
}

// maxLog bounds how many records of the log are read: its buffer has less.
const maxLog = 1 << 20

// KernelErrors finds what the kernel's log says of errors of the file system of
// that UUID on that device ("/dev/loop3") since it was mounted, oldest first. It
// is a detail for people, and never complete: the log forgets, and a container
// may not read it; then there is nothing, and no error.
func KernelErrors(uuid, device string) []KernelError {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(fd), "/dev/kmsg")
	defer func() { _ = f.Close() }()
	var lines []string
	buf := make([]byte, 8192)
	for range maxLog {
		n, err := unix.Read(fd, buf)
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.EINTR) {
			continue // overwritten while we read: the next one
		}
		if err != nil || n == 0 {
			break // EAGAIN: the end
		}
		lines = append(lines, string(buf[:n]))
	}
	return kernelErrors(lines, uuid, strings.TrimPrefix(device, "/dev/"))
}

var errnoForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?:errno=|error )-(\d{1,4})\b`) })

// kernelErrors looks through records of /dev/kmsg (dev-kmsg in the kernel's
// Documentation/ABI): "PRIORITY,SEQUENCE,TIME,FLAGS;TEXT\n", and further lines.
// Loop devices are used again and again, so what was said before the last mount
// of the device is not of this file system.
func kernelErrors(records []string, uuid, device string) []KernelError {
	var found []KernelError
	ours := true
	for _, record := range records {
		_, text, ok := strings.Cut(record, ";")
		text, _, _ = strings.Cut(text, "\n")
		if !ok || !strings.HasPrefix(text, "BTRFS") || !mentions(text, device) {
			continue
		}
		if strings.Contains(text, "first mount of filesystem") {
			found, ours = nil, strings.Contains(text, uuid)
			continue
		}
		if !ours || !strings.Contains(text, "error") && !strings.Contains(text, "critical") {
			continue
		}
		e := KernelError{Text: text}
		if m := errnoForm().FindStringSubmatch(text); m != nil {
			n, _ := strconv.Atoi(m[1])
			e.Errno = unix.Errno(n)
		}
		found = append(found, e)
	}
	return found
}

// mentions says whether a line is about a device: "(device loop3)" or
// "(device loop3 state EA)", and not loop33.
func mentions(text, device string) bool {
	return strings.Contains(text, "(device "+device+")") || strings.Contains(text, "(device "+device+" ")
}
