package btrfs

import (
	"fmt"
	"os"
)

// groupTrees is what moving one block group writes of the trees, whatever is in it:
// each of its transactions writes the paths to what it changed anew, in two copies.
const groupTrees = 4 << 20

// MovedByBalance is how many bytes of the devices a balance of the file system at
// path writes anew: what is used in the block groups that it takes, each copy
// counted, and the trees that refer to it. Until it has ended, that much is written
// besides what there is.
func MovedByBalance(path string, b Balance) (uint64, error) {
	return movedBy(path, readLayout, func(l layout) uint64 { return l.written(b.takes) })
}

// MovedByShrink is how many bytes of the device Shrink to size writes anew at
// most before some of the free space can be trimmed: what lies beyond it, where that
// can be moved at once; all that is used, where block groups have to be rewritten to
// get there; and the trees that refer to it.
func MovedByShrink(path string, size uint64) (uint64, error) {
	return movedBy(path, readLayoutExtents, func(l layout) uint64 {
		one := l.canShrink(size)
		return l.written(func(g blockGroup) bool { return !one || g.end() > size })
	})
}

// UsedOfDevices is how many bytes of its devices the file system at path has in use,
// each copy counted: the rest of what block groups have can be trimmed.
func UsedOfDevices(path string) (uint64, error) {
	return movedBy(path, readLayout, func(l layout) uint64 { return l.used(func(blockGroup) bool { return true }) })
}

func movedBy(path string, read func(*os.File) (layout, error), sum func(layout) uint64) (moved uint64, err error) {
	err = withDir(path, func(f *os.File) error {
		l, err := read(f)
		moved = sum(l)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("cannot tell how much would be moved at %s: %w", path, err)
	}
	return moved, nil
}

// written is how many bytes of the device moving some block groups writes: what is
// used in them, and of the trees what refers to the data, or all, whichever is less.
func (l layout) written(which func(blockGroup) bool) uint64 {
	var data, moved, trees uint64
	for _, g := range l.groups {
		if g.flags&groupData == 0 || g.metadata() {
			trees += g.used * g.copies()
		}
		if !which(g) {
			continue
		}
		if g.flags&groupData != 0 {
			data += g.used
		}
		moved += g.used*g.copies() + groupTrees
	}
	return moved + min(trees, data)
}

// used is what is used in some block groups, in bytes of the device.
func (l layout) used(which func(blockGroup) bool) (sum uint64) {
	for _, g := range l.groups {
		if which(g) {
			sum += g.used * g.copies()
		}
	}
	return sum
}

// takes says whether the balance rewrites a block group (chunk_usage_filter in
// fs/btrfs/volumes.c). Of mixed ones both filters have to take it.
func (b Balance) takes(g blockGroup) bool {
	is := func(usage int) bool {
		return usage >= 100 || usage >= 0 && g.used < max(1, g.length/100*uint64(usage))
	}
	switch {
	case g.flags&groupData == 0:
		return is(b.MetadataUsage)
	case g.metadata():
		return is(b.DataUsage) && is(b.MetadataUsage)
	}
	return is(b.DataUsage)
}

// PausedBalance tells which block groups the balance takes that is paused at path;
// ErrNoBalance when there is none.
func PausedBalance(path string) (Balance, error) {
	var a balanceIoctl
	err := withDir(path, func(f *os.File) error { return ioctl(int(f.Fd()), iocBalanceProgress, &a) })
	if err = balanceError(path, "ask for the balance of", err); err != nil {
		return Balance{}, err
	}
	usage := func(args balanceArgs, flag uint64) int {
		switch {
		case a.Flags&flag == 0:
			return -1
		case args.Flags&balanceUsage == 0:
			return 100
		}
		return int(min(args.Usage, 100))
	}
	return Balance{DataUsage: usage(a.Data, balanceData), MetadataUsage: usage(a.Meta, balanceMetadata)}, nil
}
