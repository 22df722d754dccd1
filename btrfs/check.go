package btrfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"

	"golang.org/x/sys/unix"
)

// mkfsProgram is btrfs-progs' mkfs.btrfs(8).
const mkfsProgram = "mkfs.btrfs"

// Check says whether btrfs file systems can be made and mounted here: support
// in the kernel, and mkfs.btrfs. The error names what is missing and how to get
// it.
func Check() error {
	_, progErr := findMkfs()
	return errors.Join(checkKernel(), progErr)
}

// checkKernel asks the kernel for btrfs with fsopen(2), which loads the module
// as mount(2) would.
func checkKernel() error {
	fd, err := unix.Fsopen("btrfs", unix.FSOPEN_CLOEXEC)
	switch {
	case err == nil:
		return unix.Close(fd)
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("cannot use btrfs: the kernel has no support for it loaded (modprobe btrfs): %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("cannot use btrfs: root is needed: %w", err)
	}
	return fmt.Errorf("cannot use btrfs: %w", err)
}

func findMkfs() (string, error) { return findProgram(mkfsProgram) }

// findProgram finds a program of btrfs-progs also where su(1) without a login
// leaves the administrator's directories out of PATH.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if err == nil {
			return path, nil
		}
		path, err = exec.LookPath(dir + "/" + name)
	}
	if err != nil && name == mkfsProgram {
		return "", fmt.Errorf("cannot make btrfs file systems: %s is missing (apt-get install btrfs-progs): %w", name, exec.ErrNotFound)
	} else if err != nil {
		return "", fmt.Errorf("%s is missing (apt-get install btrfs-progs): %w", name, exec.ErrNotFound)
	}
	return path, nil
}
