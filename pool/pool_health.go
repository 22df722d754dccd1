package pool

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

// PoolHealth is what is wrong with an attached pool, as the kernel says now.
type PoolHealth struct {
	// ReadOnly says that nothing can be written; Failed, that it is so because the
	// kernel gave the file system up after an error.
	ReadOnly bool `json:"read_only" yaml:"read_only"`
	Failed   bool `json:"failed" yaml:"failed"`
	// Reason says why it is read-only, and Remedy what can be done about it.
	Reason string `json:"reason,omitempty" yaml:"reason,omitempty"`
	Remedy string `json:"remedy,omitempty" yaml:"remedy,omitempty"`
	// Errors are the device's error counters. They outlive unmounting: `pool
	// scrub --reset` sets them to zero.
	Errors btrfs.DevStats `json:"device_errors" yaml:"device_errors"`
	// Balance is the balance that runs or is paused.
	Balance *btrfs.BalanceProgress `json:"balance,omitempty" yaml:"balance,omitempty"`
}

// Healthy says that nothing is wrong.
func (h PoolHealth) Healthy() bool { return !h.ReadOnly && h.Errors.Sum() == 0 }

// poolHealth asks the kernel for the health of an attached pool, and, where it
// has failed, for the reason.
func (s *System) poolHealth(rec state.PoolRecord) (PoolHealth, error) {
	mp := s.dir.MountPoint(rec.Name)
	st, err := btrfs.GetState(mp)
	if err != nil {
		return PoolHealth{}, err
	}
	h := PoolHealth{ReadOnly: st.ReadOnly, Failed: st.Failed}
	info, err := btrfs.FSInfo(mp)
	if err != nil {
		return h, err
	}
	for _, d := range info.Devices {
		stats, err := btrfs.DeviceStats(mp, d.ID)
		if err != nil {
			continue // missing
		}
		h.Errors.WriteErrors += stats.WriteErrors
		h.Errors.ReadErrors += stats.ReadErrors
		h.Errors.FlushErrors += stats.FlushErrors
		h.Errors.CorruptionErrors += stats.CorruptionErrors
		h.Errors.GenerationErrors += stats.GenerationErrors
	}
	if b, err := btrfs.GetBalance(mp); err == nil {
		h.Balance = &b
	}
	switch {
	case h.Failed:
		s.explainFailure(rec, info, &h)
	case h.ReadOnly:
		h.Reason = "it was mounted or remounted read-only"
		h.Remedy = "mount -o remount,rw " + mp
	}
	return h, nil
}

// explainFailure finds out why the kernel gave a pool up: what it wrote to its
// log, its counters, and the room on the host.
func (s *System) explainFailure(rec state.PoolRecord, info btrfs.Filesystem, h *PoolHealth) {
	again := fmt.Sprintf("poolctl pool detach %s && poolctl pool attach %s", rec.Name, rec.Name)
	h.Reason, h.Remedy = "the kernel gave the file system up after an error", "dmesg says more; then "+again
	errno, detail := firstKernelError(info)
	free, missing := hostRoom(rec)
	switch {
	case rec.Kind == state.PoolFile && free < missing && free < hostNearlyFull && errno != unix.ENOSPC && errno != unix.EUCLEAN:
		h.Reason = fmt.Sprintf("its file could not be written: %s has %s free, and the file may need %s more", filepath.Dir(rec.Source), FormatSize(free), FormatSize(missing))
		h.Remedy = "make room on the host; then " + again
	case errno == unix.ENOSPC:
		h.Reason = "btrfs had no room left for its metadata"
		h.Remedy = again + "; then delete something, or poolctl pool resize " + rec.Name + " +1GiB"
	case h.Errors.WriteErrors+h.Errors.ReadErrors+h.Errors.FlushErrors > 0 || errno == unix.EIO:
		h.Reason = "the disk below it failed"
		h.Remedy = "save what is in it; dmesg says more of the disk; then " + again
	case errno == unix.EUCLEAN || h.Errors.CorruptionErrors+h.Errors.GenerationErrors > 0:
		h.Reason = "its metadata are damaged"
		h.Remedy = "save what is in it; then poolctl pool detach " + rec.Name + " and poolctl pool check " + rec.Name
	case errno != 0:
		h.Reason = fmt.Sprintf("the kernel gave the file system up after an error: %s", errno)
	}
	if detail != "" {
		h.Reason += " (" + detail + ")"
	}
}

// hostNearlyFull is the free space of the host's file system below which an I/O
// error of a pool's file is taken for want of it: the kernel does not tell the
// two apart, and counts no write error for it.
const hostNearlyFull = 64 << 20

// hostRoom is what the host's file system has free, and what a pool's file needs
// more when it is written everywhere.
func hostRoom(rec state.PoolRecord) (free, missing int64) {
	var st unix.Stat_t
	var fsys unix.Statfs_t
	if errors.Join(unix.Stat(rec.Source, &st), unix.Statfs(rec.Source, &fsys)) != nil {
		return 0, 0
	}
	return int64(fsys.Bavail) * fsys.Bsize, max(0, st.Size-st.Blocks*512)
}

// firstKernelError is the first error that the kernel's log has of it with a
// number, and its line.
func firstKernelError(info btrfs.Filesystem) (unix.Errno, string) {
	for _, d := range info.Devices {
		for _, e := range btrfs.KernelErrors(info.UUID, d.Path) {
			if e.Errno != 0 {
				return e.Errno, e.Text
			}
		}
	}
	return 0, ""
}

// Explain adds to an error of a pool that refuses to be written (EROFS), or that
// the kernel gave up (EIO as well), why it does.
func (s *System) Explain(err error) error {
	if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EIO) {
		return err
	}
	names, lerr := s.dir.ListPools()
	if lerr != nil {
		return err
	}
	for _, n := range names {
		rec, lerr := s.dir.LoadPool(n)
		if lerr != nil {
			continue
		}
		if attached, aerr := s.isAttached(rec); aerr != nil || !attached {
			continue
		}
		if h, herr := s.poolHealth(rec); herr == nil && (h.Failed || h.ReadOnly && errors.Is(err, unix.EROFS)) {
			return withHint(err, "pool %s is read-only: %s. %s", n, h.Reason, h.Remedy)
		}
	}
	return err
}
