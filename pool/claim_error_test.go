package pool

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Why a device cannot be opened is told, with what to do.
func TestClaimErrors(t *testing.T) {
	dev, _ := newDevice(t, 200<<20)
	var st unix.Stat_t
	ok(t, unix.Stat(dev, &st))
	dir := t.TempDir()
	ok(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NODEV, "size=1m"))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	node := filepath.Join(dir, "node")
	ok(t, unix.Mknod(node, unix.S_IFBLK|0o600, int(st.Rdev)))
	_, err := claimDevice(node)
	if err == nil || err.Error() != node+" cannot be opened: permission denied" || !strings.Contains(hintOf(err), "nodev") {
		t.Errorf("a device on a mount with nodev: %v (%s)", err, hintOf(err))
	}
	// The kernel says EPERM where a cgroup allows the device nothing.
	err = claimError(dev, &fs.PathError{Op: "open", Path: dev, Err: unix.EPERM})
	if err.Error() != dev+" cannot be opened: operation not permitted" || !strings.Contains(hintOf(err), "not allowed") {
		t.Errorf("a device that is not allowed: %v (%s)", err, hintOf(err))
	}
	ok(t, os.Remove(node))
}
