package btrfs

import (
	"cmp"
	"slices"
)

const (
	// smallestResize is the smallest size that the kernel resizes to
	// (btrfs_ioctl_resize in fs/btrfs/ioctl.c).
	smallestResize = 256 << 20
	// deviceReserved is what btrfs leaves free at the start of a device
	// (BTRFS_DEVICE_RANGE_RESERVED).
	deviceReserved = 1 << 20
	// moveReserve is the metadata that moving a block group needs for a while:
	// the kernel reserves 256 nodes twice (RELOCATION_RESERVED_NODES in
	// fs/btrfs/relocation.c), of up to 64 KiB, and the updates of other trees.
	moveReserve = 16 << 20
	// sharedReserve is how many times the metadata that is moved the move takes more, up to sharedReserveMax, where snapshots
	// share it: the kernel sets aside room for every reference that changes (btrfs_delayed_refs_rsv_refill in
	// fs/btrfs/delayed-ref.c), all that it gets, and when a commit in the middle of the move has taken what the move had set
	// aside, gives up the file system (merge_reloc_roots in fs/btrfs/relocation.c). How much is enough was found by trial.
	sharedReserve    = 4
	sharedReserveMax = 256 << 20
	// smallestHole is the shortest free piece of a device that is counted on.
	smallestHole = 1 << 20
	// smallExtent is the longest extent that is taken to fit wherever that much is
	// free: those of compressed data are no longer.
	smallExtent = 128 << 10
	// compactSpare stays unallocated in a file system of the smallest size besides
	// what moving needs, for a balance after it.
	compactSpare = 8 << 20
)

// chunkMax is the longest block group that the kernel makes in a file system of
// that size: a tenth of it, and no more than a limit of the kind
// (init_alloc_chunk_ctl_policy_regular in fs/btrfs/volumes.c).
func chunkMax(flags, size uint64) uint64 {
	limit := uint64(1 << 30)
	switch {
	case flags&groupData != 0:
	case flags&groupSystem != 0:
		limit = 32 << 20
	case size <= 50<<30:
		limit = 256 << 20
	}
	return min(limit, size/10)
}

// layout is where block groups lie on a device of a size, and what the kernel
// keeps of the metadata for emergencies.
type layout struct {
	groups  []blockGroup
	reserve uint64
	// snapshots says that there are some: trees share their nodes.
	snapshots bool
}

// toMove is the metadata that has to be free to move so much of it, besides what is moved.
func (l layout) toMove(metadata uint64) uint64 {
	need := l.reserve + moveReserve
	if l.snapshots {
		need += min(sharedReserve*metadata, sharedReserveMax)
	}
	return need
}

// holes are the free pieces of the device before an offset.
func (l layout) holes(end uint64) (sum uint64) {
	var taken []DevExtent
	for _, g := range l.groups {
		taken = append(taken, g.extents...)
	}
	slices.SortFunc(taken, func(a, b DevExtent) int { return cmp.Compare(a.Start, b.Start) })
	at := uint64(deviceReserved)
	add := func(until uint64) {
		if until = min(until, end); until >= at+smallestHole {
			sum += until - at
		}
	}
	for _, e := range taken {
		add(e.Start)
		at = max(at, e.Start+e.Length)
	}
	add(end)
	return sum
}

// canMove says whether the block groups that move tells can certainly be moved
// into the free space of those that stay and into the holes before size. It must
// not err in that: with too little room for metadata the kernel gives up the
// whole file system, instead of the move. What becomes free by the moves
// themselves is not counted.
func (l layout) canMove(size uint64, move func(blockGroup) bool) bool {
	var meta, system kindRoom
	dataMoved := false
	for _, g := range l.groups {
		switch {
		case g.metadata():
			meta.add(g, move(g))
		case g.system():
			system.add(g, move(g))
		default:
			dataMoved = dataMoved || g.used > 0 && move(g)
		}
	}
	// The kernel makes block groups as long as it may: metadata takes all of the
	// last one that it needs.
	need := meta.missing(l.toMove(meta.moved), chunkMax(groupMetadata, size)) + system.missing(0, chunkMax(groupSystem, size))
	room, ok := l.dataRoom(size, move)
	if !ok {
		return false
	}
	need += room
	if (dataMoved || meta.moved > 0) && meta.copies == 0 {
		return false // there is no file system without metadata
	}
	need += need / 64
	// Holes are no use to the kernel unless the device, at its new size, has more
	// than the block groups have together, those that are still to be moved included
	// (gather_device_info in fs/btrfs/volumes.c).
	return need == 0 || l.holes(size) >= need && size >= l.allocated()+need
}

// dataRoom is how many bytes of the device new block groups take for the data that
// is moved, and false where the longest extent fits neither into a free piece of a
// block group that stays nor into a new block group. Mixed ones are not looked at
// but for that.
func (l layout) dataRoom(size uint64, move func(blockGroup) bool) (uint64, bool) {
	var moved, longest, free, copies uint64
	for _, g := range l.groups {
		if g.flags&groupData != 0 && move(g) {
			longest = max(longest, g.longest)
			if !g.metadata() {
				moved, copies = moved+g.used, max(copies, g.copies())
			}
		}
	}
	fits := chunkMax(groupData, size) >= longest+longestNode
	for _, g := range l.groups {
		if g.flags&groupData == 0 || move(g) {
			continue
		}
		fits = fits || g.hole >= longest
		switch {
		case g.metadata():
		case longest <= smallExtent: // fits nearly everywhere
			free += g.length - min(g.used, g.length)
		case g.hole >= moved:
			free += g.hole
		default: // what is left of it may be just too short
			free += subtract(g.hole, longest)
		}
	}
	left := subtract(moved, free)
	if longest > smallExtent && left > 0 && chunkMax(groupData, size) < longest+longestNode {
		return 0, false
	}
	return packed(left, longest, chunkMax(groupData, size)) * copies, fits
}

// packed is how much so much data takes in block groups of unit bytes each, when
// extents of up to longest bytes are not cut: each pair of block groups has more
// than one of them full, and each lacks less than an extent.
func packed(data, longest, unit uint64) uint64 {
	if data == 0 || longest <= smallExtent {
		return data
	}
	fill := max(subtract(unit, longest), unit/2, 1)
	return (data + fill - 1) / fill * unit
}

// allocated is what the block groups have of the device.
func (l layout) allocated() uint64 {
	sum := uint64(deviceReserved)
	for _, g := range l.groups {
		sum += g.length * g.copies()
	}
	return sum
}

// kindRoom sums up the block groups of one kind.
type kindRoom struct {
	moved  uint64 // bytes used in those that are moved
	free   uint64 // bytes free in those that stay
	copies uint64
	any    bool // whether any is moved
}

func (r *kindRoom) add(g blockGroup, moved bool) {
	r.copies = max(r.copies, g.copies())
	if !moved {
		r.free += g.length - min(g.used, g.length)
		return
	}
	r.any = true
	r.moved += g.used
}

// missing is how many bytes of the device new block groups take: for what is
// moved and a reserve, in pieces of unit bytes. Where a block group is moved, a
// new one of at least one piece may be made whatever is free.
func (r kindRoom) missing(reserve, unit uint64) uint64 {
	need := subtract(r.moved+reserve, r.free)
	if unit > 0 {
		need = (need + unit - 1) / unit * unit
		if r.any {
			need = max(need, unit)
		}
	}
	return need * max(1, r.copies)
}

// canShrink says whether the file system can certainly be shrunk to size in one
// step.
func (l layout) canShrink(size uint64) bool {
	return l.canMove(size, func(g blockGroup) bool { return g.end() > size })
}

// smallestStep is the smallest size from target on that can be reached in one
// step, to a fraction of cur; cur when there is none. Short of the target it
// leaves room to rewrite the longest block groups after it, as a file system that
// was shrunk until nothing can be moved any more would be stuck there.
func (l layout) smallestStep(target, cur uint64) uint64 {
	if l.canShrink(target) {
		return target
	}
	longest := l.longest()
	const steps = 200
	for i := uint64(1); i < steps; i++ {
		size := target + (cur-target)*i/steps
		ok := l.canMove(size, func(g blockGroup) bool {
			return g.end() > size || g.tooLong(size) && slices.Contains(longest, g.logical)
		})
		if ok {
			return size
		}
	}
	return cur
}

// tooLong says whether a block group is longer than new ones are in a file system
// of that size.
func (g blockGroup) tooLong(size uint64) bool {
	limit := chunkMax(g.flags, size)
	return g.length > limit+limit/8
}

// longest are the addresses of the longest block group of each kind.
func (l layout) longest() []uint64 {
	best := map[uint64]blockGroup{}
	for _, g := range l.groups {
		kind := g.flags & (groupData | groupMetadata | groupSystem)
		if g.length > best[kind].length {
			best[kind] = g
		}
	}
	var out []uint64
	for _, g := range best {
		out = append(out, g.logical)
	}
	return out
}

// nextMove chooses the block group to rewrite where a step is too small as the
// block groups lie: one from before until (the others are new already) that is
// longer than new ones, or half empty, or lies beyond target, and which can be
// moved. The one that frees most comes first.
func (l layout) nextMove(target, cur, until uint64) (blockGroup, bool) {
	var best blockGroup
	var gain uint64
	for _, g := range l.groups {
		worth := g.tooLong(cur) || g.used < g.length/2 || g.end() > target
		if g.logical >= until || !worth || !l.canMove(cur, func(o blockGroup) bool { return o.logical == g.logical }) {
			continue
		}
		if win := g.length*g.copies() - g.used; best.length == 0 || win > gain {
			best, gain = g, win
		}
	}
	return best, best.length > 0
}

// minimum is the smallest size that a file system of size cur can be shrunk to for
// certain: as the block groups lie, or what compact says, if that is less.
func (l layout) minimum(cur uint64) uint64 {
	size := l.compact()
	for at := cur; at >= smallestResize && l.canShrink(at); at -= min(at, 1<<20) {
		size = min(size, at)
	}
	return min(size, cur)
}

// compact is what is used, what the kernel reserves, and room to move a block
// group of each kind, of the length that they have in a file system of that size.
func (l layout) compact() uint64 {
	var need, data, metadata, longest uint64
	copies := map[uint64]uint64{groupData: 1, groupMetadata: 1, groupSystem: 1}
	for _, g := range l.groups {
		if longest = max(longest, g.longest); g.flags&groupData != 0 && !g.metadata() {
			data += g.used
		} else {
			need += g.used * g.copies()
			metadata += g.used
		}
		for kind, n := range copies {
			if g.flags&kind != 0 {
				copies[kind] = max(n, g.copies())
			}
		}
	}
	need += deviceReserved + compactSpare + l.toMove(metadata)*copies[groupMetadata]
	size := max(smallestResize, 10*(longest+smallestHole)) // a new block group, of a tenth, has to hold any extent
	for {
		room := need + packed(data, longest, chunkMax(groupData, size))*copies[groupData]
		for kind, n := range copies {
			room += chunkMax(kind, size) * n
		}
		if size >= room {
			return (size + 1<<20 - 1) &^ (1<<20 - 1)
		}
		size = max(size+1<<20, room)
	}
}
