package extents

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
)

func write(t testing.TB, path string, size int, seed uint64) {
	t.Helper()
	b := make([]byte, size)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	must(t, os.WriteFile(path, b, 0o600))
}

func TestReadSimple(t *testing.T) {
	mnt := newFS(t, "")
	a, b := mnt+"/a", mnt+"/b"
	must(t, btrfs.CreateSubvolume(a))
	write(t, a+"/file", 1<<20, 1)
	write(t, a+"/small", 100, 1)
	must(t, btrfs.Snapshot(a, b, true))
	write(t, a+"/more", 1<<20, 2)
	compare(t, mnt)
}

// chaos changes a file system at random, as guests, snapshots and copies do.
type chaos struct {
	t    testing.TB
	r    *rand.Rand
	mnt  string
	subs []string
	next int
}

func (c *chaos) file() string {
	return filepath.Join(c.subs[c.r.IntN(len(c.subs))], fmt.Sprintf("f%d", c.r.IntN(8)))
}

func (c *chaos) open(path string) *os.File {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	must(c.t, err)
	return f
}

const page = 4096

// data is random, or such that it compresses well.
func (c *chaos) data(n int) []byte {
	b := make([]byte, n)
	if c.r.IntN(2) == 0 {
		for i := range b {
			b[i] = byte(i / 512)
		}
		return b
	}
	for i := range b {
		b[i] = byte(c.r.Uint32())
	}
	return b
}

func (c *chaos) step() {
	t := c.t
	switch k := c.r.IntN(20); {
	case k < 6: // write anywhere
		f := c.open(c.file())
		_, err := f.WriteAt(c.data(1+c.r.IntN(60*page)), int64(c.r.IntN(100*page)))
		must(t, err)
		if c.r.IntN(2) == 0 {
			must(t, f.Sync())
		}
		must(t, f.Close())
	case k < 10: // clone a part
		source, target := c.file(), c.file()
		if c.r.IntN(2) == 0 { // within a subvolume, or a file
			target = filepath.Join(filepath.Dir(source), fmt.Sprintf("f%d", c.r.IntN(8)))
		}
		from, to := c.open(source), c.open(target)
		must(t, from.Sync())
		r := unix.FileCloneRange{
			Src_fd: int64(from.Fd()), Src_offset: uint64(c.r.IntN(60)) * page, Dest_offset: uint64(200+c.r.IntN(100)) * page,
			Src_length: uint64(1+c.r.IntN(30)) * page,
		}
		st, err := from.Stat()
		must(t, err)
		if int64(r.Src_offset+r.Src_length) <= st.Size() {
			must(t, unix.IoctlFileCloneRange(int(to.Fd()), &r))
		}
		must(t, from.Close())
		must(t, to.Close())
	case k < 11: // preallocate, also beyond the end
		f := c.open(c.file())
		must(t, unix.Fallocate(int(f.Fd()), uint32(c.r.IntN(2))*unix.FALLOC_FL_KEEP_SIZE, int64(c.r.IntN(100)*page), int64(1+c.r.IntN(50))*page))
		must(t, f.Close())
	case k < 12: // make a hole
		f := c.open(c.file())
		must(t, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(c.r.IntN(100*page)), int64(1+c.r.IntN(20*page))))
		must(t, f.Close())
	case k < 13:
		must(t, os.WriteFile(c.file(), c.data(c.r.IntN(3000)), 0o600)) // most are inline
	case k < 14:
		_ = os.Remove(c.file())
	case k < 15:
		p := c.file()
		_ = c.open(p).Close()
		must(t, os.Truncate(p, int64(c.r.IntN(150*page))))
	case k < 16: // many files, so that there are several leaves
		dir := fmt.Sprintf("%s/d%d", c.subs[c.r.IntN(len(c.subs))], c.r.IntN(1000))
		must(t, os.MkdirAll(dir, 0o700))
		for i := range 150 {
			must(t, os.WriteFile(fmt.Sprintf("%s/%d-%0100d", dir, i, i), c.data(i*40), 0o600))
		}
	case k < 17: // nested, or at the top
		c.make(func(path string) error { return btrfs.CreateSubvolume(path) }, c.mnt, c.subs[c.r.IntN(len(c.subs))])
	case k < 19:
		src := c.subs[c.r.IntN(len(c.subs))]
		c.make(func(path string) error { return btrfs.Snapshot(src, path, false) }, c.mnt, c.subs[c.r.IntN(len(c.subs))])
	default:
		if len(c.subs) < 4 {
			return
		}
		gone := c.subs[c.r.IntN(len(c.subs))]
		if btrfs.DeleteSubvolume(gone) == nil { // else it has subvolumes in it
			c.subs = slices.DeleteFunc(c.subs, func(s string) bool { return s == gone })
		}
	}
}

func (c *chaos) make(how func(string) error, parents ...string) {
	if len(c.subs) > 30 {
		return
	}
	c.next++
	path := fmt.Sprintf("%s/s%d", parents[c.r.IntN(len(parents))], c.next)
	must(c.t, how(path))
	c.subs = append(c.subs, path)
}

// What Read says is what "btrfs filesystem du" and full quota groups do, whatever
// was done to the file system.
func TestReadAgainstKernel(t *testing.T) {
	for _, c := range []struct {
		name, options string
		mkfs          []string
	}{
		{"plain", "", nil},
		{"compressed", "compress-force=zstd", []string{"--csum", "xxhash"}},
		{"small nodes", "", []string{"-n", "4096", "--csum", "sha256"}},
		{"large nodes", "compress=lzo", []string{"-n", "65536", "-m", "single", "--csum", "blake2"}},
		{"no-holes off", "max_inline=0", []string{"-O", "^no-holes"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			ch := &chaos{t: t, r: rand.New(rand.NewPCG(seed, 0)), mnt: newFS(t, c.options, c.mkfs...)}
			ch.make(btrfs.CreateSubvolume, ch.mnt)
			for _, steps := range []int{30, 120, 150} {
				for range steps {
					ch.step()
				}
				settle(t, ch.mnt)
				compare(t, ch.mnt)
				if t.Failed() {
					return
				}
			}
		})
	}
}

// One extent in several leaves, which were shared once: the kernel counts a
// reference for each of those leaves, and so calls the extent shared.
func TestReadOnceSharedLeaves(t *testing.T) {
	mnt := newFS(t, "", "-n", "4096")
	a, b := mnt+"/a", mnt+"/b"
	must(t, btrfs.CreateSubvolume(a))
	write(t, a+"/file", 4<<20, 1)
	must(t, btrfs.Sync(mnt))
	f, err := os.OpenFile(a+"/file", os.O_RDWR, 0)
	must(t, err)
	for i := range 300 {
		_, err := f.WriteAt(make([]byte, page), int64(i*3*page))
		must(t, err)
	}
	must(t, f.Close())
	must(t, btrfs.Snapshot(a, b, false))
	compare(t, mnt)
	must(t, btrfs.DeleteSubvolume(a))
	settle(t, mnt)
	compare(t, mnt)
	must(t, os.WriteFile(b+"/other", nil, 0o600)) // one of the leaves is written again
	compare(t, mnt)
}
