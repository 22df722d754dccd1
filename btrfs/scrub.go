package btrfs

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ScrubProgress counts what a scrub has done: struct btrfs_scrub_progress.
type ScrubProgress struct {
	DataExtents         uint64 `json:"data_extents" yaml:"data_extents"`
	TreeExtents         uint64 `json:"tree_extents" yaml:"tree_extents"`
	DataBytes           uint64 `json:"data_bytes" yaml:"data_bytes"`
	TreeBytes           uint64 `json:"tree_bytes" yaml:"tree_bytes"`
	ReadErrors          uint64 `json:"read_errors" yaml:"read_errors"`
	ChecksumErrors      uint64 `json:"checksum_errors" yaml:"checksum_errors"`
	VerifyErrors        uint64 `json:"verify_errors" yaml:"verify_errors"`
	NoChecksum          uint64 `json:"no_checksum" yaml:"no_checksum"` // blocks without one, as nodatacow files have
	ChecksumDiscards    uint64 `json:"checksum_discards" yaml:"checksum_discards"`
	SuperErrors         uint64 `json:"super_errors" yaml:"super_errors"`
	MallocErrors        uint64 `json:"malloc_errors" yaml:"malloc_errors"`
	UncorrectableErrors uint64 `json:"uncorrectable_errors" yaml:"uncorrectable_errors"`
	CorrectedErrors     uint64 `json:"corrected_errors" yaml:"corrected_errors"`
	LastPhysical        uint64 `json:"last_physical" yaml:"last_physical"`
	UnverifiedErrors    uint64 `json:"unverified_errors" yaml:"unverified_errors"`
}

// Errors is how many errors were found, corrected or not.
func (p ScrubProgress) Errors() uint64 {
	return p.ReadErrors + p.ChecksumErrors + p.VerifyErrors + p.SuperErrors
}

// scrubArgs is struct btrfs_ioctl_scrub_args.
type scrubArgs struct {
	DevID, Start, End, Flags uint64
	Progress                 ScrubProgress
	_                        [(1024 - 32 - 15*8) / 8]uint64
}

const (
	iocScrub         = iocRead | iocWrite | magic | 27 | unsafe.Sizeof(scrubArgs{})<<16
	iocScrubCancel   = magic | 28
	iocScrubProgress = iocRead | iocWrite | magic | 29 | unsafe.Sizeof(scrubArgs{})<<16

	scrubReadOnly = 1 // BTRFS_SCRUB_READONLY
)

// ErrNoScrub says that no scrub is running.
var ErrNoScrub = errors.New("no scrub is running")

// scrubPoll is how often a running scrub is asked for its progress.
const scrubPoll = 200 * time.Millisecond

// Scrub reads everything on one device of the file system at path and verifies
// its checksums (BTRFS_IOC_SCRUB). What is wrong is repaired from another copy
// where there is one, unless readOnly. progress, which may be nil, is called
// from time to time. The errors that it found are in the result, not in the
// error. When ctx ends, the scrub is cancelled and the error is ctx's;
// ErrCancelled when another process did that; ErrBusy when one is running.
func Scrub(ctx context.Context, path string, device uint64, readOnly bool, progress func(ScrubProgress)) (ScrubProgress, error) {
	a := scrubArgs{DevID: device, End: math.MaxUint64}
	if readOnly {
		a.Flags = scrubReadOnly
	}
	watched, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watchScrub(watched, path, device, progress)
	}()
	err := withDir(path, func(f *os.File) error {
		cancel := func() bool { return ioctl[byte](int(f.Fd()), iocScrubCancel, nil) == nil }
		return cancellable(ctx, cancel, func() error { return exclusive(f, iocScrub, &a) })
	})
	stop()
	<-ended
	switch {
	case errors.Is(err, unix.ECANCELED) && ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, unix.ECANCELED):
		err = ErrCancelled
	}
	if err != nil {
		err = fmt.Errorf("cannot scrub %s: %w", path, err)
	}
	return a.Progress, err
}

// watchScrub tells progress of a running scrub until ctx ends.
func watchScrub(ctx context.Context, path string, device uint64, progress func(ScrubProgress)) {
	for progress != nil {
		select {
		case <-ctx.Done():
			return
		case <-time.After(scrubPoll):
		}
		if p, err := GetScrub(path, device); err == nil && ctx.Err() == nil {
			progress(p)
		}
	}
}

// GetScrub tells how far the scrub of a device of the file system at path is
// (BTRFS_IOC_SCRUB_PROGRESS); ErrNoScrub when none runs.
func GetScrub(path string, device uint64) (ScrubProgress, error) {
	a := scrubArgs{DevID: device}
	err := withDir(path, func(f *os.File) error { return ioctl(int(f.Fd()), iocScrubProgress, &a) })
	return a.Progress, scrubError(path, "ask for the scrub of", err)
}

// CancelScrub ends the scrub of the file system at path and returns once it has
// ended (BTRFS_IOC_SCRUB_CANCEL); ErrNoScrub when none runs.
func CancelScrub(path string) error {
	err := withDir(path, func(f *os.File) error { return ioctl[byte](int(f.Fd()), iocScrubCancel, nil) })
	return scrubError(path, "cancel the scrub of", err)
}

func scrubError(path, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOTCONN):
		err = ErrNoScrub
	}
	return fmt.Errorf("cannot %s %s: %w", what, path, err)
}
