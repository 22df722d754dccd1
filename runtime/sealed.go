package runtime

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// sealedProgram is a copy of this program that nobody can write to. A privileged
// instance's root may write to the program's file on the host, if it gets hold of
// it: by /proc/PID/exe of a process of ours, or by an init or a command that is
// a script of "#!/proc/self/exe" (CVE-2019-5736). So what enters such an instance
// runs from a copy. Others cannot write to it: see package join.
func sealedProgram() (_ *os.File, err error) {
	exe, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fmt.Errorf("cannot open the own program: %w", err)
	}
	defer func() { _ = exe.Close() }() // read-only
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
