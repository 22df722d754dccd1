package pool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"poolctl/pool/crash"
	"poolctl/pool/journal"
)

// exportFile writes a backup to a file, which is there when it is complete and not
// before. One that exists is replaced with force only, and stays what it was when
// the backup fails. What certainly does not fit beside it is refused before anything
// is written.
func (s *System) exportFile(ctx context.Context, x exporting, path string, force bool) error {
	fail := func(err error) error { return fmt.Errorf("cannot %s to %s: %w", x.verb(), path, err) }
	target, err := targetOf(path)
	if err != nil {
		return fail(err)
	}
	if target.stream {
		return s.exportStream(ctx, x, target)
	}
	path = target.path
	if _, err := os.Lstat(path); err == nil && !force {
		return withHint(fail(ErrExists), "--force overwrites it")
	}
	dir := filepath.Dir(path)
	// A file without a name: a kill leaves nothing of it.
	f, err := os.OpenFile(dir, unix.O_TMPFILE|os.O_WRONLY|unix.O_CLOEXEC, 0o600)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EISDIR) {
		return s.exportNamed(ctx, x, path, force)
	} else if err != nil {
		return fail(statError(err))
	}
	defer func() { _ = f.Close() }() // synced before
	if err := s.exportTo(ctx, x, f, path); err != nil {
		return err
	}
	if err := linkNew(f, path); !errors.Is(err, fs.ErrExist) || !force {
		if err != nil {
			err = fail(err)
		}
		return err
	}
	beside := besideName(path)
	done, err := s.besideIntent(ctx, beside)
	if err == nil {
		err = errors.Join(linkOver(f, path, beside), done())
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

const opBeside = "beside-file"

// besideFile is a hidden file beside one that is written: nobody else has its name.
type besideFile struct {
	Path string `json:"path"`
}

// besideIntent has the next command remove a hidden file, should this one be killed
// before done is called.
func (s *System) besideIntent(ctx context.Context, path string) (done func() error, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	e, err := journal.Begin(ctx, s.journalDir(), opBeside, besideFile{path})
	if err != nil {
		return nil, err
	}
	return e.Done, nil
}

// recoverBeside removes what an unlocked intent tells of.
func (s *System) recoverBeside(_ context.Context, e *journal.Entry) error {
	var in besideFile
	if err := e.Args(&in); err != nil {
		return err
	}
	return ignoreNotExist(os.Remove(in.Path))
}

// exportNamed is for file systems without files that have no name, such as NFS
// and vfat: the backup has a hidden name beside its own until it is complete. What a
// kill leaves of it, the next command removes.
func (s *System) exportNamed(ctx context.Context, x exporting, path string, force bool) (err error) {
	fail := func(err error) error { return fmt.Errorf("cannot %s to %s: %w", x.verb(), path, err) }
	beside := besideName(path)
	done, err := s.besideIntent(ctx, beside)
	if err != nil {
		return fail(err)
	}
	defer func() { err = errors.Join(err, done()) }()
	f, err := os.OpenFile(beside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fail(statError(err))
	}
	defer func() {
		if rerr := os.Remove(beside); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, fail(rerr))
		}
	}()
	crash.Point("pool.export.named")
	err = s.exportTo(ctx, x, f, path)
	if cerr := f.Close(); err == nil && cerr != nil { // NFS tells here what it could not write
		err = fail(statError(cerr))
	}
	if err != nil {
		return err
	}
	if force {
		err = os.Rename(beside, path)
	} else {
		err = renameNew(beside, path)
	}
	if err != nil {
		return fail(err)
	}
	return nil
}

// renameNew renames a file and replaces nothing, where the file system can say so:
// NFS has links, vfat the flag, and FUSE may have neither.
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	if err = unix.Link(from, to); err == nil {
		return os.Remove(from)
	} else if errors.Is(err, unix.EEXIST) {
		return err
	}
	if _, err := os.Lstat(to); err == nil {
		return unix.EEXIST
	}
	return os.Rename(from, to)
}

// besideName is a name that nobody has, in the directory of path.
func besideName(path string) string {
	name := filepath.Base(path)
	if len(name) > 200 { // with the rest of it, 255 is the limit
		name = strings.ToValidUTF8(name[:200], "")
	}
	return filepath.Join(filepath.Dir(path), "."+name+"."+newUUID())
}

// linkNew gives an open file without a name one that nothing has yet.
func linkNew(f *os.File, path string) error {
	return unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.Itoa(int(f.Fd())), unix.AT_FDCWD, path, unix.AT_SYMLINK_FOLLOW)
}

// linkOver is linkNew where something has the name: by way of another one.
func linkOver(f *os.File, path, beside string) error {
	if err := linkNew(f, beside); err != nil {
		return err
	}
	crash.Point("pool.export.beside")
	if err := os.Rename(beside, path); err != nil {
		return errors.Join(err, os.Remove(beside))
	}
	return nil
}

// backupFile keeps what went wrong with writing, which compressors and archives
// report more than once.
type backupFile struct {
	f   io.Writer
	err error
}

func (b *backupFile) Write(p []byte) (int, error) {
	n, err := b.f.Write(p)
	if err != nil && b.err == nil {
		b.err = statError(err)
	}
	return n, err
}

// exportTo writes the backup that is to be at path to a file, and syncs it.
func (s *System) exportTo(ctx context.Context, x exporting, f *os.File, path string) error {
	out := &backupFile{f: f}
	x.check = func(b *backupSource) error { return s.checkBackupRoom(ctx, b, x.o, path) }
	err := s.export(ctx, x, out)
	if err == nil {
		out.err = statError(f.Sync())
	}
	if out.err == nil {
		return err
	}
	err = fmt.Errorf("cannot %s to %s: %w", x.verb(), path, out.err)
	if errors.Is(out.err, unix.ENOSPC) || errors.Is(out.err, unix.EDQUOT) {
		return withHint(err, "make room in %s, or write it elsewhere", filepath.Dir(path))
	}
	return err
}

// checkBackupRoom refuses a backup that does not fit where it is to be. Files are
// written whole for every snapshot; of send streams, those of snapshots have what
// differs, so that each extent is there once. What is compressed is taken to become a
// third: more than that is rare, and standard output refuses nothing.
func (s *System) checkBackupRoom(ctx context.Context, b *backupSource, o BackupOptions, path string) error {
	need := b.size
	switch {
	case need > 0:
	case o.Optimized:
		all, err := b.measureTogether(ctx)
		if err != nil {
			return err
		}
		need = int64(all.Disk + all.Trees) //nolint:gosec // no pool has 8 EiB
	default:
		sizes, err := b.measure(ctx)
		if err != nil {
			return err
		}
		for _, n := range sizes {
			need += n
		}
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return err
	}
	what := "the backup"
	if o.Compression != "none" {
		what = fmt.Sprintf("the backup of %s, even compressed to a third,", FormatSize(need))
		need /= 3
	}
	plan, err := s.planSpace(ctx, b.p.rec, spaceNeed{what: what, target: dir, targetSize: need})
	if err != nil {
		return err
	}
	if plan.Problem != "" {
		return withHint(errors.New(plan.Problem), "%s; - for the file writes to standard output, whatever the size", plan.Hint)
	}
	return nil
}
