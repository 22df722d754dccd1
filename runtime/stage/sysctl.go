package stage

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ownSysctls are the beginnings of the names of settings that namespaces have of
// their own. An unprivileged instance is refused all others by the kernel; one
// that is privileged would set them for the host.
var ownSysctls = []string{"net.", "fs.mqueue.", "kernel.msg", "kernel.sem", "kernel.shm", "kernel.domainname", "user."}

// ValidateSysctls says what is wrong with names or values of settings of the
// kernel (man sysctl): a name is its path below /proc/sys with dots for slashes.
func ValidateSysctls(sysctls map[string]string) error {
	for name, value := range sysctls {
		for _, part := range strings.Split(name, ".") {
			if part == "" || strings.ContainsAny(part, "/\x00\n") {
				return fmt.Errorf("invalid sysctl %q: not a name such as net.ipv4.ip_forward", name)
			}
		}
		if !slices.ContainsFunc(ownSysctls, func(p string) bool { return strings.HasPrefix(name, p) }) {
			return fmt.Errorf("cannot set sysctl %s: it is a setting of the whole host", name)
		}
		if strings.ContainsAny(value, "\x00\n") {
			return fmt.Errorf("invalid value of sysctl %s: %q", name, value)
		}
	}
	return nil
}

// setSysctls sets what the instance's own namespaces have, below the directory
// dir, which it closes. The kernel refuses its root all others.
func setSysctls(dir int, sysctls map[string]string) error {
	defer func() { _ = unix.Close(dir) }() // a path only
	for _, name := range slices.Sorted(maps.Keys(sysctls)) {
		err := setSysctl(dir, strings.ReplaceAll(name, ".", "/"), sysctls[name])
		switch {
		case errors.Is(err, unix.ENOENT):
			return fmt.Errorf("cannot set sysctl %s: the kernel has no such setting in an instance", name)
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
			return fmt.Errorf("cannot set sysctl %s: it is a setting of the whole host", name)
		case err != nil:
			return fmt.Errorf("cannot set sysctl %s to %q: %w", name, sysctls[name], err)
		}
	}
	return nil
}

func setSysctl(dir int, file, value string) error {
	fd, err := unix.Openat2(dir, file, &unix.OpenHow{
		Flags: unix.O_WRONLY | unix.O_CLOEXEC | unix.O_NOFOLLOW, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(value))
	return errors.Join(err, unix.Close(fd))
}
