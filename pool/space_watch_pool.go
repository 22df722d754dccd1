package pool

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"poolctl/btrfs"
	"poolctl/pool/state"
)

const (
	// watchEvery is how often a watch looks at the free space, and watchStep how much is
	// written at most from one look to the next, where little more than the margin is free.
	watchEvery = 50 * time.Millisecond
	watchStep  = 4 << 20
	// watchSeldom and watchStride are the same where there is plenty: a look takes half a
	// millisecond.
	watchSeldom = 500 * time.Millisecond
	watchStride = 32 << 20
	// watchMargin is what a watch leaves free: 64 MiB, or a sixteenth of a pool of less
	// than 1 GiB. Where there is less than twice that at its beginning, it is half of
	// what there is, but not less than a quarter of the margin.
	watchMargin = 64 << 20
	// watchMetadata is the same for the trees: 8 MiB, or a 64th of a pool of less than
	// 512 MiB.
	watchMetadata = 8 << 20
	// watchFreeing is how long a watch waits for what was deleted to be freed.
	watchFreeing = 10 * time.Second
)

// spaceWatch is the guard while something is written of which it is not known how
// large it becomes: an archive may hold a thousand times its own size, and a stream has
// no size. When the pool, its trees, or the host around its file have less left than a
// margin, ctx ends, with the refusal as its cause, before instances run out of room.
//
// What is written but not allocated yet counts as well (see btrfs.Pending). What was
// deleted a moment ago is free only from a commit on: before it refuses, the watch
// lets nothing pass, commits, waits for what is being freed, and looks again.
type spaceWatch struct {
	s    *System
	rec  state.PoolRecord
	what string

	ctx    context.Context
	cancel context.CancelCauseFunc
	ended  chan struct{}

	margin, metadata int64 // what is left free

	mu     sync.Mutex // held while it looks
	unseen int        // bytes that passed since
	step   int        // how many may
	next   time.Time  // when it looks again all the same
}

// watchSpace begins a watch over a pool; what names in errors what is written. The
// caller writes until the watch's context ends, and ends it with stop.
func (s *System) watchSpace(ctx context.Context, rec state.PoolRecord, what string) *spaceWatch {
	w := &spaceWatch{s: s, rec: rec, what: what, ended: make(chan struct{})}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	if r, err := w.room(); err == nil {
		w.margin = marginOf(r.data, min(watchMargin, r.size/16))
		w.metadata = marginOf(r.metadata, min(watchMetadata, r.size/64))
	}
	go func() {
		defer close(w.ended)
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-w.ctx.Done():
				return
			case <-tick.C:
				w.mu.Lock()
				if !time.Now().Before(w.next) {
					w.look()
				}
				w.mu.Unlock()
			}
		}
	}()
	return w
}

func (w *spaceWatch) stop() {
	w.cancel(nil)
	<-w.ended
}

// cause is the refusal of a watch that has ended its context, in place of the error
// that came of that; else err.
func (w *spaceWatch) cause(err error) error {
	if cause := context.Cause(w.ctx); err != nil && isFull(cause) {
		return cause
	}
	return err
}

// pass is to be called before n bytes are written, by whoever can: then not much is
// written between two looks, and nothing during a close one.
func (w *spaceWatch) pass(n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unseen += n; w.unseen >= w.step {
		w.look()
	}
	return context.Cause(w.ctx)
}

// writer has everything pass that is written to to.
func (w *spaceWatch) writer(to io.Writer) io.Writer { return passWriter{w, to} }

type passWriter struct {
	watch *spaceWatch
	to    io.Writer
}

func (p passWriter) Write(b []byte) (int, error) {
	if err := p.watch.pass(len(b)); err != nil {
		return 0, err
	}
	return p.to.Write(b)
}

// look ends the context when too little is left. w.mu is held.
func (w *spaceWatch) look() {
	w.unseen = 0
	if w.ctx.Err() != nil || w.shortage() == nil {
		return
	}
	mp := w.s.dir.MountPoint(w.rec.Name)
	for end := time.Now().Add(watchFreeing); w.ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		// What fails here fails for who writes as well, and there says it better.
		if btrfs.Sync(mp) != nil {
			return
		}
		deleting, err := btrfs.Deleting(mp)
		if err != nil {
			return
		}
		if !deleting || time.Now().After(end) {
			break
		}
		if w.shortage() == nil {
			return
		}
	}
	for w.lacksPoolRoom() {
		if gone, err := w.s.makeRoomIn(w.ctx, w.rec, w.what); err != nil || !gone {
			break
		}
	}
	if w.shortage() == nil || w.s.trimMoved(w.ctx, w.rec) != nil { // what is deleted here may be what the host lacks
		return
	}
	if err := w.shortage(); err != nil {
		w.cancel(err)
	}
}

// watchPace says how much may be written, and how much time pass, until the next look, with
// spare bytes more than the margins left: a 64th of them, and the time in which others
// would write them all at 4 GB/s.
func watchPace(spare int64) (step int, every time.Duration) {
	step = int(min(max(spare/64, watchStep), watchStride))
	return step, min(max(time.Duration(spare/4)*time.Nanosecond, watchEvery), watchSeldom)
}

// marginOf is how much of what is free is left: the whole margin, if that is less
// than half.
func marginOf(free, margin int64) int64 { return max(min(margin, free/2), margin/4) }

// room is what is left, in bytes, with what is written and not yet allocated taken off.
type room struct{ size, data, metadata, pending int64 }

// room asks for it. Of mixed block groups the metadata is that of the data.
func (w *spaceWatch) room() (room, error) {
	usage, err := btrfs.GetUsage(w.s.dir.MountPoint(w.rec.Name))
	if err != nil {
		return room{}, err
	}
	pending, err := btrfs.Pending(w.rec.UUID)
	if err != nil {
		return room{}, err
	}
	reserve := int64(usage.GlobalReserve) // which is no part of what is free
	r := room{size: int64(usage.Size), pending: int64(pending.Data), data: poolFree(usage)}
	if usage.Metadata.Allocated == 0 {
		r.pending = max(r.pending-reserve, 0)
		r.metadata = r.data - r.pending
	} else {
		r.metadata = metadataFree(usage) - max(int64(pending.Metadata)-reserve, 0)
	}
	r.data -= r.pending
	return r, nil
}

// lacksPoolRoom says whether it is the pool that has too little left.
func (w *spaceWatch) lacksPoolRoom() bool {
	r, err := w.room()
	return err == nil && (r.data < w.margin || r.metadata < w.metadata)
}

// shortage says what has too little left; nil when nothing has, or that cannot be
// asked: then what is written fails for the same reason, and says it better. It sets when
// to look again.
func (w *spaceWatch) shortage() error {
	spare := int64(0)
	defer func() {
		step, every := watchPace(spare)
		w.step, w.next = step, time.Now().Add(every)
	}()
	r, err := w.room()
	if err != nil {
		return nil
	}
	full := func(hint, format string, args ...any) error {
		problem := fmt.Sprintf(format, args...) + fmt.Sprintf(", and %s is larger: it was given up, so that instances have room to write", w.what)
		return withHint(noSpaceError(problem), hint, w.rec.Name)
	}
	if r.data < w.margin {
		return full("poolctl pool resize %[1]s SIZE makes it larger; or delete what is not needed: poolctl pool usage %[1]s",
			"pool %s is full: less than %s is left", w.rec.Name, FormatSize(w.margin))
	}
	if r.metadata < w.metadata {
		return full("poolctl pool balance %[1]s makes room for it out of free data space; poolctl pool resize %[1]s SIZE makes the pool larger",
			"pool %s is full: less than %s is left for metadata", w.rec.Name, FormatSize(w.metadata))
	}
	spare = min(r.data-w.margin, r.metadata-w.metadata)
	if w.rec.Kind != state.PoolFile {
		return nil
	}
	grows := holes(w.rec)
	margin := min(hostFloor, grows)
	free, err := freeAt(w.rec.Source)
	if err != nil {
		return nil
	}
	spare = min(spare, free-min(r.pending, grows)-margin)
	if spare < 0 {
		return full("make room there: when it is full the kernel gives up the pool's file system; poolctl pool trim %s returns what the pool does not use",
			"%s on the host, into which pool %s grows, has less than %s left", filepath.Dir(w.rec.Source), w.rec.Name, FormatSize(margin))
	}
	return nil
}

// awaitFreed waits until what was deleted after a failure is free again, a minute at most:
// until then the pool is as full as the failed operation made it, and the host too, to
// which it is given back.
func (s *System) awaitFreed(rec state.PoolRecord) error {
	mp := s.dir.MountPoint(rec.Name)
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if err := btrfs.Sync(mp); err != nil {
			return err
		}
		deleting, err := btrfs.Deleting(mp)
		if err != nil {
			return err
		}
		if !deleting || time.Now().After(end) {
			break
		}
	}
	if err := btrfs.Sync(mp); err != nil { // what the cleaner freed counts from the commit on
		return err
	}
	return s.trimMoved(context.Background(), rec)
}
