package remotes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What is kept of downloads that did not end is bounded: in time since the last
// byte came, and in bytes of all together.
const (
	keptAge   = 7 * 24 * time.Hour
	keptBytes = 4 << 30
)

// The files of a kept download, in a directory named by the sha256 of the whole.
const (
	keptData   = "data"        // from its first byte on, as far as it came
	keptEnd    = "end"         // its last bytes, if they were needed before their turn
	keptOrigin = "origin.json" // where data came from last: an origin
)

// errKeptBusy says that another process is downloading that file.
var errKeptBusy = errors.New("another command downloads it")

// keptFile is a download's directory, held by flock: whoever is killed leaves it
// to the next. Data is only ever appended, and the end is renamed into place, so
// that at any moment what is there are bytes that a server sent. Whether they are
// the right ones (a power cut may have taken some) the hash of the whole tells.
type keptFile struct {
	dir  *os.File // locked
	path string
	data *os.File
	have int64    // bytes of data at the start
	end  *os.File // nil while there is none
	from origin
}

// openKept opens what is kept of a file below dir, which is made if needed.
func openKept(dir string, f File) (_ *keptFile, err error) {
	k := &keptFile{path: filepath.Join(dir, f.SHA256)}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if k.dir, err = lockKept(k.path, true); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = k.close() // nothing was written
		}
	}()
	if k.data, err = openPlain(filepath.Join(k.path, keptData), os.O_CREATE); err != nil {
		return nil, err
	}
	info, err := k.data.Stat()
	if err != nil {
		return nil, err
	}
	if k.have = info.Size(); k.have > f.Size {
		k.have = 0
		if err := k.data.Truncate(0); err != nil {
			return nil, err
		}
	}
	if raw, err := os.ReadFile(filepath.Join(k.path, keptOrigin)); err == nil && json.Unmarshal(raw, &k.from) != nil {
		k.from = origin{}
	}
	if end, err := openPlain(filepath.Join(k.path, keptEnd), 0); err == nil {
		if info, err := end.Stat(); err == nil && info.Size() > 0 && info.Size() <= f.Size {
			k.end = end
		} else {
			_ = end.Close() // it is of no use
		}
	}
	return k, nil
}

// openPlain opens a file that is no link.
func openPlain(path string, flags int) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
}

// lockKept opens and locks a download's directory.
func lockKept(path string, create bool) (*os.File, error) {
	for {
		if create {
			if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
				return nil, err
			}
		}
		dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
		if errors.Is(err, fs.ErrNotExist) && create {
			continue // removed in between
		}
		if err != nil {
			return nil, err
		}
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil && isStill(dir, path) {
			return dir, nil
		}
		_ = dir.Close() // opened for reading
		switch {
		case errors.Is(err, unix.EWOULDBLOCK):
			return nil, errKeptBusy
		case err != nil:
			return nil, os.NewSyscallError("flock", err)
		case !create:
			return nil, fs.ErrNotExist
		}
	}
}

// isStill says whether an open directory is the one at path: it may have been
// removed before it was locked.
func isStill(dir *os.File, path string) bool {
	mine, err1 := dir.Stat()
	there, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(mine, there)
}

// setOrigin notes where data comes from now. Without the note nothing is lost
// but If-Range.
func (k *keptFile) setOrigin(o origin) {
	if o == k.from {
		return
	}
	k.from = o
	if raw, err := json.Marshal(o); err == nil {
		_ = os.WriteFile(filepath.Join(k.path, keptOrigin), raw, 0o600)
	}
}

// putEnd keeps the last bytes of the file.
func (k *keptFile) putEnd(b []byte) error {
	temp := filepath.Join(k.path, keptEnd+".new")
	f, err := openPlain(temp, os.O_CREATE|os.O_TRUNC)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = os.Rename(temp, filepath.Join(k.path, keptEnd))
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	k.end = f
	return nil
}

// remove takes it all away; close has still to be called.
func (k *keptFile) remove() error { return removeKept(k.path) }

// close gives it to the next.
func (k *keptFile) close() error {
	var errs []error
	for _, f := range []*os.File{k.data, k.end, k.dir} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// removeKept removes a locked directory.
func removeKept(path string) error {
	for _, name := range []string{keptData, keptEnd, keptEnd + ".new", keptOrigin} {
		if err := os.Remove(filepath.Join(path, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Remove(path)
}

// shiftedEnd reads the end's file by offsets of the whole file.
type shiftedEnd struct {
	f   *os.File
	off int64
}

func (s shiftedEnd) ReadAt(p []byte, off int64) (int, error) { return s.f.ReadAt(p, off-s.off) }

// KeptDownload is what is kept of a download that did not end.
type KeptDownload struct {
	SHA256 string // of the whole file, in hex
	Size   int64  // bytes that are there
	Last   time.Time
}

// KeptDownloads lists what is kept below dir (Options.DownloadDir), the oldest
// first, without what is being downloaded now.
func KeptDownloads(dir string) ([]KeptDownload, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list the unfinished downloads: %w", err)
	}
	var all []KeptDownload
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if !isSHA256(e.Name()) || !e.IsDir() {
			continue
		}
		lock, err := lockKept(path, false)
		if err != nil {
			continue // in use, or gone
		}
		k := KeptDownload{SHA256: e.Name()}
		for _, name := range []string{keptData, keptEnd} {
			if info, err := os.Lstat(filepath.Join(path, name)); err == nil {
				k.Size += info.Size()
				if info.ModTime().After(k.Last) {
					k.Last = info.ModTime()
				}
			}
		}
		_ = lock.Close() // opened for reading
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b KeptDownload) int { return a.Last.Compare(b.Last) })
	return all, nil
}

// RemoveKept removes a kept download below dir. One that is gone or in use is no
// error.
func RemoveKept(dir, sha256 string) error {
	if !isSHA256(sha256) {
		return fmt.Errorf("cannot remove an unfinished download: %q is no sha256", sha256)
	}
	path := filepath.Join(dir, sha256)
	lock, err := lockKept(path, false)
	if errors.Is(err, errKeptBusy) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = errors.Join(removeKept(path), lock.Close())
	}
	if err != nil {
		return fmt.Errorf("cannot remove an unfinished download: %w", err)
	}
	return nil
}

// ExpireKept removes the downloads below dir that nobody has gone on with for a
// week, and then the oldest until the rest is within the bound.
func ExpireKept(dir string) error {
	all, err := KeptDownloads(dir)
	if err != nil {
		return err
	}
	var sum int64
	for _, k := range all {
		sum += k.Size
	}
	var errs []error
	for _, k := range all {
		if sum > keptBytes || time.Since(k.Last) > keptAge {
			errs = append(errs, RemoveKept(dir, k.SHA256))
			sum -= k.Size
		}
	}
	return errors.Join(errs...)
}
