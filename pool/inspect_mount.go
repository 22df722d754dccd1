package pool

import (
	"errors"
	"fmt"
	"os"
	goruntime "runtime"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// showRoot mounts the directory at path in the pool at dir, read-only. No
// symbolic link on the way is followed.
func (u *untouched) showRoot(path, dir string, config map[string]string) (err error) {
	attrs := uint64(unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
	root := u.root
	if root == nil { // it is attached here
		if root, err = openPlace(u.Path()); err != nil {
			return err
		}
		defer func() { _ = root.Close() }() // a path only
	}
	fd, err := unix.Openat2(int(root.Fd()), path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return &os.PathError{Op: "open", Path: path, Err: err}
	}
	place := os.NewFile(uintptr(fd), path)
	defer func() { _ = place.Close() }() // a path only
	clone := func() (*os.File, error) { return cloneRoot(place, attrs, config) }
	var view *os.File
	if u.root == nil {
		view, err = clone()
	} else {
		view, err = attachedNowhere(u.root, clone)
	}
	if err != nil {
		return err
	}
	defer func() { _ = view.Close() }() // the mount stays
	return attachMount(view, dir)
}

// inspectedDirs finds the mounts that InspectMount made, in the kernel's table:
// read-only ones of what by its path in the file system is an instance's root.
// They have no name, since whatever file they are of may go by any.
func inspectedDirs() ([]look, error) {
	infos, err := mountinfo.GetMounts(mountinfo.FSTypeFilter("btrfs"))
	if err != nil {
		return nil, fmt.Errorf("cannot list the mounts: %w", err)
	}
	var out []look
	for _, i := range infos {
		options := strings.Split(i.Options, ",")
		if isRootOfInstance(i.Root) && slices.Contains(options, "ro") && slices.Contains(options, "nosuid") && slices.Contains(options, "nodev") {
			out = append(out, look{dir: i.Mountpoint})
		}
	}
	return out, nil
}

// isRootOfInstance says whether a path in a file system is that of an instance's
// or snapshot's root in a pool, which may be in a subvolume of it.
func isRootOfInstance(path string) bool {
	parts := strings.Split(path, "/")
	for i := range parts {
		if lookRef(strings.Join(parts[i:], "/")) != "" {
			return true
		}
	}
	return false
}

// attachedNowhere calls clone while the mount root, which is nowhere, is in the
// mount namespace of clone's thread, and of no other. Before Linux 6.15 a part of
// a mount can be cloned only where the mount is in the caller's namespace
// (open_tree(2)).
func attachedNowhere(root *os.File, clone func() (*os.File, error)) (*os.File, error) {
	type result struct {
		view *os.File
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// The thread ends with this goroutine, as it is not unlocked: it has a
		// working directory of its own now. Go does not let the main thread end,
		// and /proc/self is that one's.
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			view, err := attachedNowhere(root, clone) // on another one, as this one is taken
			done <- result{view, err}
			goruntime.UnlockOSThread()
			return
		}
		view, err := attachHere(root, clone)
		done <- result{view, err}
	}()
	r := <-done
	return r.view, r.err
}

func attachHere(root *os.File, clone func() (*os.File, error)) (_ *os.File, err error) {
	host, err := os.Open("/proc/thread-self/ns/mnt")
	if err != nil {
		return nil, err
	}
	defer func() { _ = host.Close() }()                    // a name only
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil { // and CLONE_FS with it
		return nil, os.NewSyscallError("unshare", err)
	}
	// What lasts until the thread has ended would keep all mounts that the namespace has copied.
	defer func() {
		if serr := unix.Setns(int(host.Fd()), unix.CLONE_NEWNS); serr != nil {
			err = errors.Join(err, os.NewSyscallError("setns", serr))
		}
	}()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("cannot make the mounts private: %w", err)
	}
	// Any directory would do: what it hides, it hides from this thread only.
	if err := unix.MoveMount(int(root.Fd()), "", unix.AT_FDCWD, "/sys", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return nil, fmt.Errorf("cannot mount it: %w", err)
	}
	return clone()
}
