package btrfs

import (
	"context"
	"fmt"
	"os"
	"time"
)

// ShrinkProgress is how far a shrink is, in bytes of the device.
type ShrinkProgress struct {
	Moved, Total uint64
}

// ShrinkOptions are what Shrink calls meanwhile; each can be nil.
type ShrinkOptions struct {
	Progress func(ShrinkProgress)
	// Before is called before each step, with how many bytes of the device that can
	// write before what it frees can be trimmed.
	Before func(ctx context.Context, writes uint64) error
}

// shrinkPoll is how often a shrink looks how much is left to move.
const shrinkPoll = 250 * time.Millisecond

// MinimumSize is the smallest size to which Shrink takes the file system at
// path, which must be on one device: what is used, plus what the kernel needs
// to move it. It can change with every write. It is never below the 256 MiB that
// the kernel insists on.
func MinimumSize(path string) (uint64, error) {
	var size uint64
	err := withDir(path, func(f *os.File) error {
		info, err := fsInfo(f)
		if err != nil {
			return err
		}
		if len(info.Devices) != 1 {
			return fmt.Errorf("it has %d devices", len(info.Devices))
		}
		l, err := readLayoutExtents(f)
		size = l.minimum(info.Devices[0].TotalBytes)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cannot tell the smallest size of the file system at %s: %w", path, err)
	}
	return size, nil
}

// readLayout reads the block groups after a commit.
func readLayout(f *os.File) (layout, error) {
	if err := ioctl[byte](int(f.Fd()), iocSync, nil); err != nil {
		return layout{}, os.NewSyscallError("BTRFS_IOC_SYNC", err)
	}
	groups, err := readGroups(f)
	if err != nil {
		return layout{}, err
	}
	spaces, err := spaceInfos(f)
	if err != nil {
		return layout{}, err
	}
	snapshots, err := hasSnapshots(f)
	if err != nil {
		return layout{}, err
	}
	l := layout{groups: groups, snapshots: snapshots}
	for _, sp := range spaces {
		if sp.Flags&groupReserve != 0 {
			l.reserve += sp.Total
		}
	}
	return l, nil
}

// readLayoutExtents is readLayout with the longest extents.
func readLayoutExtents(f *os.File) (layout, error) {
	l, err := readLayout(f)
	if err == nil {
		err = l.readExtents(f)
	}
	return l, err
}

// Shrink makes the file system at path use only the first size bytes of its one
// device. The kernel alone would fail for many sizes that are large enough, since
// long block groups lie in the way, and for some it would run out of metadata on
// the way and give the file system up. So it goes in steps of which each is
// known to succeed, and where block groups lie so that none is, it rewrites them:
// new ones are shorter, the smaller the file system is.
//
// Before each step it calls o.Before, and gives up when that fails.
//
// ErrNoRoom means that there is no such step, or that somebody wrote too much
// meanwhile. After that, and when ctx ended, the file system has some size
// between the two: ResizeMax takes it back.
func Shrink(ctx context.Context, path string, device, size uint64, o ShrinkOptions) error {
	s := shrinker{path: path, device: device, target: size, o: o}
	for {
		done, err := s.step(ctx)
		if err != nil {
			return fmt.Errorf("cannot shrink the file system at %s to %d bytes: %w", path, size, err)
		}
		if done {
			return nil
		}
	}
}

// shrinker is one Shrink.
type shrinker struct {
	path   string
	device uint64
	target uint64
	o      ShrinkOptions
	total  uint64 // bytes to move, as known at first
	// until is the address from which on block groups have been made since the last step.
	until uint64
}

// step takes one step, down or to the side, and says whether the size is reached.
func (s *shrinker) step(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	var l layout
	var cur uint64
	err := withDir(s.path, func(f *os.File) error {
		info, err := fsInfo(f)
		if err != nil {
			return err
		}
		if len(info.Devices) != 1 {
			return fmt.Errorf("it has %d devices", len(info.Devices))
		}
		cur = info.Devices[0].TotalBytes
		if cur > s.target {
			l, err = readLayoutExtents(f)
		}
		return err
	})
	if err != nil || cur <= s.target {
		return err == nil, err
	}
	next := l.smallestStep(s.target, cur)
	if next == s.target || next < cur-cur/20 {
		s.until = 0
		next = max(next&^(1<<16-1), s.target) // whole sectors of any size
		if err := s.before(ctx, l.written(func(g blockGroup) bool { return g.end() > next })); err != nil {
			return false, err
		}
		return false, s.watched(ctx, func(ctx context.Context) error { return Resize(ctx, s.path, s.device, next) })
	}
	if s.until == 0 {
		s.until = l.groups[len(l.groups)-1].logical + 1
	}
	g, found := l.nextMove(s.target, cur, s.until)
	if !found {
		return false, ErrNoRoom
	}
	if err := s.before(ctx, l.written(func(o blockGroup) bool { return o.logical == g.logical })); err != nil {
		return false, err
	}
	return false, s.watched(ctx, func(ctx context.Context) error { return moveGroup(ctx, s.path, g) })
}

// before asks whether a step may be taken that writes so many bytes.
func (s *shrinker) before(ctx context.Context, writes uint64) error {
	if s.o.Before == nil {
		return nil
	}
	return s.o.Before(ctx, writes)
}

// moveGroup rewrites one block group elsewhere, by a balance of its address only.
func moveGroup(ctx context.Context, path string, g blockGroup) error {
	only := balanceArgs{Flags: balanceVRange, VStart: g.logical, VEnd: g.logical + 1}
	a := balanceIoctl{Flags: balanceForce}
	switch {
	case g.flags&(groupData|groupMetadata) == groupData|groupMetadata: // mixed: both filters have to be the same
		a.Flags, a.Data, a.Meta = a.Flags|balanceData|balanceMetadata, only, only
	case g.flags&groupData != 0:
		a.Flags, a.Data = a.Flags|balanceData, only
	case g.metadata():
		a.Flags, a.Meta = a.Flags|balanceMetadata, only
	default:
		a.Flags, a.Sys = a.Flags|balanceSystem, only
	}
	_, err := runBalance(ctx, path, a)
	return err
}

// watched calls run and tells meanwhile how much is left beyond the target.
func (s *shrinker) watched(ctx context.Context, run func(context.Context) error) error {
	if s.o.Progress == nil {
		return run(ctx)
	}
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	for {
		s.report()
		select {
		case err := <-done:
			s.report()
			return err
		case <-time.After(shrinkPoll):
		}
	}
}

func (s *shrinker) report() {
	left, err := Beyond(s.path, s.device, s.target)
	if err != nil {
		return // what matters is told by the operation itself
	}
	s.total = max(s.total, left)
	s.o.Progress(ShrinkProgress{Moved: s.total - left, Total: s.total})
}

// spaceInfos reads what the block groups of each kind hold.
func spaceInfos(f *os.File) ([]spaceInfo, error) {
	var a spaceArgs
	a.Slots = uint64(len(a.Space))
	if err := ioctl(int(f.Fd()), iocSpaceInfo, &a); err != nil {
		return nil, os.NewSyscallError("BTRFS_IOC_SPACE_INFO", err)
	}
	return a.Space[:min(a.Spaces, a.Slots)], nil
}
