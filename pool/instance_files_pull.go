package pool

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/google/renameio/v2"

	"poolctl/runtime/guestfs"
)

// Read copies the content of a file to w.
func (f *Files) Read(ctx context.Context, name string, w io.Writer) error {
	file, _, err := f.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	_, err = io.Copy(interruptibleWriter(ctx, w), guestfs.UntilDone(ctx, file))
	return err
}

// PullFile copies a file to target on the host, with its permissions but without
// set-id bits: a program that a guest has made must not run as somebody there.
// Holes stay holes.
// A file that is there is replaced when all is there; a device, fifo or the like
// is written to.
func (f *Files) PullFile(ctx context.Context, name, target string) (err error) {
	file, info, err := f.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	if there, err := os.Stat(target); err == nil && !there.Mode().IsRegular() {
		out, err := OpenWaiting(ctx, target, os.O_WRONLY)
		if err != nil {
			return err
		}
		_, err = io.Copy(interruptibleWriter(ctx, out), guestfs.UntilDone(ctx, file))
		return errors.Join(err, out.Close())
	}
	if real, err := filepath.EvalSymlinks(target); err == nil { // the link stays
		target = real
	}
	out, err := renameio.NewPendingFile(target, renameio.WithPermissions(info.Mode.Perm()), renameio.IgnoreUmask())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Cleanup()) }()
	if err := guestfs.CopyContent(ctx, out.File, file); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}

// PullTree copies a directory to target on the host: modes and times, but not
// owners and set-id bits. Symbolic links are copied as such and never followed;
// what has no content is left out with a notice. A target that is not there yet
// appears when all is there, and not at all after a failure; into a directory that
// is there the files go one by one.
func (f *Files) PullTree(ctx context.Context, name, target string) (err error) {
	into := target
	if _, serr := os.Lstat(target); errors.Is(serr, fs.ErrNotExist) {
		if into, err = os.MkdirTemp(filepath.Dir(target), ".poolctl-pull-"); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = os.Rename(into, target)
			}
			if err != nil {
				err = errors.Join(err, os.RemoveAll(into))
			}
		}()
	}
	root, err := os.OpenRoot(into)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	info, err := f.Stat(name)
	if err != nil {
		return err
	}
	return f.pullDir(ctx, name+"/.", root, ".", info)
}

// pullDir fills dir in root, which is there already.
func (f *Files) pullDir(ctx context.Context, name string, root *os.Root, dir string, info guestfs.Info) error {
	list, err := f.ReadDir(name)
	if err != nil {
		return err
	}
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.pullEntry(ctx, name+"/"+e.Name, root, path.Join(dir, e.Name), e); err != nil {
			return err
		}
	}
	if err := root.Chmod(dir, info.Mode.Perm()|0o700); err != nil {
		return err
	}
	return root.Chtimes(dir, info.ModTime, info.ModTime)
}

func (f *Files) pullEntry(ctx context.Context, name string, root *os.Root, to string, e guestfs.Info) error {
	switch {
	case e.Mode.IsDir():
		if err := root.Mkdir(to, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return f.pullDir(ctx, name, root, to, e)
	case e.Mode&fs.ModeSymlink != 0:
		target, err := f.Readlink(name)
		if err != nil {
			return err
		}
		if err := ignoreNotExist(root.Remove(to)); err != nil {
			return err
		}
		return root.Symlink(target, to)
	case e.Mode.IsRegular():
		return f.pullContent(ctx, name, root, to)
	}
	f.s.noticef("%s is left out: %s has no content", name, e.Mode.Type())
	return nil
}

func (f *Files) pullContent(ctx context.Context, name string, root *os.Root, to string) (err error) {
	file, info, err := f.Open(name)
	if errors.Is(err, guestfs.ErrNotRegular) || errors.Is(err, fs.ErrNotExist) {
		return nil // changed just now
	}
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	if err := ignoreNotExist(root.Remove(to)); err != nil {
		return err
	}
	out, err := root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err = guestfs.CopyContent(ctx, out, file); err == nil {
		err = out.Chmod(info.Mode.Perm())
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	return root.Chtimes(to, info.ModTime, info.ModTime)
}
