package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"sync"

	"poolctl/images"
	"poolctl/pool/state"
	"poolctl/pool/tree"
	"poolctl/remotes"
)

// fetch brings in the files of an image, all of them at once, while they are
// unpacked one after the other. What has come of them is kept until the image is
// there, so that a pull that is cut or killed is gone on with by the next.
type fetch struct {
	ctx      context.Context
	client   *remotes.Client
	keep     bool
	progress func(Progress)
	notice   func(string)
	loaded   func(bytes int64) // of all files, in any order
	files    []remotes.File
	left     remotes.Role // is not fetched; "" = all are
	delta    remotes.File // in place of that; of no role while there is none

	mu     sync.Mutex
	coming map[string]io.ReadCloser // by path: begun, and not yet asked for

	counting sync.Mutex
	came     map[string]int64 // by path
	told     int64            // the last sum of them that loaded was told
}

// toldEvery is after how many bytes loaded is told again.
const toldEvery = 1 << 20

// count adds up what has come.
func (f *fetch) count(path string, done int64) {
	f.counting.Lock()
	defer f.counting.Unlock()
	f.came[path] = done
	sum := int64(0)
	for _, n := range f.came {
		sum += n
	}
	if sum >= f.told+toldEvery {
		f.told = sum
		f.loaded(sum)
	}
}

// fetch makes the fetch of what an image is made of.
func (s *System) fetch(ctx context.Context, c *remotes.Client, want remotes.Image, keep bool, progress func(Progress)) *fetch {
	f := &fetch{ctx: ctx, client: c, keep: keep, progress: progress, notice: s.notice, coming: map[string]io.ReadCloser{}, came: map[string]int64{}}
	for _, file := range want.Files {
		if file.Role != remotes.RoleDelta {
			f.files = append(f.files, file)
		}
	}
	return f
}

// request says to the unpacker which files to take and where from.
func (f *fetch) request(want remotes.Image, stage *tree.Stage) (images.Request, error) {
	req := images.Request{Fingerprint: want.Fingerprint, Type: want.Type, Dir: stage.Dir(), TempDir: stage.TempDir()}
	for _, file := range f.files {
		part := &images.Part{Name: file.Path, Size: file.Size, Open: func(context.Context) (io.ReadCloser, error) { return f.open(file) }}
		switch file.Role {
		case remotes.RoleMetadata:
			req.Metadata = part
		case remotes.RoleRootfs:
			req.Rootfs = part
		case remotes.RoleUnified:
			req.Unified = part
		}
	}
	if req.Unified == nil && (req.Metadata == nil || req.Rootfs == nil) {
		return req, fmt.Errorf("the catalogue names no root file system for image %s", want.Fingerprint[:12])
	}
	return req, nil
}

// open gives a file; the first call begins with all of them. Without a place to
// keep them they come in as they are read, each at its turn.
func (f *fetch) open(file remotes.File) (io.ReadCloser, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.keep {
		return f.begin(file)
	}
	if len(f.coming) == 0 {
		for _, other := range f.files {
			if other.Role == f.left {
				continue
			}
			rc, err := f.begin(other)
			if err != nil {
				return nil, err
			}
			f.coming[other.Path] = rc
		}
	}
	rc := f.coming[file.Path]
	f.coming[file.Path] = nil
	if rc == nil {
		return nil, fmt.Errorf("%s was read already", file.Path)
	}
	return rc, nil
}

// leave says, before the first is opened, which file comes from elsewhere.
func (f *fetch) leave(r remotes.Role) { f.left = r }

// openDelta begins with a delta, which comes before all others, and is kept as they are.
func (f *fetch) openDelta(delta remotes.File) (io.ReadCloser, error) {
	f.delta = delta
	rc, err := f.begin(delta)
	if _, unkept := errors.AsType[*remotes.KeepError](err); unkept {
		rc, err = f.beginWith(delta, false)
	}
	return rc, err
}

// wanted are the files of which what has come is kept.
func (f *fetch) wanted() []remotes.File {
	if f.delta.Role == "" {
		return f.files
	}
	return append(slices.Clone(f.files), f.delta)
}

func (f *fetch) begin(file remotes.File) (io.ReadCloser, error) { return f.beginWith(file, f.keep) }

func (f *fetch) beginWith(file remotes.File, keep bool) (io.ReadCloser, error) {
	o := remotes.OpenOptions{Keep: keep}
	first := true
	o.Progress = func(done int64) {
		f.count(file.Path, done)
		if f.progress != nil {
			p := Progress{Name: string(file.Role), Done: done, Total: file.Size}
			if first {
				first, p.Kept = false, done
			}
			f.progress(p)
		}
	}
	return f.client.OpenWith(f.ctx, file, o)
}

// end ends what still comes in, and forgets what is kept unless the pull can be
// gone on with: because it was cut or interrupted.
func (f *fetch) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, rc := range f.coming {
		if rc != nil {
			_ = rc.Close() // what of it is kept may be damaged: its hash tells
		}
	}
	if f.keep && (err == nil || f.ctx.Err() == nil && !isCut(err)) {
		if ferr := f.client.Forget(f.wanted()...); ferr != nil {
			f.notice(ferr.Error())
		}
	}
}

// isCut says whether a pull failed because the servers failed. A file that is not
// there, or has another length, will not be the right one the next time either.
func isCut(err error) bool {
	if _, other := errors.AsType[*remotes.SizeError](err); other {
		return false
	}
	var status *remotes.StatusError
	if errors.As(err, &status) && status.Code == http.StatusNotFound {
		return false
	}
	_, cut := errors.AsType[*remotes.TransferError](err)
	return cut
}

// canKeep says whether the host has room for an image's files beside what the pool
// may grow by.
func (s *System) canKeep(ctx context.Context, rec state.PoolRecord, want remotes.Image) bool {
	if err := os.MkdirAll(s.dir.Downloads(), 0o700); err != nil {
		s.noticef("the download is not kept: %v", err)
		return false
	}
	free, err := freeAt(s.dir.Downloads())
	if err != nil {
		s.noticef("the download is not kept: %v", err)
		return false
	}
	others, err := s.reservations(ctx, rec)
	if err != nil {
		s.noticef("the download is not kept: %v", err)
		return false
	}
	need := want.Size + 32<<20 + others.Kept
	if rec.Kind == state.PoolFile && sameFileSystem(rec.Source, s.dir.Downloads()) {
		need += hostGrowth(unpackedSize(want.Size) + others.Most)
	}
	if free < need {
		s.noticef("the download is not kept, and begins anew if it is interrupted: %s has %s free", s.dir.Root, FormatSize(free))
		return false
	}
	return true
}
