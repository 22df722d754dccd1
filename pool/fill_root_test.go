package pool

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fillRoot writes files of every kind below a directory, and changes them when mark is another one.
func fillRoot(t *testing.T, dir, mark string) {
	t.Helper()
	at := func(name string) string { return filepath.Join(dir, name) }
	ok(t, os.MkdirAll(at("a dir/ünder"), 0o755), os.WriteFile(at("mark"), []byte(mark), 0o644), os.WriteFile(at("a dir/ünder/file"), []byte(mark+mark), 0o600))
	if _, err := os.Lstat(at("hard")); errors.Is(err, fs.ErrNotExist) {
		ok(t, os.Link(at("mark"), at("a dir/hard")), os.Link(at("mark"), at("hard")), os.Symlink("/etc/nowhere", at("link")), os.Symlink(strings.Repeat("x", 300), at("long")))
		ok(t, unix.Mkfifo(at("fifo"), 0o640), unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		ok(t, os.WriteFile(at("suid"), []byte("#!/bin/sh\n"), 0o755), os.Chown(at("suid"), 1000, 1001), unix.Chmod(at("suid"), 0o6755))
		ok(t, os.WriteFile(at("holes"), nil, 0o644), os.Truncate(at("holes"), 8<<20))
		ok(t, os.MkdirAll(at(strings.Repeat("d/", 40)), 0o711), os.WriteFile(at(strings.Repeat("n", 255)), []byte("long"), 0o400))
		ok(t, unix.Lchown(at("link"), 65534, 65534), unix.Chmod(at("a dir"), 0o1777))
	}
	caps := []byte{1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	ok(t, unix.Setxattr(at("suid"), "security.capability", caps, 0), unix.Setxattr(at("mark"), "user.note", []byte(mark), 0), unix.Setxattr(at("a dir"), "trusted.t=%", []byte(mark), 0))
	ok(t, unix.Setxattr(at("mark"), "system.posix_acl_access", []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00\xe8\x03\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"), 0))
	for i, name := range []string{"mark", "a dir/ünder/file", "link", "fifo", "a dir/ünder", "a dir", "d"} {
		ok(t, unix.UtimesNanoAt(unix.AT_FDCWD, at(name), []unix.Timespec{{Sec: 1, Nsec: 2}, {Sec: int64(1e9) + int64(i), Nsec: 123456789}}, unix.AT_SYMLINK_NOFOLLOW))
	}
}
