package pool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
)

// planDevice checks that a device can become a pool: it is large enough, nobody
// uses it, and it is empty or wipe names it.
func planDevice(p *poolPlan, wipe string) error {
	path := p.rec.Source
	if isTrue(wipe) {
		return withHint(errors.New("source.wipe wants the device named that is to be wiped"), "--wipe %s", path)
	}
	if wipe != "" && (deviceNumber(wipe) == 0 || deviceNumber(wipe) != deviceNumber(path)) {
		return fmt.Errorf("%s is to be wiped, but the pool's device is %s", wipe, path)
	}
	p.wipe = wipe != ""
	p.intent.UUID = btrfs.NewUUID()
	f, err := claimDevice(path)
	if err != nil {
		return err
	}
	err = checkDevice(f, path, p.wipe)
	return errors.Join(err, f.Close())
}

// claimDevice opens a block device for this process alone: the kernel refuses
// that while it, or a partition of it, is mounted, swapped to, part of a RAID or
// volume group, or claimed by another program (O_EXCL in open(2)).
func claimDevice(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, claimError(path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return nil, errors.Join(fmt.Errorf("%s is no block device", path), err, f.Close())
	}
	return f, nil
}

// claimError says why a device cannot be claimed.
func claimError(path string, err error) error {
	switch {
	case errors.Is(err, unix.EBUSY):
		return withHint(fmt.Errorf("%s is %w: mounted, swapped to, or part of something", path, ErrInUse), "lsblk %s shows what it is used for", path)
	case errors.Is(err, unix.EROFS):
		return fmt.Errorf("%s is read-only", path)
	case errors.Is(err, unix.EACCES): // of a device that is read-only, and of a mount with nodev
		if f, rerr := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0); rerr == nil {
			_ = f.Close()
			return fmt.Errorf("%s is read-only", path)
		}
		return withHint(fmt.Errorf("%s cannot be opened: %w", path, unix.EACCES), "a mount with the option nodev lets no device through: findmnt -T %s", path)
	case errors.Is(err, unix.EPERM):
		return withHint(fmt.Errorf("%s cannot be opened: %w", path, unix.EPERM), "poolctl runs where this device is not allowed: in a container, or a unit with DevicePolicy=")
	case errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOMEDIUM):
		return fmt.Errorf("there is no device behind %s: %w", path, statError(err))
	}
	return fmt.Errorf("%s cannot be opened: %w", path, statError(err))
}

// checkDevice looks at the size of a claimed device, and at what it holds
// unless that is given up.
func checkDevice(f *os.File, path string, wipe bool) error {
	size, err := deviceSize(f)
	if err != nil {
		return err
	}
	if size < minPoolSize {
		return withHint(fmt.Errorf("%s has %s, which is too small for btrfs", path, FormatSize(size)), "the smallest pool is %s", FormatSize(minPoolSize))
	}
	what, err := deviceContent(f, size)
	if err != nil || what == "" || wipe {
		return err
	}
	return withHint(fmt.Errorf("%s is not empty: it holds %s", path, what), "--wipe %s destroys that", path)
}

// makeDevice formats the plan's device. What source.wipe names is given up from
// here on; otherwise an undone creation leaves the device as empty as it was.
func makeDevice(ctx context.Context, plan poolPlan) error {
	path, err := filepath.EvalSymlinks(plan.rec.Source)
	if err != nil {
		return err
	}
	f, err := claimDevice(path)
	if err != nil {
		return err
	}
	if err := checkDevice(f, path, plan.wipe); err != nil {
		return errors.Join(err, f.Close())
	}
	if plan.wipe {
		err = wipeDevice(f)
	}
	if err = errors.Join(err, f.Close()); err != nil { // mkfs.btrfs claims it for itself
		return err
	}
	crash.Point("pool.create.wiped")
	if err := ctx.Err(); err != nil {
		return err
	}
	err = btrfs.Mkfs(ctx, path, nil, btrfs.MkfsOptions{Label: plan.rec.Name, UUID: plan.intent.UUID, ExtraArgs: plan.mkfs})
	crash.Point("pool.create.formatted")
	return err
}

// wipePool makes a device empty that has a pool's file system, finished or not,
// and no other: a device that has been put in its place stays as it is.
func wipePool(in creating) error {
	path := in.Path
	if found, err := devicesWith(in.UUID); err == nil && len(found) == 1 {
		path = found[0]
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_NONBLOCK, 0)
	for wait := time.Millisecond; errors.Is(err, unix.EBUSY) && wait < releaseWait; wait *= 2 {
		time.Sleep(wait) // the kernel is not through with the unmounting
		f, err = os.OpenFile(path, os.O_RDWR|unix.O_EXCL|unix.O_NONBLOCK, 0)
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENOMEDIUM) {
		return nil // it was taken away
	} else if err != nil {
		return fmt.Errorf("cannot wipe %s: %w", path, err)
	}
	err = wipeOwn(f, in.UUID)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot wipe %s: %w", path, err)
	}
	return nil
}

// wipeOwn wipes an open device if its first superblock, or a copy, is the pool's.
func wipeOwn(f *os.File, uuid string) error {
	supers, err := btrfs.Supers(f)
	if err != nil {
		return err
	}
	for _, has := range supers {
		if has != uuid {
			return nil // somebody else's, over what is left of ours
		}
	}
	if len(supers) == 0 {
		return nil
	}
	if err := zeroEnds(f); err != nil { // the first superblock is in there: the last step but one
		return err
	}
	crash.Point("pool.wipe.ends")
	_, err = btrfs.WipeSupers(f, uuid)
	return err
}
