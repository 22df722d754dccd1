package stage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Disk is where an unattached mount, which comes with a message of its own, goes.
type Disk struct {
	Device string `json:"device"`
	Path   string `json:"path"`
	// Propagation is that of the mount once it is in its place (CheckPropagation).
	Propagation string `json:"propagation,omitempty"`
}

// NewHolder makes an unattached file system to attach mounts in.
func NewHolder() (int, error) {
	return newMount("tmpfs", "tmpfs", quiet, option{"mode", "0711"}, option{"size", "64k"})
}

// MakeTarget makes what is mounted upon, a directory or an empty file, in an
// open directory.
func MakeTarget(dir int, name string, directory bool) error {
	var err error
	if directory {
		err = unix.Mkdirat(dir, name, 0o755)
	} else {
		var fd int
		if fd, err = unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644); err == nil {
			err = unix.Close(fd)
		}
	}
	if err != nil {
		return fmt.Errorf("cannot make %s: %w", name, err)
	}
	return nil
}

// IsDirectory says whether a mount is one of a directory, not of a file.
func IsDirectory(mount int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(mount, &st); err != nil {
		return false, fmt.Errorf("cannot look at a mount: %w", err)
	}
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

// inRoot opens a path as a process with root as its root directory would:
// symbolic links are followed, but none leads out of it.
func inRoot(root int, path string, flags uint64) (int, error) {
	return unix.Openat2(root, path, &unix.OpenHow{
		Flags:   flags | unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// OpenTarget opens what is to be mounted upon at a path below root, and makes
// what is missing of it, with the ids of the calling thread.
func OpenTarget(root int, path string, directory bool) (int, error) {
	fd, err := inRoot(root, path, 0)
	if errors.Is(err, unix.ENOENT) {
		if fd, err = makePath(root, path, directory); err != nil {
			return -1, fmt.Errorf("cannot make %s in the instance: %w", path, err)
		}
	} else if err != nil {
		return -1, fmt.Errorf("cannot open %s in the instance: %w", path, err)
	}
	is, err := IsDirectory(fd)
	if err == nil && is != directory {
		err = fmt.Errorf("cannot mount on %s: it is not a directory in the instance", path)
		if is {
			err = fmt.Errorf("cannot mount a file on %s: it is a directory in the instance", path)
		}
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// makePath makes the last component of a path, and the directories before it.
func makePath(root int, path string, directory bool) (int, error) {
	dir, name := filepath.Split(filepath.Clean(path))
	parent, err := inRoot(root, dir, unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) && dir != path && dir != "/" {
		parent, err = makePath(root, dir, true)
	}
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(parent) }() // a path only
	// A symbolic link that leads nowhere has the name: mkdir says EEXIST.
	if err := MakeTarget(parent, name, directory); err != nil {
		return -1, err
	}
	return unix.Openat2(parent, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_NO_SYMLINKS})
}

// OpenMounted opens what is at a path below root.
func OpenMounted(root int, path string) (int, error) { return inRoot(root, path, 0) }

// AttachDisk moves an unattached mount to a disk's path below root, and leaves it open.
func AttachDisk(mount, root int, d Disk) error {
	directory, err := IsDirectory(mount)
	if err != nil {
		return err
	}
	to, err := OpenTarget(root, d.Path, directory)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(to) }() // a path only
	return move(mount, to, d.Path)
}

// receiveDisks takes the mounts of the disks.
func receiveDisks(sock int, disks []Disk) ([]int, error) {
	mounts := make([]int, 0, len(disks))
	for range disks {
		m, fd, err := Receive(sock)
		if err != nil {
			return nil, err
		}
		if m.Kind != KindDisk || fd < 0 {
			return nil, fmt.Errorf("unexpected message %q", m.Kind)
		}
		mounts = append(mounts, fd)
	}
	return mounts, nil
}

// attachDisks puts the disks into place.
func attachDisks(disks []Disk, mounts []int) error {
	if len(disks) == 0 {
		return nil
	}
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("cannot open the root: %w", err)
	}
	defer func() { _ = unix.Close(root) }() // a path only
	unix.Umask(0o022)
	defer unix.Umask(0)
	for i, d := range disks {
		err := AttachDisk(mounts[i], root, d)
		if err == nil {
			err = Propagate(mounts[i], d.Propagation)
		}
		if err != nil {
			return fmt.Errorf("disk %s: %w", d.Device, err)
		}
		if err := unix.Close(mounts[i]); err != nil {
			return fmt.Errorf("disk %s: %w", d.Device, err)
		}
	}
	return nil
}

// RunHelper is the whole life of the helper that copies mounts (package runtime,
// lockedMounts): it sends the mounts d0, d1, ... of its working directory, which
// its mount namespace has as locked copies, unattached.
func RunHelper() {
	if err := sendMounts(SocketFD); err != nil {
		// Nobody is left to tell when this fails.
		_ = Send(SocketFD, Message{Kind: KindFailed, Error: err.Error()}, -1)
	}
}

func sendMounts(sock int) error {
	unix.CloseOnExec(sock)
	if len(os.Args) != 2 {
		return errors.New("invalid arguments")
	}
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	for i := range n {
		name := fmt.Sprintf("d%d", i)
		fd, err := unix.OpenTree(unix.AT_FDCWD, name, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_NO_AUTOMOUNT|unix.AT_SYMLINK_NOFOLLOW)
		if err != nil {
			return fmt.Errorf("cannot copy the mount %s: %w", name, err)
		}
		if err := Send(sock, Message{Kind: KindDisk}, fd); err != nil {
			return err
		}
		if err := unix.Close(fd); err != nil {
			return fmt.Errorf("cannot close the mount %s: %w", name, err)
		}
	}
	return nil
}
