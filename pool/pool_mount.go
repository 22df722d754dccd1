package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// simpleQuotaFeature is there where the kernel knows simple quotas.
const simpleQuotaFeature = "/sys/fs/btrfs/features/simple_quota"

// mountBtrfs mounts a pool's device at mp with the options of its configuration.
func mountBtrfs(device, mp string, rec state.PoolRecord) error {
	flags, data := mountArguments(poolMountOptions(rec))
	// A balance that was interrupted would go on by itself, and keep the pool busy.
	err := unix.Mount(device, mp, "btrfs", flags, strings.Trim(data+",skip_balance", ","))
	if err == nil {
		return nil
	}
	hint := "dmesg | tail says what btrfs found"
	if errors.Is(err, unix.EINVAL) && rec.Config["btrfs.mount_options"] != "" {
		hint = "perhaps it is the mount options: poolctl pool unset " + rec.Name + " btrfs.mount_options"
	}
	if super, serr := btrfs.ReadSuper(device); errors.Is(err, unix.EINVAL) && serr == nil && super.SimpleQuotas() && unix.Access(simpleQuotaFeature, unix.F_OK) != nil {
		hint = "perhaps it is the kernel: it has simple quotas, which Linux 6.7 and later can mount"
	}
	return withHint(fmt.Errorf("cannot mount %s at %s: %w", device, mp, err), "%s", hint)
}

// checkOptionValues asks the kernel about the options that a pool would be
// mounted with.
func checkOptionValues(rec state.PoolRecord) error {
	_, data := mountArguments(poolMountOptions(rec))
	return btrfs.CheckMountOptions(data)
}

// applyMountOptions gives an attached pool the options of its new
// configuration. Those that only a new mount can end are told.
func applyMountOptions(_ context.Context, s *System, from, to state.PoolRecord) error {
	old, wanted := poolMountOptions(from), poolMountOptions(to)
	if slices.Equal(old, wanted) {
		return nil
	}
	if err := checkOptionValues(to); err != nil {
		return err
	}
	if attached, err := s.isAttached(from); err != nil || !attached {
		return err
	}
	ending, lasting := endedOptions(old, wanted)
	flags, data := mountArguments(append(ending, wanted...))
	if flags&(unix.MS_NOATIME|unix.MS_NODIRATIME|unix.MS_STRICTATIME) == 0 {
		flags |= unix.MS_RELATIME // the kernel's default, but a remount without any of them keeps what there is
	}
	mp := s.dir.MountPoint(to.Name)
	if err := unix.Mount("", mp, "", unix.MS_REMOUNT|flags, data); err != nil {
		return fmt.Errorf("cannot remount %s with the options %s: %w", mp, strings.Join(wanted, ","), err)
	}
	if len(lasting) > 0 {
		s.noticef("pool %s keeps the mount option %s until it is detached", to.Name, strings.Join(lasting, ","))
	}
	return nil
}

// endedOptions looks at the options that a remount is to take away: a remount
// keeps what it is not given, so some have to be ended by others (ending), and
// the rest lasts.
func endedOptions(old, wanted []string) (ending, lasting []string) {
	table := mountOptionTable()
	for _, o := range old {
		name, _, _ := strings.Cut(o, "=")
		stays := slices.ContainsFunc(wanted, func(w string) bool { n, _, _ := strings.Cut(w, "="); return n == name })
		switch {
		case stays || table[name].flag != 0: // the flags are given anew as a whole
		case table[name].off != "":
			ending = append(ending, table[name].off)
		default:
			lasting = append(lasting, o)
		}
	}
	return ending, lasting
}
