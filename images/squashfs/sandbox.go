package squashfs

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// onThrowawayThread starts f on a thread of its own that ends with it, so that
// what f does to its thread stays there. Never on the process's first thread:
// that one cannot end, and /proc/self shows its namespaces.
func onThrowawayThread(f func()) {
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() != os.Getpid() {
			f()
			return
		}
		done := make(chan struct{})
		go func() { // this one runs elsewhere, while the first thread is held here
			runtime.LockOSThread()
			defer close(done)
			f()
		}()
		<-done
		runtime.UnlockOSThread()
	}()
}

// enterSandbox changes the calling thread, for good, and the programs it starts:
//
//   - a mount namespace of its own, in which everything is read-only (no file can
//     be made, changed, or have its mode or owner changed) and no device opens;
//   - except a detached mount of dir, made its working directory: ".." leads
//     nowhere from its top; device nodes can be made in it but not opened;
//   - no capabilities but those that restoring files takes. CAP_SYS_ADMIN is one
//     of them (trusted.* attributes): the sandbox is against names that lead
//     outside, not against code of the attacker's running in the program.
//
// It returns the mount's descriptor, to be closed when the program has ended.
// Needs Linux 5.12 (mount_setattr(2)), as idmapped mounts do.
func enterSandbox(dir *os.File) (int, error) {
	tree, err := unix.OpenTree(int(dir.Fd()), "", unix.AT_EMPTY_PATH|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, os.NewSyscallError("open_tree", err)
	}
	if err := restrictThread(tree); err != nil {
		return -1, errors.Join(err, unix.Close(tree))
	}
	return tree, nil
}

func restrictThread(tree int) error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	all := unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID,
		Propagation: unix.MS_PRIVATE,
	}
	if err := unix.MountSetattr(-1, "/", unix.AT_RECURSIVE, &all); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	one := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &one); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	if err := unix.Fchdir(tree); err != nil {
		return os.NewSyscallError("fchdir", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	return dropCapabilities()
}

// dropCapabilities takes everything that is not needed out of the bounding set of
// this thread; what root executes gets the rest only (capabilities(7)).
func dropCapabilities() error {
	keep := map[int]bool{
		unix.CAP_CHOWN: true, unix.CAP_DAC_OVERRIDE: true, unix.CAP_FOWNER: true, unix.CAP_FSETID: true,
		unix.CAP_MKNOD: true, unix.CAP_SETFCAP: true, unix.CAP_SYS_ADMIN: true,
	}
	for c := 0; c <= 63; c++ {
		if keep[c] {
			continue
		}
		err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0)
		if errors.Is(err, unix.EINVAL) {
			return nil // past the last capability of this kernel
		}
		if err != nil {
			return fmt.Errorf("cannot drop capability %d: %w", c, err)
		}
	}
	return nil
}

// dropACLs removes the ACL that dir inherited where it was made: squashfs has none.
func dropACLs(dir *os.File) error {
	for _, name := range []string{"system.posix_acl_default", "system.posix_acl_access"} {
		err := unix.Fremovexattr(int(dir.Fd()), name)
		if err != nil && !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("cannot remove the inherited ACL of %s: %w", dir.Name(), err)
		}
	}
	return nil
}
