package pool

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/loopdev"
	"poolctl/pool/holders"
	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// untouched is a pool that is looked into and not changed.
type untouched struct {
	*tree.Tree
	candidate
	// root is the mount, which is nowhere; nil when the pool is looked at where it
	// is: attached here, or a subvolume.
	root   *os.File
	dev    *loopdev.Device
	unlock func()
}

func (u *untouched) close() error {
	err := u.Close()
	if u.root != nil {
		err = errors.Join(err, u.root.Close())
	}
	if u.dev != nil {
		err = errors.Join(err, u.dev.Close())
	}
	u.unlock()
	return err
}

// openUntouched opens the pool in a file or on a block device without changing a
// byte of it: by a read-only loop device and a read-only mount which replays no
// log and is nowhere to be seen. A process that is killed leaves neither. A file
// system that is mounted elsewhere is refused, since what it shows would change
// beneath the look, and since btrfs takes two with one UUID for one. Of a pool
// that is attached here, its own mount is used; a subvolume is read where it is.
func (s *System) openUntouched(ctx context.Context, path string) (_ *untouched, err error) {
	c, err := s.candidateAt(path)
	if err != nil {
		return nil, err
	}
	u := &untouched{candidate: c, unlock: func() {}}
	if c.own != nil { // nobody attaches or detaches it meanwhile
		if u.unlock, err = s.dir.LockPool(ctx, c.own.Name, true); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				u.unlock()
			}
		}()
		attached, err := s.isAttached(*c.own)
		if err != nil {
			return nil, err
		}
		if attached {
			s.noticef("%s is pool %s, which is attached: this is what it holds now", path, c.own.Name)
			u.Tree, err = tree.Open(s.dir.MountPoint(c.own.Name))
			return u, err
		}
	}
	if c.rec.Kind == state.PoolDirectory {
		u.Tree, err = openPoolTree(c.rec.Source)
		return u, err
	}
	if u.root, u.dev, err = s.mountUntouched(ctx, c); err != nil {
		return nil, err
	}
	u.Tree, err = openPoolTree(fdPath(u.root))
	if err != nil {
		err = errors.Join(err, u.root.Close())
		if u.dev != nil {
			err = errors.Join(err, u.dev.Close())
		}
		return nil, err
	}
	return u, nil
}

// errUnmountable says that the kernel refused to mount a file system.
var errUnmountable = errors.New("btrfs refuses it")

// mountUntouched mounts the file system of a file or block device read-only, and
// nowhere; dev is the loop device of a file, nil for a block device. The caller
// closes both.
func (s *System) mountUntouched(ctx context.Context, c candidate) (root *os.File, dev *loopdev.Device, err error) {
	device := c.rec.Source
	if c.rec.Kind == state.PoolFile {
		if dev, _, err = loopdev.Hold(ctx, c.rec.Source, loopdev.AttachOptions{ReadOnly: true}); err != nil {
			return nil, nil, err
		}
		device = dev.Path()
	}
	if err = s.refuseShared(c, dev); err == nil {
		if root, err = btrfs.OpenUntouched(device); err != nil {
			err = withHint(fmt.Errorf("%w: %w", errUnmountable, err), "dmesg | tail says what btrfs found")
		}
	}
	if err != nil && dev != nil {
		err = errors.Join(err, dev.Close())
	}
	if err != nil {
		return nil, nil, err
	}
	return root, dev, nil
}

// openPoolTree opens what is mounted at mnt if it has the layout of a pool.
func openPoolTree(mnt string) (*tree.Tree, error) {
	t, err := tree.Open(mnt)
	if err != nil {
		return nil, err
	}
	if err := t.CheckForeign(); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// refuseShared refuses a file system that is mounted by somebody: of which the
// device can be written to, or which is a copy with the same UUID. Other looks
// into the same file share the mount.
func (s *System) refuseShared(c candidate, dev *loopdev.Device) error {
	if dev != nil {
		info, err := dev.Info()
		if err != nil {
			return err
		}
		if info.Offset != 0 || info.SizeLimit != 0 {
			return withHint(fmt.Errorf("only a part of it is attached as %s", info.Path), "losetup -d %s", info.Path)
		}
	}
	if device, err := usedDevice(c.rec); err != nil {
		return err
	} else if device != "" {
		return inUse(device)
	}
	return s.refuseMounted(c.rec)
}

// usedDevice is the device that a pool's file system is mounted from, unless it
// is one of our looks: a loop device that is read-only. "" when there is none.
func usedDevice(rec state.PoolRecord) (string, error) {
	active, err := btrfs.ActiveOf(rec.UUID)
	if err != nil || len(active) == 0 {
		return "", err
	}
	devices := map[uint64]string{}
	if rec.Kind == state.PoolDevice {
		var st unix.Stat_t
		if err := unix.Stat(rec.Source, &st); err != nil {
			return "", fmt.Errorf("%s: %w", rec.Source, err)
		}
		devices[st.Rdev] = rec.Source
	} else {
		loops, err := loopdev.Find(rec.Source)
		if err != nil {
			return "", err
		}
		for _, l := range loops {
			if !l.ReadOnly {
				devices[loopNumber(l)] = l.Path
			}
		}
	}
	for _, a := range active {
		for number := range a.Devices {
			if device := devices[number]; device != "" {
				return device, nil
			}
		}
	}
	return "", nil
}

// inUse is the refusal of a device that is mounted, naming where.
func inUse(device string) error {
	var st unix.Stat_t
	if err := unix.Stat(device, &st); err != nil {
		return fmt.Errorf("%s: %w", device, err)
	}
	mounts, err := holders.Mounts(func(m holders.Mount) bool {
		var source unix.Stat_t
		return m.FSType == "btrfs" && (m.Source == device || unix.Stat(m.Source, &source) == nil && source.Rdev == st.Rdev && source.Mode&unix.S_IFMT == unix.S_IFBLK)
	})
	if err != nil {
		return err
	}
	if len(mounts) == 0 {
		return withHint(fmt.Errorf("%w: it is mounted from %s where no process sees it", ErrInUse, device), "end what uses it")
	}
	return withHint(fmt.Errorf("%w: it is mounted from %s at %s", ErrInUse, device, mounts[0]), "unmount it first, or end what has mounted it, such as LXD: lxd shutdown")
}
