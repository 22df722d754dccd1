package testtree

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Mutate makes the next version of a tree below dir, the same one for the same
// seed: most files stay, others get a byte changed without a change of size or
// time, become longer or shorter, lose a part to a hole, get other metadata, or
// give their name to something of another kind.
func Mutate(tb testing.TB, dir string, seed uint64) {
	tb.Helper()
	r := rand.New(rand.NewPCG(seed, 2))
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	for _, path := range files {
		if err := mutate(r, path); err != nil {
			tb.Fatal(err)
		}
	}
}

func mutate(r *rand.Rand, path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return err
	}
	size := st.Size
	switch kind := r.IntN(16); {
	case kind == 0 && size > 0:
		err := edit(path, func(f *os.File) error {
			at, b := r.Int64N(size), make([]byte, 1)
			if _, err := f.ReadAt(b, at); err != nil {
				return err
			}
			b[0] ^= 1
			_, err := f.WriteAt(b, at)
			return err
		})
		if err != nil {
			return err
		}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
	case kind == 1:
		return edit(path, func(f *os.File) error { _, err := f.WriteAt([]byte("more"), size); return err })
	case kind == 2 && size > 1:
		return os.Truncate(path, r.Int64N(size))
	case kind == 3 && size > 0:
		return edit(path, func(f *os.File) error {
			off := r.Int64N(size)
			return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, 1+r.Int64N(size-off))
		})
	case kind == 4:
		return os.Lchown(path, 4321, 1234) // takes capabilities and set-id bits away
	case kind == 5:
		return unix.Lsetxattr(path, "user.new", []byte("v"), 0)
	case kind == 6:
		if err := os.Remove(path); err != nil {
			return err
		}
		switch r.IntN(4) {
		case 0:
			return os.Mkdir(path, 0o711)
		case 1:
			return os.Symlink("/etc/passwd", path)
		case 2:
			return unix.Mkfifo(path, 0o640)
		}
		return nil
	}
	return nil
}

func edit(path string, do func(*os.File) error) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := do(f); err != nil {
		_ = f.Close() // the first error counts
		return err
	}
	return f.Close()
}

// WholeSeconds cuts the times of all that is below dir down to seconds, which is
// what some formats have.
func WholeSeconds(tb testing.TB, dir string) {
	tb.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if err != nil || st.Mtim.Nsec == 0 {
			return err
		}
		ts := unix.Timespec{Sec: st.Mtim.Sec}
		return unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
	if err != nil {
		tb.Fatal(err)
	}
}
