package extents

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	// readAtOnce is the most bytes of one read, and gap how many between two tree
	// blocks are rather read than left out.
	readAtOnce = 512 << 10
	gap        = 64 << 10
	// readers is how many reads are made at the same time.
	readers = 4
)

// disks are the devices of a file system by id, open for direct reading: what the
// kernel's own cache of a device has may be older than what btrfs wrote to it.
type disks map[uint64]*os.File

func openDisks(paths map[uint64]string) (disks, error) {
	d := disks{}
	for id, path := range paths {
		f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		d[id] = f
	}
	return d, nil
}

func (d disks) Close() error {
	var errs []error
	for _, f := range d {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// read fills b, which is aligned to a page, from a device.
func (d disks) read(b []byte, p place) error {
	f := d[p.device]
	if f == nil {
		return fmt.Errorf("device %d is missing", p.device)
	}
	_, err := f.ReadAt(b, int64(p.offset)) //nolint:gosec // a chunk's addresses are below 1<<60
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: device %d ends before it", errStale, p.device)
	}
	return err
}

// superblock reads the newest superblock of the devices.
func (d disks) superblock() (super, error) {
	b, free, err := aligned(superSize)
	if err != nil {
		return super{}, err
	}
	defer free()
	var newest super
	var errs []error
	for id := range d {
		var s super
		for range 5 { // it may be written just now
			if err = d.read(b, place{id, superOffset}); err == nil {
				s, err = parseSuper(b)
			}
			if !errors.Is(err, errStale) {
				break
			}
		}
		errs = append(errs, err)
		if err == nil && s.generation > newest.generation {
			newest = s
		}
	}
	if newest.generation == 0 {
		return super{}, fmt.Errorf("cannot read the superblock: %w", errors.Join(errs...))
	}
	return newest, nil
}

// aligned is memory that direct reads can go to.
func aligned(size int) (b []byte, free func(), err error) {
	b, err = unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot get memory: %w", err)
	}
	return b, func() { _ = unix.Munmap(b) }, nil
}

// reader reads the tree blocks of one commit.
type reader struct {
	disks  disks
	super  super
	chunks chunks
}

// run is tree blocks that are read at once: they lie together on the devices.
type run struct {
	first, count int // of the pointers
	bytes        int
	copies       []place
}

// blocks reads the tree blocks that are pointed to, all of one level, and calls fn
// with each, at several at the same time. The block is valid during the call only.
func (r *reader) blocks(ctx context.Context, level int, pointers []pointer, fn func(i int, block []byte) error) error {
	order := make([]int, len(pointers))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(pointers[a].bytenr, pointers[b].bytenr) })
	sorted := make([]pointer, len(pointers))
	for i, o := range order {
		sorted[i] = pointers[o]
	}
	runs, err := r.runs(sorted)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(readers, len(runs)) {
		group.Go(func() {
			b, free, err := aligned(readAtOnce)
			if err != nil {
				cancel(err)
				return
			}
			defer free()
			for i := int(next.Add(1)) - 1; i < len(runs) && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				some := sorted[runs[i].first:][:runs[i].count]
				err := r.readRun(b[:runs[i].bytes], runs[i].copies, level, some, func(n int, block []byte) error {
					return fn(order[runs[i].first+n], block)
				})
				if err != nil {
					cancel(err)
					return
				}
			}
		})
	}
	group.Wait()
	return context.Cause(ctx)
}

// runs joins pointers, which are sorted, where that makes fewer reads.
func (r *reader) runs(sorted []pointer) ([]run, error) {
	var out []run
	size := uint64(r.super.nodesize) //nolint:gosec // at most 64 KiB
	for i := 0; i < len(sorted); {
		start := sorted[i].bytenr
		c, err := r.chunks.find(start)
		if err != nil {
			return nil, err
		}
		copies, together := c.locate(start)
		if together < size || start%4096 != 0 {
			return nil, fmt.Errorf("%w: address %d is not that of a tree block", errStale, start)
		}
		n, end := 1, start+size
		for i+n < len(sorted) {
			to := sorted[i+n].bytenr + size
			if sorted[i+n].bytenr > end+gap || to-start > min(readAtOnce, together) {
				break
			}
			n, end = n+1, to
		}
		out = append(out, run{first: i, count: n, bytes: int(end - start), copies: copies}) //nolint:gosec // at most readAtOnce
		i += n
	}
	return out, nil
}

// readRun reads tree blocks that lie together, and those that are not good in the
// first copy from the others.
func (r *reader) readRun(b []byte, copies []place, level int, blocks []pointer, fn func(i int, block []byte) error) error {
	failed := r.disks.read(b, copies[0])
	for i, p := range blocks {
		at := p.bytenr - blocks[0].bytenr
		block := b[at:][:r.super.nodesize]
		err := failed
		if err == nil {
			err = checkBlock(block, r.super.sum, p, level)
		}
		for _, c := range copies[1:] {
			if err == nil {
				break
			}
			if again := r.disks.read(block, place{c.device, c.offset + at}); again != nil {
				continue
			}
			if again := checkBlock(block, r.super.sum, p, level); again == nil {
				err = nil
			}
		}
		if err == nil {
			err = fn(i, block)
		}
		if err != nil {
			return fmt.Errorf("tree block %d: %w", p.bytenr, err)
		}
	}
	return nil
}

// everything is the objects of a whole tree.
func everything(_, _ uint64) bool { return true }

// tree calls fn with the items of a tree, in no order, of those leaves that may
// have an object that wanted says is one from first to last.
func (r *reader) tree(ctx context.Context, top pointer, level int, wanted func(first, last uint64) bool, fn func(k key, data []byte) error) error {
	pointers := []pointer{top}
	for ; level > 0; level-- {
		below := make([][]pointer, len(pointers))
		err := r.blocks(ctx, level, pointers, func(i int, block []byte) error {
			nodes, firsts, err := children(block)
			for n, p := range nodes {
				last := ^uint64(0)
				if n+1 < len(firsts) {
					last = firsts[n+1]
				}
				if wanted(firsts[n], last) {
					below[i] = append(below[i], p)
				}
			}
			return err
		})
		if err != nil {
			return err
		}
		pointers = slices.Concat(below...)
	}
	var mu sync.Mutex
	return r.blocks(ctx, 0, pointers, func(_ int, block []byte) error {
		mu.Lock()
		defer mu.Unlock()
		return items(block, fn)
	})
}

// open finds the chunks of a commit: the chunk tree is in the system chunks, which
// the superblock has.
func (r *reader) open(ctx context.Context) error {
	r.chunks = r.super.chunks
	r.chunks.sort()
	var all chunks
	err := r.tree(ctx, r.super.chunkRoot, r.super.chunkLevel, everything, func(k key, data []byte) error {
		if k.kind != chunkItemKind {
			return nil
		}
		c, _, err := parseChunk(k, data)
		all = append(all, c)
		return err
	})
	if err != nil {
		return fmt.Errorf("cannot read the chunk tree: %w", err)
	}
	r.chunks = all
	r.chunks.sort()
	return nil
}

// roots are the trees of the subvolumes, and the extent tree.
func (r *reader) roots(ctx context.Context) (subvolumes []root, extentTree root, err error) {
	err = r.tree(ctx, r.super.root, r.super.rootLevel, everything, func(k key, data []byte) error {
		isExtentTree := k.kind == rootItemKind && k.object == extentTreeID
		if !isExtentTree && !isSubvolume(k) {
			return nil
		}
		one, err := parseRoot(k, data)
		if isExtentTree {
			extentTree = one
		} else {
			subvolumes = append(subvolumes, one)
		}
		return err
	})
	if err != nil {
		return nil, root{}, fmt.Errorf("cannot read the root tree: %w", err)
	}
	slices.SortFunc(subvolumes, func(a, b root) int { return cmp.Compare(a.id, b.id) })
	return subvolumes, extentTree, nil
}
