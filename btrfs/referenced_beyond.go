package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// ReferencedBeyond counts the bytes that the subvolumes at paths reference, together and
// with all that are nested in them, and those at has do not; otherwise as Referenced. Trees
// is by how much the largest is larger than the largest of those.
//
// Of a snapshot that follows another one, in has or in paths, only what was written since
// is read: give those of one subvolume in the order in which they were made. What was
// cloned into it since from elsewhere is missing then.
func ReferencedBeyond(ctx context.Context, has, paths []string) (ReferencedBytes, error) {
	if len(paths) == 0 {
		return ReferencedBytes{}, nil
	}
	b := &measuringBeyond{measuring: measuring{seen: map[uint64]struct{}{}}}
	var err error
	if b.trees, err = OpenTrees(paths[0]); err != nil {
		return ReferencedBytes{}, err
	}
	defer func() { _ = b.trees.Close() }()
	if b.origins, err = b.trees.Origins(); err != nil {
		return ReferencedBytes{}, err
	}
	there, err := b.largest(ctx, has, func(*os.File, uint64) error { return nil })
	if err != nil {
		return ReferencedBytes{}, err
	}
	b.has = b.known
	most, err := b.largest(ctx, paths, func(f *os.File, id uint64) error { return b.addBeyond(ctx, f, id) })
	return ReferencedBytes{Data: b.data, Disk: b.disk, Trees: max(most, there) - there}, err
}

// measuringBeyond adds up what subvolumes reference beyond others.
type measuringBeyond struct {
	measuring
	trees   *Trees
	origins Origins
	// has are the subvolumes that do not count; known those and what was counted.
	has, known []uint64
	hasSeen    bool // the extents of has are in seen
}

// largest calls add with each subvolume at these paths and those nested in them, and
// returns what the trees take of that path which has the most.
func (b *measuringBeyond) largest(ctx context.Context, paths []string, add func(f *os.File, id uint64) error) (most uint64, err error) {
	for _, path := range paths {
		f, err := openSubvolume(path)
		if err == nil {
			b.measuring.trees = 0
			err = errors.Join(b.each(ctx, f, add), f.Close())
			most = max(most, b.measuring.trees)
		}
		if err != nil {
			return most, fmt.Errorf("cannot measure %s: %w", path, err)
		}
	}
	return most, nil
}

func (b *measuringBeyond) each(ctx context.Context, f *os.File, add func(f *os.File, id uint64) error) error {
	s := newSearcher(f)
	ids, err := treeIDs(ctx, f, s)
	for _, id := range ids {
		if err == nil {
			err = b.addTrees(s, id)
		}
		if err == nil {
			err = add(f, id)
		}
		b.known = append(b.known, id)
	}
	return err
}

// addBeyond adds what one subvolume has beyond those that are known.
func (b *measuringBeyond) addBeyond(ctx context.Context, f *os.File, id uint64) error {
	since := b.since(id)
	if since == 0 && !b.hasSeen {
		b.hasSeen = true
		all := measuring{seen: b.seen} // does not count
		for _, h := range b.has {
			if err := all.addData(ctx, f, h, 0); err != nil {
				return err
			}
		}
	}
	return b.addData(ctx, f, id, since)
}

// since is the transaction in which that snapshot was made, of those that are known, which
// the subvolume has all of that it has not written since; 0 when there is none.
func (b *measuringBeyond) since(id uint64) uint64 {
	for i := len(b.known) - 1; i >= 0; i-- { // the last is the nearest
		base := b.known[i]
		if at := b.origins.byID[base].at; base != id && at != 0 && b.origins.Parted(id, base) == at {
			return at
		}
	}
	return 0
}
