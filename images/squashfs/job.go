package squashfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// readAhead bounds the compressed bytes that have come in and are not decoded
// yet.
const readAhead = 16 << 20

// job is a block on its way: the pieces that are in it, and its bytes.
type job struct {
	pieces []piece
	src    []byte
}

// plain says whether the block is not compressed.
func (j *job) plain() bool { return j.pieces[0].size&plainBlock != 0 }

// pipeline takes blocks from the stream, decodes and writes them in parallel. An
// error of any part ends all of them.
type pipeline struct {
	ctx     context.Context
	cancel  context.CancelCauseFunc
	tree    *tree
	files   *files
	vouched bool // see Unpacker
	jobs    chan *job
	free    chan []byte   // buffers for compressed blocks, nil where there is none yet
	made    chan struct{} // closed when there are the directories to write in
}

// extract makes the tree but for what finishDirs and hardLinks do: the skeleton,
// and the files from the data blocks in r, which is at offset pos of the squashfs. It
// returns the offset that r is at then, and how many device nodes it left out.
func (t *tree) extract(ctx context.Context, r io.Reader, pos uint64, f *files, vouched bool) (end uint64, left int, err error) {
	n := min(max(readAhead/int(t.super.BlockSize), 4), 128)
	p := &pipeline{tree: t, files: f, jobs: make(chan *job, n), free: make(chan []byte, n), made: make(chan struct{}), vouched: vouched}
	p.ctx, p.cancel = context.WithCancelCause(ctx)
	defer p.cancel(nil)
	for range n {
		p.free <- nil
	}
	var group sync.WaitGroup
	for range runtime.GOMAXPROCS(0) + 1 { // one may wait for the file system
		group.Go(func() {
			if err := p.work(); err != nil {
				p.cancel(err)
			}
		})
	}
	group.Go(func() { // the first blocks come in and are decoded meanwhile
		defer close(p.made)
		var err error
		if left, err = t.skeleton(p.ctx, f); err != nil {
			p.cancel(err)
		}
	})
	if pos, err = p.read(r, pos); err != nil {
		p.cancel(err)
	}
	close(p.jobs)
	group.Wait()
	if p.ctx.Err() != nil {
		return pos, left, context.Cause(p.ctx)
	}
	return pos, left, nil
}

// read makes a job of each block.
func (p *pipeline) read(r io.Reader, pos uint64) (uint64, error) {
	for rest := p.tree.pieces; len(rest) > 0; {
		first := rest[0]
		n := 1
		for n < len(rest) && rest[n].start == first.start {
			n++
		}
		j := &job{pieces: rest[:n]}
		rest = rest[n:]
		if first.start < pos {
			return pos, fmt.Errorf("a block at %d lies within the options of the compressor", first.start)
		}
		if _, err := io.CopyN(io.Discard, r, int64(first.start-pos)); err != nil {
			return pos, cutShort(err)
		}
		pos = first.start
		select {
		case <-p.ctx.Done():
			return pos, context.Cause(p.ctx)
		case j.src = <-p.free:
		}
		length := int(first.size & sizeMask)
		if cap(j.src) < length {
			j.src = make([]byte, length, max(length, min(2*cap(j.src), int(p.tree.super.BlockSize))))
		}
		j.src = j.src[:length]
		if _, err := io.ReadFull(r, j.src); err != nil {
			return pos, cutShort(err)
		}
		pos += uint64(length)
		select {
		case <-p.ctx.Done():
			return pos, context.Cause(p.ctx)
		case p.jobs <- j:
		}
	}
	return pos, nil
}

// cutShort says what the end of the stream means here.
func cutShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it is cut short")
	}
	return err
}

// work decodes and writes blocks until there are no more.
func (p *pipeline) work() error {
	d, err := newDecoder(p.tree.super.Compression, int(p.tree.super.BlockSize), p.vouched)
	if err != nil {
		return err
	}
	defer d.close()
	dir := p.files.newFolder()
	defer dir.close()
	buf := make([]byte, p.tree.super.BlockSize)
	for j := range p.jobs {
		if p.ctx.Err() != nil {
			return nil // somebody else's error
		}
		block := j.src
		if !j.plain() {
			n, err := d.decode(buf, j.src)
			if err != nil {
				return p.blockError(j, err)
			}
			block = buf[:n]
		}
		if err := p.write(dir, j, block); err != nil {
			return err
		}
		p.free <- j.src
	}
	return nil
}

func (p *pipeline) blockError(j *job, err error) error {
	return fmt.Errorf("cannot decompress the %s block at %d: %w", p.tree.super.Compression, j.pieces[0].start, err)
}

// write hands each piece its part of the block.
func (p *pipeline) write(dir *folder, j *job, block []byte) error {
	<-p.made
	if p.ctx.Err() != nil {
		return context.Cause(p.ctx) // which somebody else has told
	}
	bs := uint64(p.tree.super.BlockSize)
	for i := range j.pieces {
		pc := &j.pieces[i]
		size := p.tree.nodes[pc.node].size
		off := uint64(pc.index) * bs
		want := min(size-off, bs)
		part := block
		if pc.inner != wholeBlock {
			if uint64(pc.inner)+want > uint64(len(block)) {
				return restoreError(p.tree, pc.node, errors.New("its fragment is too short"))
			}
			part = block[pc.inner : uint64(pc.inner)+want]
		} else if uint64(len(block)) != want {
			return restoreError(p.tree, pc.node, fmt.Errorf("a block of it has %d bytes instead of %d", len(block), want))
		}
		if err := p.files.write(dir, pc.node, int64(off), part); err != nil {
			return restoreError(p.tree, pc.node, err)
		}
	}
	return nil
}
