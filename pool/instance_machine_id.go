package pool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// machineIDs are the files of a root that have a machine id (machine-id(5)): systemd's
// and, where it is none of a link to that, D-Bus's.
var machineIDs = []string{"etc/machine-id", "var/lib/dbus/machine-id"}

var machineIDForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[0-9a-f]{32}$`) })

// newMachineID makes a machine id up, as systemd does: a random UUID without its dashes.
func newMachineID() string { return strings.ReplaceAll(newUUID(), "-", "") }

// renewMachineID gives the root of an instance's volume another machine id, wherever it
// has one: an image that has none yet gets it when it is started. No link is followed.
func renewMachineID(volume, id string) error {
	for _, name := range machineIDs {
		if err := withMachineID(volume, name, func(f *os.File, old string) error {
			if old == "" {
				return nil
			}
			return rewriteMachineID(f, id)
		}); err != nil {
			return fmt.Errorf("cannot give it a machine id of its own: %w", err)
		}
	}
	return nil
}

// rewriteMachineID writes to a file that is open for reading, be it immutable.
func rewriteMachineID(f *os.File, id string) (err error) {
	path := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	w, err := os.OpenFile(path, os.O_WRONLY, 0)
	if errors.Is(err, unix.EPERM) {
		giveBack, uerr := btrfs.Unprotect(f)
		if uerr != nil || giveBack == nil {
			return errors.Join(err, uerr)
		}
		defer func() { err = errors.Join(err, giveBack()) }()
		w, err = os.OpenFile(path, os.O_WRONLY, 0)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	// First written, then cut: where there is no room for it, the old one stays, and this can be repeated.
	n, err := w.WriteAt([]byte(id+"\n"), 0)
	if err == nil {
		err = w.Truncate(int64(n))
	}
	return err
}

// keepMachineID gives a volume the machine id of another one, or a new one.
func keepMachineID(from, to string) error {
	id := ""
	for _, name := range machineIDs {
		err := withMachineID(from, name, func(_ *os.File, old string) error {
			if id == "" {
				id = old
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if id == "" {
		id = newMachineID()
	}
	return renewMachineID(to, id)
}

// withMachineID calls do with a file of a volume's root, opened for reading, if it has a
// machine id, and with that; with none when the file is empty or has something else. A
// file that is not there, or behind a link, or is none, is passed over.
func withMachineID(volume, name string, do func(f *os.File, id string) error) (err error) {
	root, err := unix.Open(filepath.Join(volume, "rootfs"), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return &os.PathError{Op: "open", Path: "rootfs", Err: err}
	}
	defer func() { _ = unix.Close(root) }()
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_XDEV}
	at, err := unix.Openat2(root, name, &how)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP), errors.Is(err, unix.EXDEV):
		return nil
	case err != nil:
		return &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(at) }()
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > 64 {
		return err // a node is not opened
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", at), os.O_RDONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	raw, err := io.ReadAll(io.LimitReader(f, 65))
	if err != nil {
		return err
	}
	id := strings.TrimSpace(string(raw))
	if !machineIDForm().MatchString(id) {
		id = ""
	}
	return do(f, id)
}
