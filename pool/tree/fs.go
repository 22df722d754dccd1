package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/crash"
)

// isSubvolume says whether path is the root of a subvolume, without following a symbolic link. What is not there is none.
func isSubvolume(path string) (bool, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return false, nil
	} else if err != nil {
		return false, &fs.PathError{Op: "lstat", Path: path, Err: err}
	}
	return isSubvolumeRoot(&st), nil
}

// isSubvolumeAt is isSubvolume for a name in a directory.
func isSubvolumeAt(dir *os.File, name string) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, &fs.PathError{Op: "lstat", Path: filepath.Join(dir.Name(), name), Err: err}
	}
	return isSubvolumeRoot(&st), nil
}

func isSubvolumeRoot(st *unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Ino == subvolInode
}

// exists says whether anything is at path.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// renameNew renames old to new, which must not exist (fs.ErrExist otherwise): RENAME_NOREPLACE, rename(2).
func renameNew(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: from, New: to, Err: err}
	}
	return nil
}

// exchange swaps the names a and b atomically: RENAME_EXCHANGE, rename(2).
func exchange(a, b string) error {
	err := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
	if err != nil {
		return &os.LinkError{Op: "exchange", Old: a, New: b, Err: err}
	}
	return nil
}

// moveOut renames a volume to a new name elsewhere. One that is read-only, which the kernel refuses to move, is made
// writable first.
func moveOut(from, to string) error {
	err := renameNew(from, to)
	if !errors.Is(err, unix.EROFS) {
		return err
	}
	if err := withHeadroom(from, func() error { return btrfs.SetReadOnly(from, false) }); err != nil {
		return err
	}
	crash.Point("tree.moveout.writable")
	return renameNew(from, to)
}

// discard deletes whatever is at path: a subvolume with those in it, a directory with what is in it, a file. What is not
// there is no error.
func discard(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if !info.IsDir() {
		return os.Remove(path)
	}
	if sub, err := isSubvolume(path); err != nil {
		return err
	} else if sub {
		return deleteVolumes(ctx, path)
	}
	names, err := readNames(path)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := discard(ctx, filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return os.Remove(path)
}

// readNames lists a directory, unsorted; one that is not there is empty.
func readNames(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	return names, errors.Join(err, f.Close())
}

// removeIfEmpty removes the directory at path when nothing is in it. What is not there is no error.
func removeIfEmpty(path string) error {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}

// writeFile replaces dir/name by data: a file beside it is written, fsynced and renamed over it. There is one temporary
// name, not a random one: what a killed writer leaves is taken by the next, or removed by who reads (dropUnfinished). The caller keeps other writers off.
func writeFile(dir, name string, data []byte, mode fs.FileMode) error {
	content := func(to io.Writer) error { _, err := to.Write(data); return err }
	return writeFileBy(dir, name, 0, mode, (*os.File).Sync, content)
}

// writeFileBy is writeFile with a function that writes what the file is to have, and one that waits until it can take the place
// of the other: Sync, or btrfs.WriteOut where it is enough that a power cut leaves one of the two. It is compressed when it has a
// size, about, that is worth it.
func writeFileBy(dir, name string, size int, mode fs.FileMode, wait func(*os.File) error, content func(io.Writer) error) error {
	f, err := writeBesideBy(dir, name, size, mode, content)
	if err != nil {
		return err
	}
	if err = errors.Join(wait(f), forgetCompression(f, size), f.Close()); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	crash.Point("tree.write.written")
	if err := os.Rename(f.Name(), filepath.Join(dir, name)); err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// writeBeside is the first half of writeFile: the file under its temporary name, not synced yet.
func writeBeside(dir, name string, data []byte, mode fs.FileMode) (*os.File, error) {
	return writeBesideBy(dir, name, 0, mode, func(to io.Writer) error { _, err := to.Write(data); return err })
}

func writeBesideBy(dir, name string, size int, mode fs.FileMode, content func(io.Writer) error) (*os.File, error) {
	tmp := filepath.Join(dir, temporaryName(name))
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, mode)
	if err != nil {
		return nil, err
	}
	_ = compress(f, size) // where that is not to be had, it takes its size
	err = content(f)
	if err = errors.Join(err, f.Chmod(mode)); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(tmp))
	}
	return f, nil
}

// compressed is from which size on a file is compressed. The record of an instance with a thousand snapshots has a megabyte
// and more of what is nearly the same a thousand times, and every snapshot keeps the record of its time.
const compressed = 16 << 10

// propertyCompression is the extended attribute that has btrfs compress what is written to a file (btrfs-property(8)).
const propertyCompression = "btrfs.compression"

// compress has btrfs compress what will be written to a large file.
func compress(f *os.File, size int) error {
	if size < compressed {
		return nil
	}
	return unix.Fsetxattr(int(f.Fd()), propertyCompression, []byte("zstd"), 0)
}

// forgetCompression takes the attribute of compress away again: what is written stays as it is.
func forgetCompression(f *os.File, size int) error {
	if size < compressed {
		return nil
	}
	err := unix.Fremovexattr(int(f.Fd()), propertyCompression)
	if errors.Is(err, unix.ENODATA) {
		return nil
	}
	return err
}

// readFile reads a regular file of at most limit bytes. It follows no link and does not hang on a fifo.
func readFile(path string, limit int64) ([]byte, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	raw, err := readRegular(f, limit)
	return raw, errors.Join(err, f.Close())
}

func openFile(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

func readRegular(f *os.File, limit int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", f.Name())
	}
	if info.Size() > limit {
		return nil, fmt.Errorf("%s has %d bytes, over the limit of %d", f.Name(), info.Size(), limit)
	}
	raw := make([]byte, info.Size())
	n, err := io.ReadFull(f, raw)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = nil // it shrank meanwhile
	}
	return raw[:n], err
}
