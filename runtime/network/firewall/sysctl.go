package firewall

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// EnableForwarding makes the kernel forward packets of a family between
// interfaces (ip_forward and ipv6/conf/all/forwarding of
// Documentation/networking/ip-sysctl.rst). It stays so: nobody can tell who else
// relies on it by then. A host that forwards IPv6 heeds no router advertisements
// unless accept_ra is 2: interfaces that do heed them go on.
func EnableForwarding(is4 bool) error {
	path := "/proc/sys/net/ipv4/ip_forward"
	if !is4 {
		path = "/proc/sys/net/ipv6/conf/all/forwarding"
	}
	if now, err := readSysctl(path); err != nil || now == "1" {
		if errors.Is(err, os.ErrNotExist) {
			return nil // a kernel without the family
		}
		return err
	}
	if !is4 {
		if err := keepRouterAdvertisements(); err != nil {
			return err
		}
	}
	return writeSysctl(path, "1")
}

func keepRouterAdvertisements() error {
	paths, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	for _, path := range paths {
		now, err := readSysctl(path)
		if err == nil && now == "1" {
			err = writeSysctl(path, "2")
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) { // the interface may just be gone
			return err
		}
	}
	return nil
}

func readSysctl(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("cannot read whether the kernel forwards packets: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

func writeSysctl(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot make the kernel forward packets: %w", err)
	}
	_, err = f.WriteString(value)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot make the kernel forward packets: %s: %w", path, err)
	}
	return nil
}
