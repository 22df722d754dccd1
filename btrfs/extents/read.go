package extents

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

// ErrBusy says that the file system was changed faster than it could be read.
var ErrBusy = errors.New("it keeps changing")

// attempts is how often the walk begins again because of that.
const attempts = 25

// Options are the arguments of Read.
type Options struct {
	// Progress, if not nil, is told how many bytes of metadata are read, and of how
	// many at most; at the end both are the same.
	Progress func(done, total int64)
}

// Read finds out which subvolumes of the file system mounted at path share which
// extents, as of a commit that it asks for first. It needs root, reads the devices,
// writes nothing, and takes no lock; ErrBusy is its error where the file system is
// changed all the time.
func Read(ctx context.Context, path string, o Options) (*Sharing, error) {
	s, err := read(ctx, path, o)
	if err != nil {
		return nil, fmt.Errorf("cannot read the extents of %s: %w", path, err)
	}
	return s, nil
}

func read(ctx context.Context, path string, o Options) (_ *Sharing, err error) {
	info, err := btrfs.FSInfo(path)
	if err != nil {
		return nil, err
	}
	usage, err := btrfs.GetUsage(path)
	if err != nil {
		return nil, err
	}
	paths := map[uint64]string{}
	for _, d := range info.Devices {
		if d.Path != "" {
			paths[d.ID] = d.Path
		}
	}
	disks, err := openDisks(paths)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, disks.Close()) }()
	if err := btrfs.Sync(path); err != nil && !errors.Is(err, unix.EROFS) { // read-only: the last commit is all there is
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	known, failed := cache{}, super{}
	var cause error
	for range attempts {
		now, err := disks.superblock()
		if err != nil {
			return nil, err
		}
		if now.generation == failed.generation { // nothing was written since: it is not that
			return nil, fmt.Errorf("the file system is damaged: %w", cause)
		}
		s, err := readCommit(ctx, &reader{disks: disks, super: now}, known, meter(o, usage.Metadata.Used))
		if err == nil || !errors.Is(err, errStale) {
			return s, err
		}
		failed, cause = now, err
	}
	return nil, ErrBusy
}

// meter adds up what is read. The trees of subvolumes are the most of all
// metadata, but never all: the end is told when it is reached.
func meter(o Options, all uint64) func(bytes int64, end bool) {
	done := int64(0)
	return func(bytes int64, end bool) {
		done += bytes
		total := max(int64(all), done+1) //nolint:gosec // bytes on a device
		if end {
			total = done
		}
		o.Progress(done, total)
	}
}

// readCommit reads what one superblock says.
func readCommit(ctx context.Context, r *reader, known cache, read func(bytes int64, end bool)) (*Sharing, error) {
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	all, extentTree, err := r.roots(ctx)
	if err != nil {
		return nil, err
	}
	live := slices.DeleteFunc(slices.Clone(all), func(r root) bool { return r.deleted })
	w := &walk{
		reader: r, cache: known, sets: newSets(len(live)), metadata: tally{},
		read: func(bytes int64) { read(bytes, false) },
	}
	if err := w.run(ctx, live); err != nil {
		return nil, err
	}
	s, err := newSharing(ctx, w, live, extentTree)
	if err != nil {
		return nil, err
	}
	s.Deleting = len(all) - len(live)
	read(0, true)
	return s, nil
}
