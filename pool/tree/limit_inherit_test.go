package tree

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// createInheriting makes a subvolume as whoever owns the directory may, and says itself in which qgroups it is to be:
// struct btrfs_ioctl_vol_args_v2 and btrfs_qgroup_inherit of linux/btrfs.h. The kernel then puts it into those and no others.
func createInheriting(path string, groups ...btrfs.QgroupID) error {
	const (
		subvolCreateV2 = 0x50009418 // BTRFS_IOC_SUBVOL_CREATE_V2
		qgroupInherit  = 1 << 2     // BTRFS_SUBVOL_QGROUP_INHERIT
	)
	inherit := make([]uint64, 9, 9+len(groups)) // flags, their number, two of copies, five of limits
	inherit[1] = uint64(len(groups))
	for _, g := range groups {
		inherit = append(inherit, uint64(g))
	}
	args := struct {
		fd      int64
		transid uint64
		flags   uint64
		size    uint64
		inherit unsafe.Pointer
		_       [2]uint64
		name    [4040]byte
	}{flags: qgroupInherit, size: uint64(8 * len(inherit)), inherit: unsafe.Pointer(&inherit[0])}
	copy(args.name[:], filepath.Base(path))
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), subvolCreateV2, uintptr(unsafe.Pointer(&args)))
	runtime.KeepAlive(inherit)
	if errno != 0 {
		err = errno
	}
	return errors.Join(err, dir.Close())
}

// TestLimitInherit: an instance says of a subvolume that it is in no qgroup, or in those of another instance. It is the
// instance's own once that it was counted anew, and it alone is.
func TestLimitInherit(t *testing.T) {
	bothModes(t, func(t *testing.T, p *testPool) {
		bigImage(t, p)
		ctx := t.Context()
		must(t, p.CreateInstance(ctx, limited("c1", 20*mib), fingerprint), p.CreateInstance(ctx, limited("c2", 20*mib), fingerprint))
		c1, c2 := p.InstancePath("c1"), p.InstancePath("c2")
		must(t, nest(c2), p.SetLimit(ctx, c2, 20*mib)) // with full qgroups it has a group only then
		other, err := btrfs.Stat(c2)
		must(t, err, createInheriting(c1+"/rootfs/none"), createInheriting(c1+"/rootfs/other", btrfs.MakeQgroupID(1, other.ID)))
		live, err := btrfs.NewLiveQuota(c1)
		must(t, err)
		if _, all, err := live.Nested(); all || err != nil {
			t.Errorf("all are in the group: %v", err)
		}
		_, err = p.KeepLimit(ctx, c1, 20*mib)
		must(t, err)
		if _, all, err := live.Nested(); !all || err != nil {
			t.Errorf("not all are in the group: %v", err)
		}
		wantStop(t, "in what was in no group", c1+"/rootfs/none/data", 14*mib)
		must(t, os.Remove(c1+"/rootfs/none/data"), btrfs.Sync(p.mnt))
		_, err = p.KeepLimit(ctx, c1, 20*mib)
		must(t, err)
		wantStop(t, "in what was in another's", c1+"/rootfs/other/data", 14*mib)
		if live, err = btrfs.NewLiveQuota(c2); err == nil {
			_, all, nerr := live.Nested()
			if err = nerr; all {
				t.Error("it is not seen that others are in the group")
			}
		}
		must(t, err)
		_, err = p.KeepLimit(ctx, c2, 20*mib)
		must(t, err)
		wantStop(t, "in the other instance", c2+"/rootfs/data", 14*mib)
	})
}
