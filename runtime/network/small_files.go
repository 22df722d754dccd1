package network

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// readSmallFiles reads all files of a directory, of maxReservation bytes at most each;
// of larger ones so much that it can be seen. Of those whose names begin with a dot only
// the ones with tempPrefix are read. As there may be hundreds at each start, it makes no
// more system calls than it must.
func readSmallFiles(dir string) (map[string][]byte, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }() // only read
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte, len(names))
	buf := make([]byte, maxReservation+1)
	for _, name := range names {
		if strings.HasPrefix(name, ".") && !strings.HasPrefix(name, tempPrefix) {
			continue
		}
		n, err := readAt(int(d.Fd()), name, buf)
		if errors.Is(err, unix.ENOENT) { // removed just now
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", filepath.Join(dir, name), err)
		}
		files[name] = append([]byte{}, buf[:n]...)
	}
	return files, nil
}

// readAt reads the beginning of a file in an open directory.
func readAt(dir int, name string, buf []byte) (int, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	n, err := unix.Read(fd, buf) // regular files are read as a whole
	return max(n, 0), errors.Join(err, unix.Close(fd))
}
