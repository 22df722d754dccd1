package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// sealedProgram is this program in a file that nobody can write to. A privileged
// instance's root may write to the program's file on the host, if it gets hold of
// it: by /proc/PID/exe of a process of ours, or by an init or a command that is
// a script of "#!/proc/self/exe" (CVE-2019-5736). So what enters such an instance
// runs from a file of another file system, one that cannot be made writable: an
// overlay, which takes no time, or else a copy in memory. Other instances cannot
// write to the program: see package join.
func sealedProgram() (*os.File, error) {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("cannot open the own program: %w", err)
	}
	defer func() { _ = exe.Close() }() // read-only
	if program, err := overlaidProgram(exe); err == nil {
		return program, nil
	}
	return copiedProgram(exe)
}

// overlaidProgram opens the program by way of an overlay of its directory that is
// mounted nowhere. An overlay without an upper layer is read-only for good
// (Documentation/filesystems/overlayfs.rst, "Multiple lower layers"). It fails
// where the program was replaced or removed, and where there are no overlays.
func overlaidProgram(exe *os.File) (_ *os.File, err error) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }() // read-only
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fs) }() // the mount has it
	// It wants two layers; of the second nothing is used.
	if err := unix.FsconfigSetString(fs, "lowerdir", pathOf(dir)+":/sys"); err != nil {
		return nil, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(mount) }() // the file has it
	fd, err := unix.Openat(mount, filepath.Base(path), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	program := os.NewFile(uintptr(fd), path)
	// What the overlay has found is what is at the path, before and after.
	if !sameFile(exe, path) {
		return nil, errors.Join(errors.New("the own program was replaced"), program.Close())
	}
	return program, nil
}

// copiedProgram is a copy in memory, sealed (man memfd_create).
func copiedProgram(exe *os.File) (_ *os.File, err error) {
	const sealable = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate("poolctl", sealable|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3
		fd, err = unix.MemfdCreate("poolctl", sealable)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a file in memory: %w", err)
	}
	program := os.NewFile(uintptr(fd), "poolctl")
	if _, err = io.Copy(program, exe); err == nil {
		_, err = unix.FcntlInt(program.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("cannot copy the own program: %w", err), program.Close())
	}
	return program, nil
}

// pathOf is a path of an open file for a child that is about to be made, of which
// other files may get the same descriptor.
func pathOf(f *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), f.Fd()) }

// idleProgram is what an idle PID 1 stays executed from for all of its life: by
// /proc/1/exe it is within reach of what runs inside. The copy in memory can be
// executed by any id, whatever the mode of the program's file; where the host
// refuses such files (vm.memfd_noexec) the overlay has to do.
func idleProgram() (*os.File, error) {
	exe, err := os.Open(ownProgram)
	if err != nil {
		return nil, fmt.Errorf("cannot open the own program: %w", err)
	}
	defer func() { _ = exe.Close() }() // read-only
	if program, err := copiedProgram(exe); err == nil {
		return program, nil
	}
	return overlaidProgram(exe)
}
