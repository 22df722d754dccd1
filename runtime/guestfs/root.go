package guestfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/runtime"
)

// Root is the root of an instance, or of anything else that a guest has written.
type Root struct {
	dir *os.File
	// uids and gids map the ids inside to those seen in dir; nil: they are the same.
	uids, gids []runtime.IDMap
}

// New uses dir, which must be a directory, opened with O_PATH or for reading, as
// the root. The maps are those of the instance when dir shows the ids of the
// host, and nil when it shows those inside. The root owns dir from here on.
func New(dir *os.File, uids, gids []runtime.IDMap) *Root {
	return &Root{dir: dir, uids: uids, gids: gids}
}

// Close gives up the root. Files that were opened in it stay open.
func (r *Root) Close() error { return r.dir.Close() }

// Info is what is known of a file.
type Info struct {
	// Name is the last part of the path that it was found by.
	Name string
	// Mode has the type, the permissions, and the set-id and sticky bits.
	Mode fs.FileMode
	// UID and GID are its owner's ids inside; 65534 for one that the instance does
	// not have.
	UID, GID uint32
	// Size is in bytes.
	Size    int64
	ModTime time.Time
	links   uint64
}

// nobody is the owner that the kernel shows for ids without a mapping
// (/proc/sys/kernel/overflowuid).
const nobody = 65534

func (r *Root) info(name string, st *unix.Stat_t) Info {
	return Info{
		Name: name, Mode: fileMode(st.Mode), UID: inside(r.uids, st.Uid), GID: inside(r.gids, st.Gid),
		Size: st.Size, ModTime: time.Unix(st.Mtim.Unix()), links: uint64(st.Nlink), //nolint:unconvert // 32 bits on arm64
	}
}

// inside is what an id that the host sees is in the instance.
func inside(maps []runtime.IDMap, id uint32) uint32 {
	if maps == nil {
		return id
	}
	for _, m := range maps {
		if id >= m.HostID && id-m.HostID < m.Size {
			return m.ContainerID + (id - m.HostID)
		}
	}
	return nobody
}

// outside is what the host sees of an instance's id.
func outside(maps []runtime.IDMap, id uint32) (uint32, bool) {
	if maps == nil {
		return id, true
	}
	for _, m := range maps {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + (id - m.ContainerID), true
		}
	}
	return 0, false
}

// owner is what the host sees of an owner inside.
func (r *Root) owner(uid, gid uint32) (hostUID, hostGID int, err error) {
	u, ok := outside(r.uids, uid)
	g, ok2 := outside(r.gids, gid)
	if !ok || !ok2 {
		return 0, 0, fmt.Errorf("user %d or group %d does not exist in the instance", uid, gid)
	}
	return int(u), int(g), nil
}

// fileMode makes Go's mode of the kernel's (man inode).
func fileMode(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	switch m & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	for bit, m2 := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= m2
		}
	}
	return mode
}

// permissions are the kernel's permission bits of a mode.
func permissions(mode fs.FileMode) uint32 {
	m := uint32(mode.Perm())
	for bit, m2 := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if mode&m2 != 0 {
			m |= bit
		}
	}
	return m
}

// how resolves a path for the guest, not for us.
func how(flags uint64) *unix.OpenHow {
	return &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
}

// tries is how often a path is resolved anew that the guest renames under way
// (man openat2, EAGAIN).
const tries = 1000

// open resolves a path of the guest's with O_PATH, or with flags that open
// neither a device nor a fifo.
func (r *Root) open(path string, flags uint64) (int, error) {
	if strings.ContainsRune(path, 0) {
		return -1, errors.New("it contains a zero byte")
	}
	if path = strings.TrimLeft(path, "/"); path == "" {
		path = "."
	}
	for i := 0; ; i++ {
		fd, err := unix.Openat2(int(r.dir.Fd()), path, how(flags))
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) && i < tries {
			continue
		}
		return fd, err
	}
}

// Stat describes what is at a path; symbolic links are followed.
func (r *Root) Stat(path string) (Info, error) { return r.stat(path, 0) }

// Lstat describes what is at a path; a symbolic link at its end is not followed.
func (r *Root) Lstat(path string) (Info, error) { return r.stat(path, unix.O_NOFOLLOW) }

func (r *Root) stat(path string, flags uint64) (info Info, err error) {
	err = r.as(func() error {
		fd, err := r.open(path, unix.O_PATH|flags)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }() // a path only
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		info = r.info(base(path), &st)
		return nil
	})
	return info, pathError("look at", path, err)
}

// base is the last part of a path; "/" for the root.
func base(path string) string {
	path = strings.TrimRight(path, "/")
	if path == "" {
		return "/"
	}
	return path[strings.LastIndexByte(path, '/')+1:]
}

// pathError names the path in an error of the kernel's.
func pathError(op, path string, err error) error {
	var perr *fs.PathError
	if err == nil || errors.As(err, &perr) {
		return err
	}
	if errors.Is(err, unix.EOVERFLOW) {
		err = errors.New("its owner does not exist in the instance")
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// procPath is a path to what fd is of.
func procPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
