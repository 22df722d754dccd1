package btrfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// QuotaMode is how a file system counts what its subvolumes take
// (btrfs-quota(5)).
type QuotaMode int

const (
	// QuotaNone counts nothing.
	QuotaNone QuotaMode = iota
	// QuotaFull counts, for each subvolume, the extents that it references and
	// those that only it references: full qgroups. Each change of a shared
	// extent costs a search of its references.
	QuotaFull
	// QuotaSimple counts, for each subvolume, the extents that were written in
	// it, shared or not, for as long as they exist: simple quotas, from Linux
	// 6.7 on. A snapshot has nothing at first. Older kernels cannot mount a
	// file system that ever had them.
	QuotaSimple
)

// String is the mode as poolctl writes it.
func (m QuotaMode) String() string {
	switch m {
	case QuotaFull:
		return "qgroups"
	case QuotaSimple:
		return "simple"
	case QuotaNone:
	}
	return "none"
}

// ErrSimpleQuota says that the kernel has no simple quotas: it is older than
// Linux 6.7.
var ErrSimpleQuota = errors.New("the kernel has no simple quotas (Linux 6.7 or later is needed)")

// QuotaStatus is the state of a file system's quotas.
type QuotaStatus struct {
	Mode QuotaMode
	// Inconsistent says that the numbers are not right and nothing is counted
	// until RescanQuota. It is never so with simple quotas.
	Inconsistent bool
	// Rescanning says that the kernel is counting anew.
	Rescanning bool
}

// Flags of the status item (BTRFS_QGROUP_STATUS_FLAG_*).
const (
	statusOn           = 1 << 0
	statusRescan       = 1 << 1
	statusInconsistent = 1 << 2
	statusSimple       = 1 << 3
)

// Quota tells the state of the quotas of the file system that path is on.
func Quota(path string) (QuotaStatus, error) {
	f, err := openDir(path)
	if err != nil {
		return QuotaStatus{}, fmt.Errorf("cannot read the quota status of %s: %w", path, err)
	}
	defer func() { _ = f.Close() }()
	st, err := quotaStatus(f)
	if err != nil {
		return st, fmt.Errorf("cannot read the quota status of %s: %w", path, err)
	}
	return st, nil
}

func quotaStatus(f *os.File) (QuotaStatus, error) {
	item, err := newSearcher(f).first(quotaTreeID, 0, qgroupStatusKey)
	if errors.Is(err, unix.ENOENT) || err == nil && item == nil {
		return QuotaStatus{}, nil
	} else if err != nil {
		return QuotaStatus{}, err
	}
	st, err := parseQuotaStatus(item)
	if err != nil || st.Mode != QuotaFull || st.Inconsistent {
		return st, err
	}
	// The item is as of the last commit; /sys tells what is now.
	info, err := fsInfo(f)
	if err != nil {
		return st, err
	}
	live, err := os.ReadFile(filepath.Join(sysFS, info.UUID, "qgroups", "inconsistent"))
	st.Inconsistent = err == nil && strings.TrimSpace(string(live)) == "1"
	return st, nil
}

// parseQuotaStatus reads struct btrfs_qgroup_status_item.
func parseQuotaStatus(data []byte) (QuotaStatus, error) {
	const size = 32 // before enable_gen, which is there with simple quotas only
	if len(data) < size {
		return QuotaStatus{}, fmt.Errorf("cannot parse a quota status of %d bytes", len(data))
	}
	flags := binary.LittleEndian.Uint64(data[16:])
	if flags&statusOn == 0 {
		return QuotaStatus{}, nil
	}
	st := QuotaStatus{Mode: QuotaFull, Inconsistent: flags&statusInconsistent != 0, Rescanning: flags&statusRescan != 0}
	if flags&statusSimple != 0 {
		st = QuotaStatus{Mode: QuotaSimple}
	}
	return st, nil
}

// EnableQuota turns quotas on in the file system that path is on. With
// QuotaFull the kernel then begins to count what is there: RescanQuota waits
// for it. With QuotaSimple what was written before counts for nobody. To be in
// that mode already is no error, and to be in the other one is unix.EBUSY.
// ErrSimpleQuota says that the kernel cannot.
func EnableQuota(path string, mode QuotaMode) error {
	if err := enableQuota(path, mode); err != nil {
		return fmt.Errorf("cannot enable quotas (%s) on %s: %w", mode, path, err)
	}
	return nil
}

func enableQuota(path string, mode QuotaMode) error {
	f, err := openDir(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := quotaStatus(f)
	switch {
	case err != nil:
		return err
	case st.Mode == mode:
		return nil
	case st.Mode != QuotaNone:
		return fmt.Errorf("they are enabled as %s: %w", st.Mode, unix.EBUSY)
	}
	command := uint64(quotaEnable)
	if mode == QuotaSimple {
		command = quotaEnableSimple
	}
	err = quotaControl(f, command)
	if errors.Is(err, unix.EINVAL) && mode == QuotaSimple {
		return ErrSimpleQuota
	}
	return err
}

// DisableQuota turns quotas off: all qgroups and limits are gone then. Where
// there are none it does nothing.
func DisableQuota(path string) error {
	f, err := openDir(path)
	if err == nil {
		err = errors.Join(quotaControl(f, quotaDisable), f.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot disable quotas on %s: %w", path, err)
	}
	return nil
}

func quotaControl(f *os.File, command uint64) error {
	args := quotaCtlArgs{Command: command}
	return os.NewSyscallError("BTRFS_IOC_QUOTA_CTL", ioctl(int(f.Fd()), iocQuotaCtl, &args))
}

// rescanPoll is how often RescanQuota looks whether the kernel is done.
const rescanPoll = 10 * time.Millisecond

// RescanQuota has the kernel count anew what each qgroup has, and waits for it.
// It does nothing unless the mode is QuotaFull. When ctx ends the kernel goes
// on alone.
func RescanQuota(ctx context.Context, path string) error {
	if err := rescanQuota(ctx, path); err != nil {
		return fmt.Errorf("cannot rescan the quotas of %s: %w", path, err)
	}
	return nil
}

func rescanQuota(ctx context.Context, path string) error {
	f, err := openDir(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	st, err := quotaStatus(f)
	if err != nil || st.Mode != QuotaFull {
		return err
	}
	// One that runs already, since the quotas were enabled for example, counts
	// too little if something was changed since: it is waited for, and another
	// one begun, but not for ever.
	for range 3 {
		err = os.NewSyscallError("BTRFS_IOC_QUOTA_RESCAN", ioctl(int(f.Fd()), iocQuotaRescan, &rescanArgs{}))
		running := errors.Is(err, unix.EINPROGRESS)
		if err != nil && !running {
			return err
		}
		if err := awaitRescan(ctx, f); err != nil {
			return err
		}
		if st, err = quotaStatus(f); err != nil || !running && !st.Inconsistent {
			return err
		}
	}
	if st.Inconsistent {
		return fmt.Errorf("something keeps changing them: %w", unix.EAGAIN)
	}
	return nil
}

// StartRescan has the kernel count anew what each qgroup has, and does not wait
// for it. One that runs already is no error, nor is a mode other than QuotaFull.
func StartRescan(path string) error {
	f, err := openDir(path)
	if err == nil {
		err = errors.Join(startRescan(f), f.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot rescan the quotas of %s: %w", path, err)
	}
	return nil
}

func startRescan(f *os.File) error {
	st, err := quotaStatus(f)
	if err != nil || st.Mode != QuotaFull {
		return err
	}
	err = ioctl(int(f.Fd()), iocQuotaRescan, &rescanArgs{})
	if errors.Is(err, unix.EINPROGRESS) {
		return nil
	}
	return os.NewSyscallError("BTRFS_IOC_QUOTA_RESCAN", err)
}

// awaitRescan asks instead of waiting in the kernel, so that ctx can end it.
func awaitRescan(ctx context.Context, f *os.File) error {
	for {
		var st rescanArgs
		if err := ioctl(int(f.Fd()), iocQuotaRescanStatus, &st); err != nil {
			return os.NewSyscallError("BTRFS_IOC_QUOTA_RESCAN_STATUS", err)
		}
		if st.Flags == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rescanPoll):
		}
	}
}
