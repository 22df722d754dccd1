package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// A pool that is full by what is in its instances must still be put in order: an instance be restored to what it was, renamed,
// given another configuration. All of that needs a record to be written, some KiB of data, and a file that keeps the room for it.

const (
	// reserveFile is that file, below dirOwn.
	reserveFile = "reserve"
	// reserveSize is how large it is where there is room, in bytes, and leastReserve how large at least.
	reserveSize  = 1 << 20
	leastReserve = 64 << 10
)

// KeepReserve sets room for records aside, or as much of it as there is. Where that is none, the next one who calls may have more
// luck: it is no error.
func (t *Tree) KeepReserve() {
	path := filepath.Join(t.mnt, dirOwn, reserveFile)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size >= reserveSize) {
		return // it is there, or what is there is not ours
	}
	for size := int64(reserveSize); size >= leastReserve && size > st.Size; size /= 2 {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
		if err != nil {
			return
		}
		err = unix.Fallocate(int(f.Fd()), 0, 0, size)
		if errors.Join(err, f.Close()) == nil {
			return
		}
		if st.Size == 0 {
			_ = os.Remove(path)
		}
	}
}

// withReserve calls write, which writes a record, and once more with what is set aside for it when the pool has no room.
func (t *Tree) withReserve(write func() error) error {
	err := write()
	if !errors.Is(err, unix.ENOSPC) {
		return err
	}
	if rerr := os.Remove(filepath.Join(t.mnt, dirOwn, reserveFile)); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
		return errors.Join(err, rerr)
	}
	// What is freed can be had after the commit. Where another process was quicker, it may have left enough.
	if serr := btrfs.Sync(t.mnt); serr != nil {
		return errors.Join(err, serr)
	}
	err = write()
	t.KeepReserve()
	return err
}
