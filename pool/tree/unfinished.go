package tree

import (
	"os"

	"golang.org/x/sys/unix"
)

// temporaryName is under which a file is written that is going to replace name.
func temporaryName(name string) string { return "." + name + ".new" }

// dropUnfinished removes what a killed writer left beside the record of the instance at path. One that is writing has the
// lock of the volume, and is left alone. What cannot be removed now, the next writer takes.
func dropUnfinished(path string) {
	tmp := path + "/" + temporaryName(recordFile)
	if unix.Faccessat(unix.AT_FDCWD, tmp, unix.F_OK, unix.AT_SYMLINK_NOFOLLOW) != nil {
		return
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	dropUnfinishedIn(f)
	_ = f.Close() // it was only read
}

// dropUnfinishedIn is dropUnfinished in the opened volume, which another one may have taken the place of (a restore): it
// looks for nothing by the path.
func dropUnfinishedIn(volume *os.File) {
	if unix.Flock(int(volume.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
		_ = unix.Unlinkat(int(volume.Fd()), temporaryName(recordFile), 0)
	}
}
