package squashfs

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

const (
	// shardSize is how many bytes at most an xz process is given, and how many it
	// makes of them: enough that starting it costs next to nothing, little enough
	// that the last one soon ends.
	shardSize = 4 << 20
	// leastShard is what the last ones have, so that all processes end at about the
	// same time.
	leastShard = 1 << 20
	// maxShards bounds those in work at a time, and so their memory.
	maxShards = 12
)

// shard is a number of xz blocks that one `xz -dc` decodes: each is a whole .xz
// stream, and xz decodes concatenated streams (xz(1)). Where the output of one
// ends is known from the stream's own index, which xz verifies.
//
// The input and the output are files in memory (memfd_create(2)), used again for
// the next shard: xz reads and writes 8 KiB at a time, for each of which a pipe
// has new pages and two processes that wake each other up.
type shard struct {
	in, out *os.File
	plain   []byte // out, mapped
	blocks  []shardBlock
	stored  int // bytes in in
	length  int // bytes that they decompress to
}

// shardBlock is a block in a shard: its bytes are in.
type shardBlock struct {
	*job
	length int
}

// newShard makes the files. That of the output cannot grow: what decompresses to
// more than its index says fails, and takes no memory.
func newShard() (s *shard, err error) {
	s = &shard{}
	defer func() {
		if err != nil {
			s.close()
			err = fmt.Errorf("cannot make a buffer for xz: %w", err)
		}
	}()
	if s.in, err = memfd(); err != nil {
		return s, err
	}
	if s.out, err = memfd(); err != nil {
		return s, err
	}
	const size = shardSize + 8192 // so that one that is full shows when there is more
	if err := s.out.Truncate(size); err != nil {
		return s, err
	}
	fd := int(s.out.Fd())
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_GROW|unix.F_SEAL_SHRINK); err != nil {
		return s, err
	}
	s.plain, err = unix.Mmap(fd, 0, size, unix.PROT_READ, unix.MAP_SHARED)
	return s, err
}

func memfd() (*os.File, error) {
	fd, err := unix.MemfdCreate("xz", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "xz"), nil
}

// close gives the memory back.
func (s *shard) close() {
	if s.plain != nil {
		_ = unix.Munmap(s.plain)
	}
	for _, f := range []*os.File{s.in, s.out} {
		if f != nil {
			_ = f.Close() // memory
		}
	}
}

// full says whether another block of at most size bytes may not fit below limit.
func (s *shard) full(size, limit int) bool { return max(s.stored, s.length)+size > limit }

// shardLimit is how many bytes a shard takes with that many blocks of size bytes left
// for all workers: near the end less and less.
func shardLimit(blocks, workers, size int) int {
	return min(shardSize, max(leastShard, blocks/workers*size))
}

// add appends a block.
func (s *shard) add(j *job, length int) error {
	if _, err := s.in.WriteAt(j.src, int64(s.stored)); err != nil {
		return err
	}
	s.blocks = append(s.blocks, shardBlock{j, length})
	s.stored += len(j.src)
	s.length += length
	return nil
}

// decode has xz, the program at path, decompress what was added; of what is vouched
// for it does not verify the checks of the blocks, only of their headers and indices.
func (s *shard) decode(ctx context.Context, path string, vouched bool) error {
	if err := s.in.Truncate(int64(s.stored)); err != nil {
		return err
	}
	for _, f := range []*os.File{s.in, s.out} {
		if _, err := f.Seek(0, io.SeekStart); err != nil { // xz has the same offset
			return err
		}
	}
	var stderr messages
	// --no-sparse: what is not written is left of the shard before.
	args := []string{"-dcqT1", "--no-sparse", "-M", fmt.Sprint(maxDictionary)}
	if vouched {
		args = append(args, "--ignore-check")
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.in, s.out, &stderr
	cmd.Env = []string{"LC_ALL=C"} // without the user's XZ_DEFAULTS and XZ_OPT
	err := cmd.Run()
	n, serr := s.out.Seek(0, io.SeekCurrent)
	if n > int64(s.length) {
		return errTooLong
	}
	if err == nil && n < int64(s.length) {
		err = io.ErrUnexpectedEOF
	}
	if err = cmp.Or(err, serr); err != nil {
		return fmt.Errorf("%w%s", err, stderr.suffix())
	}
	return nil
}

// workXZ is work by the program xz at path, shard by shard.
func (p *pipeline) workXZ(path string) error {
	s, err := newShard()
	if err != nil {
		return err
	}
	defer s.close()
	dir := p.files.newFolder()
	defer dir.close()
	for {
		if err := p.collect(s, dir); err != nil || len(s.blocks) == 0 {
			return err
		}
		if p.ctx.Err() != nil {
			return nil // somebody else's error
		}
		if err := s.decode(p.ctx, path, p.vouched); err != nil {
			return fmt.Errorf("cannot decompress xz: %w", err)
		}
		plain := s.plain
		for _, b := range s.blocks {
			if err := p.write(dir, b.job, plain[:b.length]); err != nil {
				return err
			}
			plain = plain[b.length:]
		}
	}
}

// collect fills the shard with the next blocks; it has none at the end. One worker
// at a time does so, so that when the last block comes only one shard is still to
// be decoded. Blocks that are not compressed are written at once: a shard that
// kept them would keep their buffers, which the reader may need to go on.
func (p *pipeline) collect(s *shard, dir *folder) error {
	p.collecting.Lock()
	defer p.collecting.Unlock()
	s.blocks, s.stored, s.length = s.blocks[:0], 0, 0
	size := int(p.tree.super.BlockSize)
	for limit := shardLimit(p.left, p.workers, size); !s.full(size, limit); {
		j, ok := <-p.jobs
		if !ok {
			break
		}
		p.left--
		if j.plain() {
			if err := p.write(dir, j, j.src); err != nil {
				return err
			}
		} else {
			n, err := xzLength(j.src)
			if err == nil && n > uint64(size) {
				err = errTooLong
			}
			if err == nil {
				err = s.add(j, int(n))
			}
			if err != nil {
				return p.blockError(j, err)
			}
		}
		p.free <- j.src
	}
	return nil
}

// messages keeps the beginning of what a program prints, for people to read.
type messages struct{ b []byte }

func (m *messages) Write(p []byte) (int, error) {
	if room := 1024 - len(m.b); room > 0 {
		m.b = append(m.b, p[:min(room, len(p))]...)
	}
	return len(p), nil
}

// suffix is the first line as ": line".
func (m *messages) suffix() string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(m.b), []byte("\n"))
	if len(line) == 0 {
		return ""
	}
	return ": " + string(line)
}
