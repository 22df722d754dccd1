package btrfs

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// CheckMountOptions asks the kernel whether it knows the mount options, which
// are separated by commas, and takes their values. Nothing is mounted: they are
// given to a file system that is never made (fsopen(2), fsconfig(2)). Linux
// before 6.8 looks at them in mount(2) only, and takes everything here.
func CheckMountOptions(options string) error {
	fd, err := unix.Fsopen("btrfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("cannot check mount options: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	for _, o := range strings.Split(options, ",") {
		name, value, valued := strings.Cut(o, "=")
		if name == "" {
			continue
		}
		if valued {
			err = unix.FsconfigSetString(fd, name, value)
		} else {
			err = unix.FsconfigSetFlag(fd, name)
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) {
			return fmt.Errorf("the kernel refuses the mount option %s%s", o, contextLog(fd))
		} else if err != nil {
			return fmt.Errorf("the kernel refuses the mount option %s: %w", o, err)
		}
	}
	return nil
}

// contextLog reads what the kernel has to say of an fsopen context: a message
// for each read, after a letter for its severity.
func contextLog(fd int) string {
	var text []string
	buf := make([]byte, 1024)
	for {
		n, err := unix.Read(fd, buf)
		if err != nil || n <= 0 {
			break
		}
		message := string(bytes.TrimSpace(buf[:n]))
		if len(message) > 2 && message[1] == ' ' {
			message = message[2:]
		}
		text = append(text, message)
	}
	if len(text) == 0 {
		return ""
	}
	return ": " + strings.Join(text, "; ")
}
