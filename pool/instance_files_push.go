package pool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"poolctl/runtime/guestfs"
)

// PushTree copies a directory of the host's to path in the instance, with owners
// and modes, but for what o says: its mode is that of files. Symbolic links are
// copied as such; what has no content (fifos, sockets, devices) is left out with a
// notice. A path that is not there yet appears when all is written, and not at all
// after a failure; into a directory that is there the files go one by one.
func (f *Files) PushTree(ctx context.Context, source, path string, o guestfs.Owner) (err error) {
	if source, err = filepath.EvalSymlinks(source); err != nil { // the walk follows none
		return err
	}
	into := path
	_, serr := f.Stat(path)
	staged := errors.Is(serr, fs.ErrNotExist)
	if staged {
		dir, name := splitGuestPath(path)
		into = dir + "/" + stageName(name)
		if err := ignoreNotExist(f.RemoveAll(into)); err != nil { // of one that was killed
			return err
		}
		defer func() {
			if err != nil {
				err = errors.Join(err, ignoreNotExist(f.RemoveAll(into)))
			}
		}()
	}
	if err := f.pushInto(ctx, source, into, o); err != nil {
		return err
	}
	if staged {
		return f.Rename(into, path)
	}
	return nil
}

// stageName is the name under which a directory is pushed until it is complete: the
// same for the same directory, whose remains it may be, and short whatever that one's
// name is, which can have 255 bytes (NAME_MAX).
func stageName(name string) string {
	sum := sha256.Sum256([]byte(name))
	return ".poolctl-push-" + hex.EncodeToString(sum[:16])
}

// splitGuestPath cuts an absolute path, which has a last part, in two.
func splitGuestPath(path string) (dir, name string) {
	path = strings.TrimRight(path, "/")
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}

func (f *Files) pushInto(ctx context.Context, source, into string, o guestfs.Owner) error {
	return filepath.WalkDir(source, func(p string, e fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(source, p)
		if err != nil {
			return err
		}
		to := into
		if rel != "." {
			to += "/" + rel
		}
		owner := ownerOf(info, o)
		switch {
		case info.IsDir():
			mode := info.Mode()
			owner.Mode = &mode
			return f.Mkdir(to, owner)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return f.Symlink(target, to, owner)
		case info.Mode().IsRegular():
			return f.PushFile(ctx, p, to, o)
		}
		f.s.noticef("%s is left out: %s has no content", p, info.Mode().Type())
		return nil
	})
}

// PushFile copies a file of the host's, with owner and mode but for what o says;
// holes stay holes.
func (f *Files) PushFile(ctx context.Context, source, path string, o guestfs.Owner) (err error) {
	file, err := os.OpenFile(source, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s: %w", source, guestfs.ErrNotRegular)
	}
	return f.Write(ctx, path, file, dataSize(info), ownerOf(info, o))
}

// ownerOf is the owner of a file on the host, but for what o says.
func ownerOf(info fs.FileInfo, o guestfs.Owner) guestfs.Owner {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		if o.UID == nil {
			o.UID = &st.Uid
		}
		if o.GID == nil {
			o.GID = &st.Gid
		}
	}
	if o.Mode == nil {
		mode := info.Mode()
		o.Mode = &mode
	}
	return o
}

// dataSize is how much of a file on the host is no hole, in bytes.
func dataSize(info fs.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return min(info.Size(), st.Blocks*512)
	}
	return info.Size()
}
