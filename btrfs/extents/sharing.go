package extents

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Size is a number of bytes: of data, each extent counted once and whole, as it is
// on disk, and of metadata, the tree blocks.
type Size struct {
	Data, Metadata uint64
}

// Total is the sum.
func (s Size) Total() uint64 { return s.Data + s.Metadata }

// Files is what "btrfs filesystem du" says of the files of subvolumes, in bytes as
// they are in the files: compressed data counts uncompressed, holes and what lies
// with the metadata (inline) not at all.
type Files struct {
	// Total is the sum over the files, Exclusive the part of it that is in no
	// other file and in no other subvolume, SetShared the rest, where what several
	// of the files share counts once.
	Total, Exclusive, SetShared uint64
}

// Usage is what subvolumes take together.
type Usage struct {
	// Referenced is everything that they refer to. Of one subvolume it is what a
	// quota group calls so.
	Referenced Size
	// Exclusive is the part of it that no other subvolume refers to: deleting them
	// all frees it.
	Exclusive Size
	Files     Files
}

// Sharing says which subvolumes have which extents, as of one commit. Its methods
// may be called by several goroutines.
type Sharing struct {
	// Generation is the commit's.
	Generation uint64
	// Deleting is how many subvolumes are deleted and still being freed. What only
	// they share with a subvolume counts as exclusive to it.
	Deleting int

	members  map[uint64]int // by id of the subvolume
	sets     *sets
	data     tally
	metadata tally
	files    files
}

// Subvolumes are the ids of the subvolumes, 5 being the top level, sorted.
func (s *Sharing) Subvolumes() []uint64 {
	ids := make([]uint64, 0, len(s.members))
	for id := range s.members {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Has says whether there is a subvolume with that id.
func (s *Sharing) Has(id uint64) bool {
	_, ok := s.members[id]
	return ok
}

// Of says what the subvolumes with these ids take together. An id given twice
// counts once. Of one that is not there the error is fs.ErrNotExist.
func (s *Sharing) Of(ids ...uint64) (Usage, error) {
	mask := s.sets.mask()
	for _, id := range ids {
		m, ok := s.members[id]
		if !ok {
			return Usage{}, fmt.Errorf("cannot find subvolume %d: %w", id, fs.ErrNotExist)
		}
		mask[m/64] |= 1 << (m % 64)
	}
	var u Usage
	add := func(from tally, referenced, exclusive *uint64) {
		for set, n := range from {
			in, out := s.sets.compare(set, mask)
			if in > 0 {
				*referenced += n
			}
			if in > 0 && out == 0 {
				*exclusive += n
			}
		}
	}
	add(s.data, &u.Referenced.Data, &u.Exclusive.Data)
	add(s.metadata, &u.Referenced.Metadata, &u.Exclusive.Metadata)
	var ignored uint64
	add(s.files.exclusive, &u.Files.Exclusive, &ignored)
	add(s.files.shared, &u.Files.SetShared, &ignored)
	for set, n := range s.files.total {
		in, _ := s.sets.compare(set, mask)
		u.Files.Total += n * uint64(in) //nolint:gosec // a count
	}
	return u, nil
}

// newSharing draws together what the walk found.
func newSharing(ctx context.Context, w *walk, roots []root, extentTree root) (*Sharing, error) {
	s := &Sharing{Generation: w.super.generation, members: map[uint64]int{}, sets: w.sets, data: tally{}, metadata: w.metadata}
	for i, r := range roots {
		if _, twice := s.members[r.id]; twice {
			return nil, errors.New("the root tree has a subvolume twice")
		}
		s.members[r.id] = i
	}
	all := gather(w.sets, w.leaves)
	for _, e := range all {
		s.data[e.in] += e.size
	}
	if err := w.countReferences(ctx, extentTree, all); err != nil {
		return nil, err
	}
	s.files = countFiles(w.sets, w.leaves, all)
	return s, nil
}
