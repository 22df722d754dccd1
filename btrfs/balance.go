package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// balanceArgs is struct btrfs_balance_args. Its union of usage and the range of
// usages is one number, the limit another.
type balanceArgs struct {
	Profiles, Usage, DevID, PStart, PEnd, VStart, VEnd, Target, Flags, Limit uint64
	StripesMin, StripesMax                                                   uint32
	_                                                                        [6]uint64
}

// balanceIoctl is struct btrfs_ioctl_balance_args.
type balanceIoctl struct {
	Flags, State                    uint64
	Data, Meta, Sys                 balanceArgs
	Expected, Considered, Completed uint64 // struct btrfs_balance_progress
	_                               [72]uint64
}

const (
	iocBalance         = iocRead | iocWrite | magic | 32 | unsafe.Sizeof(balanceIoctl{})<<16 // BTRFS_IOC_BALANCE_V2
	iocBalanceControl  = iocWrite | magic | 33 | 4<<16
	iocBalanceProgress = iocRead | magic | 34 | unsafe.Sizeof(balanceIoctl{})<<16

	balancePause  = 1 // BTRFS_BALANCE_CTL_PAUSE
	balanceCancel = 2 // BTRFS_BALANCE_CTL_CANCEL

	balanceData     = 1 << 0 // BTRFS_BALANCE_DATA
	balanceSystem   = 1 << 1
	balanceMetadata = 1 << 2
	balanceForce    = 1 << 3
	balanceResume   = 1 << 4

	balanceUsage  = 1 << 1 // BTRFS_BALANCE_ARGS_USAGE
	balanceVRange = 1 << 4 // BTRFS_BALANCE_ARGS_VRANGE

	balanceRunning   = 1 << 0 // BTRFS_BALANCE_STATE_RUNNING
	balancePauseReq  = 1 << 1
	balanceCancelReq = 1 << 2
)

// Errors of balances.
var (
	// ErrNoBalance says that no balance is running or paused.
	ErrNoBalance = errors.New("no balance is running or paused")
	// ErrPaused says that the balance was paused, by another process.
	ErrPaused = errors.New("paused")
	// ErrCancelled says that the operation was cancelled, by another process.
	ErrCancelled = errors.New("cancelled")
)

// Balance says which block groups a balance rewrites: btrfs-balance(8). The
// usages are percent; a block group of which less is used than that is
// rewritten. 0 takes only those that are empty, 100 all, below 0 none.
type Balance struct {
	DataUsage, MetadataUsage int
}

// BalanceProgress is how far a balance is, in block groups.
type BalanceProgress struct {
	// Expected is how many are to be rewritten, as far as it was known when it started.
	Expected uint64 `json:"expected" yaml:"expected"`
	// Considered is how many were looked at, Completed how many were rewritten.
	Considered uint64 `json:"considered" yaml:"considered"`
	Completed  uint64 `json:"completed" yaml:"completed"`
	Running    bool   `json:"running" yaml:"running"` // else it is paused
	Ending     bool   `json:"ending" yaml:"ending"`   // it was told to pause or to end
}

// StartBalance rewrites block groups of the file system at path, so that those
// which are used sparsely are packed into fewer (BTRFS_IOC_BALANCE_V2), and
// returns when it is done. When ctx ends the balance is cancelled, which leaves
// what is done so far; the error is then ctx's. ErrPaused and ErrCancelled say
// that another process ended it, ErrNoRoom that there was no room to move some
// block group to, ErrBusy that another such operation runs or is paused.
func StartBalance(ctx context.Context, path string, b Balance) (BalanceProgress, error) {
	a := balanceIoctl{}
	set := func(args *balanceArgs, usage int, flag uint64) {
		if usage >= 0 {
			a.Flags |= flag
		}
		if usage >= 0 && usage < 100 {
			args.Flags, args.Usage = balanceUsage, uint64(usage)
		}
	}
	set(&a.Data, b.DataUsage, balanceData)
	set(&a.Meta, b.MetadataUsage, balanceMetadata)
	set(&a.Sys, b.MetadataUsage, balanceSystem)
	if a.Flags&balanceSystem != 0 {
		a.Flags |= balanceForce // without it the kernel takes no system block groups
	}
	return runBalance(ctx, path, a)
}

// ResumeBalance goes on with a balance that is paused, or that was interrupted by
// a power cut or an unmount; otherwise as StartBalance.
func ResumeBalance(ctx context.Context, path string) (BalanceProgress, error) {
	return runBalance(ctx, path, balanceIoctl{Flags: balanceResume})
}

func runBalance(ctx context.Context, path string, a balanceIoctl) (BalanceProgress, error) {
	err := withDir(path, func(f *os.File) error {
		cancel := func() bool { return ioctlInt(f, iocBalanceControl, balanceCancel) == nil }
		return cancellable(ctx, cancel, func() error { return exclusive(f, iocBalance, &a) })
	})
	switch {
	case err == nil:
	case errors.Is(err, unix.ECANCELED) && ctx.Err() != nil:
		err = ctx.Err()
	case errors.Is(err, unix.ECANCELED) && a.State&balancePauseReq != 0:
		err = ErrPaused
	case errors.Is(err, unix.ECANCELED):
		err = ErrCancelled
	case errors.Is(err, unix.ENOTCONN):
		err = ErrNoBalance
	case errors.Is(err, unix.ENOSPC):
		err = fmt.Errorf("%w: %w", ErrNoRoom, os.NewSyscallError("BTRFS_IOC_BALANCE", err))
	case errors.Is(err, unix.ETXTBSY):
		err = fmt.Errorf("an active swap file is in the way: %w", err)
	}
	if err != nil {
		err = fmt.Errorf("cannot balance %s: %w", path, err)
	}
	return a.progress(), err
}

func (a balanceIoctl) progress() BalanceProgress {
	return BalanceProgress{
		Expected: a.Expected, Considered: a.Considered, Completed: a.Completed,
		Running: a.State&balanceRunning != 0, Ending: a.State&(balancePauseReq|balanceCancelReq) != 0,
	}
}

// GetBalance tells how far the balance of the file system at path is
// (BTRFS_IOC_BALANCE_PROGRESS); ErrNoBalance when there is none.
func GetBalance(path string) (BalanceProgress, error) {
	var a balanceIoctl
	err := withDir(path, func(f *os.File) error { return ioctl(int(f.Fd()), iocBalanceProgress, &a) })
	return a.progress(), balanceError(path, "ask for the balance of", err)
}

// PauseBalance pauses the balance that runs at path and returns once it has
// (BTRFS_IOC_BALANCE_CTL); ErrNoBalance when none runs.
func PauseBalance(path string) error { return controlBalance(path, "pause", balancePause) }

// CancelBalance ends the balance of path, running or paused, and returns once it
// has ended; ErrNoBalance when there is none.
func CancelBalance(path string) error { return controlBalance(path, "cancel", balanceCancel) }

func controlBalance(path, verb string, command int) error {
	err := withDir(path, func(f *os.File) error { return ioctlInt(f, iocBalanceControl, command) })
	return balanceError(path, verb+" the balance of", err)
}

func balanceError(path, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.ENOTCONN):
		err = ErrNoBalance
	}
	return fmt.Errorf("cannot %s %s: %w", what, path, err)
}

// ioctlInt calls ioctl(2) with a number, and returns the bare errno.
func ioctlInt(f *os.File, request uintptr, arg int) error {
	return unix.IoctlSetInt(int(f.Fd()), uint(request), arg)
}
