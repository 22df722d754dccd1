package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

const opHostFiles = "host-files"

// hostFiles are files that a command writes for the user, outside of any pool. All
// of them appear when they are complete, or none does. They have no name until
// then; on file systems that cannot do that, such as NFS and vfat, a hidden one
// beside their own.
//
// The names come one after the other, so an intent in the journal tells of them:
// when a command is killed in between, the next one takes those back that are
// there. What they replace has a hidden name besides until all are there, and gets its
// own back if they are not.
type hostFiles struct {
	s     *System
	force bool // to replace what is there
	files []*hostFile
	entry *journal.Entry
}

// hostFile is one of them. Its path is set before it gets its name.
type hostFile struct {
	*os.File
	path   string
	beside string // the hidden name; "" = none
	over   string // the hidden name of a moment by which it replaces another file
	saved  string // the hidden name of what it replaces; "" = nothing
}

// writtenFile is a hostFile in the journal.
type writtenFile struct {
	Path   string `json:"path"`
	Beside string `json:"beside,omitempty"`
	Over   string `json:"over,omitempty"`
	Saved  string `json:"saved,omitempty"`
	Dev    uint64 `json:"dev"`
	Ino    uint64 `json:"ino"`
	// Replaces says that something else had the name before.
	Replaces bool `json:"replaces,omitempty"`
}

type hostFilesArgs struct {
	Files []writtenFile `json:"files"`
}

// create makes an empty file that is going to be in dir.
func (h *hostFiles) create(ctx context.Context, dir string) (*hostFile, error) {
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err == nil {
		h.files = append(h.files, &hostFile{File: f})
		return h.files[len(h.files)-1], nil
	}
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EISDIR) {
		return nil, fmt.Errorf("%s: %w", dir, statError(err))
	}
	return h.createNamed(ctx, dir)
}

// createNamed is create where no file can be without a name.
func (h *hostFiles) createNamed(ctx context.Context, dir string) (_ *hostFile, err error) {
	file := &hostFile{beside: besideName(dir + "/poolctl")}
	file.path = file.beside
	h.files = append(h.files, file)
	if err := h.intend(ctx); err != nil {
		return nil, err
	}
	if file.File, err = os.OpenFile(file.beside, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, statError(err))
	}
	return file, nil
}

// intend writes down what there is to be taken back.
func (h *hostFiles) intend(ctx context.Context) (err error) {
	args := hostFilesArgs{}
	for _, f := range h.files {
		w := writtenFile{Path: f.path, Beside: f.beside, Over: f.over, Saved: f.saved}
		if f.File != nil {
			var st unix.Stat_t
			if err := unix.Fstat(int(f.Fd()), &st); err != nil {
				return err
			}
			w.Dev, w.Ino = st.Dev, st.Ino
		}
		_, err := os.Lstat(f.path)
		w.Replaces = err == nil && f.path != f.beside
		args.Files = append(args.Files, w)
	}
	if h.entry == nil {
		h.entry, err = journal.Begin(ctx, h.s.journalDir(), opHostFiles, args)
		return err
	}
	return h.entry.Update(args)
}

// commit syncs the files and gives them their names. A name that is taken is
// ErrExists, unless force replaces it.
func (h *hostFiles) commit(ctx context.Context) error {
	for _, f := range h.files {
		if err := f.Sync(); err != nil {
			return fmt.Errorf("%s: %w", f.path, statError(err))
		}
		if _, err := os.Lstat(f.path); err == nil {
			t, err := targetOf(f.path)
			if err == nil && t.stream {
				err = errors.New("it is no regular file")
			}
			if err == nil && t.path != f.path {
				err = fmt.Errorf("it is a symbolic link to %s", t.path)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", f.path, err)
			}
			if !h.force {
				return withHint(fmt.Errorf("%s: %w", f.path, ErrExists), "--force overwrites it")
			}
			f.over = besideName(f.path)
			if len(h.files) > 1 {
				f.saved = besideName(f.path)
			}
		}
	}
	if len(h.files) > 1 || h.entry != nil || h.files[0].over != "" {
		if err := h.intend(ctx); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	crash.Point("pool.hostfiles.begun")
	for i, f := range h.files {
		err := f.save()
		if err == nil {
			crash.Point("pool.hostfiles.saved")
			err = h.name(f)
		}
		if err != nil {
			err = fmt.Errorf("%s: %w", f.path, statError(err))
			for _, done := range h.files[:i+1] {
				err = errors.Join(err, done.takeBack())
			}
			return err
		}
		crash.Point("pool.hostfiles.named")
	}
	return nil
}

// save gives what a file replaces another name; where no file can have two, it has
// no other until takeBack.
func (f *hostFile) save() error {
	if f.saved == "" {
		return nil
	}
	if unix.Link(f.path, f.saved) == nil {
		return nil
	}
	return unix.Rename(f.path, f.saved)
}

// name gives one file its name.
func (h *hostFiles) name(f *hostFile) error {
	switch {
	case f.beside == "" && f.over != "":
		return linkOver(f.File, f.path, f.over)
	case f.beside == "":
		return linkNew(f.File, f.path)
	case h.force:
		return os.Rename(f.beside, f.path)
	}
	return renameNew(f.beside, f.path)
}

// takeBack removes a file if it has its name, and gives that to what it replaced.
func (f *hostFile) takeBack() error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if f.saved == "" {
		return removeSame(f.path, st.Dev, st.Ino)
	}
	saved := f.saved
	f.saved = "" // it is not removed, should it stay there
	return putBack(saved, f.path, st.Dev, st.Ino)
}

// putBack gives a file that was saved its name back, which that file or nobody has,
// or the file dev, ino that replaced it.
func putBack(saved, path string, dev, ino uint64) error {
	var old, now unix.Stat_t
	if err := unix.Lstat(saved, &old); err != nil {
		return ignoreNotExist(err) // it was not saved yet
	}
	err := unix.Lstat(path, &now)
	switch ours := err == nil && now.Dev == dev && now.Ino == ino; {
	case ours, errors.Is(err, fs.ErrNotExist):
		return os.Rename(saved, path)
	case err != nil:
		return err
	}
	return os.Remove(saved) // it has it still, or somebody else has given it away since
}

// removeSame removes the file at path if it is still that one.
func removeSame(path string, dev, ino uint64) error {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if errors.Is(err, fs.ErrNotExist) || err == nil && (st.Dev != dev || st.Ino != ino) {
		return nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	return err
}

// close ends it: what has no name of its own by then is gone.
func (h *hostFiles) close() error {
	var errs []error
	for _, f := range h.files {
		if f.File != nil {
			errs = append(errs, ignoreClosed(f.Close()))
		}
		if f.beside != "" {
			errs = append(errs, ignoreNotExist(os.Remove(f.beside)))
		}
		if f.saved != "" {
			errs = append(errs, ignoreNotExist(os.Remove(f.saved)))
		}
	}
	if h.entry != nil {
		errs = append(errs, h.entry.Done())
	}
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// recoverHostFiles takes back what a killed command has named, unless that was all.
func (s *System) recoverHostFiles(_ context.Context, e *journal.Entry) error {
	var args hostFilesArgs
	if err := e.Args(&args); err != nil {
		return err
	}
	var errs []error
	named := 0
	for _, w := range args.Files {
		var st unix.Stat_t
		if unix.Lstat(w.Path, &st) == nil && st.Dev == w.Dev && st.Ino == w.Ino && w.Path != w.Beside {
			named++
		}
		for _, hidden := range []string{w.Beside, w.Over} {
			if hidden != "" {
				errs = append(errs, ignoreNotExist(os.Remove(hidden)))
			}
		}
	}
	for _, w := range args.Files {
		switch {
		case w.Saved != "" && named < len(args.Files):
			errs = append(errs, putBack(w.Saved, w.Path, w.Dev, w.Ino))
		case w.Saved != "":
			errs = append(errs, ignoreNotExist(os.Remove(w.Saved)))
		case named < len(args.Files) && !w.Replaces && w.Ino != 0:
			errs = append(errs, removeSame(w.Path, w.Dev, w.Ino))
		}
	}
	return errors.Join(errs...)
}

// dup is the same open file once more, for one who closes it.
func (f *hostFile) dup() (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// isFull says whether there was no room for what was written.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }
