package diff

import (
	"context"
	crand "crypto/rand"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
)

// editor changes a tree at random. What it may not do (a directory into itself, onto
// one that is not empty) fails, and nothing is changed.
type editor struct {
	root string
	r    *rand.Rand
	n    int
}

// any is a path of the tree; with dir, one of a directory.
func (e *editor) any(dir bool) string {
	var all []string
	_ = filepath.WalkDir(e.root, func(p string, d fs.DirEntry, err error) error {
		if err == nil && (d.IsDir() || !dir) && (p != e.root || dir) {
			all = append(all, p)
		}
		return nil
	})
	if len(all) == 0 {
		return e.root
	}
	return all[e.r.IntN(len(all))]
}

func (e *editor) new() string {
	e.n++
	names := []string{"f", "sp ace", "new\nline", "\xff\xfe", "-d"}
	return filepath.Join(e.any(true), fmt.Sprintf("%s%d", names[e.r.IntN(len(names))], e.n))
}

// content is never the same twice.
func (e *editor) content() []byte {
	sizes := []int{1, 100, 3000, 5000, 70_000, 300_000}
	data := make([]byte, sizes[e.r.IntN(len(sizes))])
	_, _ = crand.Read(data[:min(len(data), 64<<10)]) // the rest can be compressed, but has no holes
	for i := 64 << 10; i < len(data); i++ {
		data[i] = byte(1 + e.n)
	}
	return data
}

// file is one with content.
func (e *editor) file() string {
	for range 20 {
		p := e.any(false)
		if st, err := os.Lstat(p); err == nil && st.Mode().IsRegular() {
			return p
		}
	}
	p := e.new()
	_ = os.WriteFile(p, e.content(), 0o644)
	return p
}

func (e *editor) step() {
	e.n++
	switch e.r.IntN(22) {
	case 0, 1, 2:
		_ = os.WriteFile(e.new(), e.content(), 0o644)
	case 3:
		_ = os.Mkdir(e.new(), 0o755)
	case 4:
		_ = os.Symlink(fmt.Sprintf("target%d", e.n), e.new())
	case 5:
		_ = unix.Mknod(e.new(), unix.S_IFCHR|0o600, int(unix.Mkdev(1, uint32(e.n)))) //nolint:gosec // small
	case 6, 7:
		_ = os.Link(e.file(), e.new())
	case 8, 9, 10:
		_ = unix.Renameat2(unix.AT_FDCWD, e.any(false), unix.AT_FDCWD, e.new(), 0)
	case 11:
		_ = unix.Renameat2(unix.AT_FDCWD, e.any(false), unix.AT_FDCWD, e.any(false), 0)
	case 12:
		_ = unix.Renameat2(unix.AT_FDCWD, e.any(false), unix.AT_FDCWD, e.any(false), unix.RENAME_EXCHANGE)
	case 13:
		_ = unix.Unlink(e.any(false))
	case 14: // another kind of file by the same name
		p := e.any(false)
		if st, err := os.Lstat(p); err == nil && (!st.IsDir() || e.r.IntN(4) == 0) && removeAll(p) == nil {
			switch e.r.IntN(3) {
			case 0:
				_ = os.WriteFile(p, e.content(), 0o600)
			case 1:
				_ = os.Mkdir(p, 0o700)
				_ = os.WriteFile(filepath.Join(p, fmt.Sprint("f", e.r.IntN(3))), e.content(), 0o600)
			case 2:
				_ = os.Symlink(fmt.Sprintf("again%d", e.n), p)
			}
		}
	case 15:
		p := e.any(false)
		if st, err := os.Lstat(p); err == nil && st.Mode()&fs.ModeSymlink == 0 {
			_ = os.Chmod(p, []fs.FileMode{0o755, 0o700, 0o644 | fs.ModeSetuid}[e.r.IntN(3)])
		}
	case 16:
		_ = os.Lchown(e.any(true), e.n, e.r.IntN(3))
	case 17:
		p := e.any(false)
		if e.r.IntN(2) == 0 || unix.Lremovexattr(p, "trusted.a") != nil {
			_ = unix.Lsetxattr(p, "trusted.a", fmt.Append(nil, e.n), 0)
		}
	case 18: // in the middle, or behind a hole
		if f, err := os.OpenFile(e.file(), os.O_WRONLY, 0); err == nil {
			_, _ = f.WriteAt(e.content(), e.r.Int64N(400_000))
			_ = f.Close()
		}
	case 19:
		p := e.file()
		if e.r.IntN(2) == 0 {
			_ = os.Truncate(p, e.r.Int64N(100_000))
		} else if f, err := os.OpenFile(p, os.O_WRONLY, 0); err == nil {
			_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 1+e.r.Int64N(9000))
			_ = f.Close()
		}
	case 20: // a clone replaces the file, as cp --reflink and mv do
		if src, err := os.Open(e.file()); err == nil {
			if dst, err := os.Create(filepath.Join(e.root, ".tmp")); err == nil {
				if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
					_ = os.Rename(dst.Name(), []string{src.Name(), e.new()}[e.r.IntN(2)])
				}
				_ = dst.Close()
				_ = os.Remove(filepath.Join(e.root, ".tmp"))
			}
			_ = src.Close()
		}
	case 21:
		switch e.r.IntN(3) {
		case 0:
			_ = btrfs.CreateSubvolume(e.new())
		case 1:
			p := e.any(true)
			if sub, err := btrfs.IsSubvolume(p); p != e.root && sub && err == nil {
				_ = removeAll(p)
			}
		default: // seen by the trees, but no difference
			_ = os.Chtimes(e.any(true), time.Unix(int64(e.n), 0), time.Unix(int64(e.n), 0))
		}
	}
}

// removeAll is os.RemoveAll with the subvolumes in it.
func removeAll(p string) error {
	if subs, err := btrfs.List(p); err == nil {
		for i := len(subs) - 1; i >= 0; i-- {
			_ = btrfs.DeleteTree(context.Background(), filepath.Join(p, subs[i].Path))
		}
	}
	if sub, err := btrfs.IsSubvolume(p); err == nil && sub {
		return btrfs.DeleteTree(context.Background(), p)
	}
	return os.RemoveAll(p)
}

// TestRandom compares what a walk of both trees finds with what Compare says, of
// snapshots of one volume, of the volume that one was restored to, and of volumes
// without anything in common.
func TestRandom(t *testing.T) {
	mounts := []string{newFS(t, "noatime"), newFS(t, "compress-force=zstd"), newFS(t, "nodatacow")}
	for seed := range uint64(9) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			mnt := filepath.Join(mounts[seed%3], fmt.Sprint(seed))
			vol := mnt + "/v"
			must(t, os.Mkdir(mnt, 0o700))
			must(t, btrfs.CreateSubvolume(vol), os.Mkdir(vol+"/rootfs", 0o755), os.WriteFile(vol+"/backup.yaml", []byte("x"), 0o600))
			e := &editor{root: vol + "/rootfs", r: rand.New(rand.NewPCG(seed, 1))}
			snap := func(from, name string) string {
				t.Helper()
				must(t, btrfs.SnapshotTree(t.Context(), from, mnt+"/"+name, true))
				return mnt + "/" + name
			}
			compareAll := func(pairs ...string) {
				t.Helper()
				for i := 0; i+1 < len(pairs); i += 2 {
					for _, p := range [][2]string{{pairs[i], pairs[i+1]}, {pairs[i+1], pairs[i]}} {
						got, _, err := Compare(t.Context(), Side{Volume: p[0], Dir: "rootfs"}, Side{Volume: p[1], Dir: "rootfs"})
						must(t, err)
						check(t, p[0]+"/rootfs", p[1]+"/rootfs", got)
					}
				}
			}
			edit := func(steps int) {
				for range steps {
					e.step()
				}
			}
			edit(80)
			a := snap(vol, "a")
			edit(1)
			b := snap(vol, "b")
			edit(40)
			c := snap(vol, "c")
			compareAll(a, a, a, b, b, c, a, c)

			must(t, btrfs.SnapshotTree(t.Context(), a, mnt+"/restored", false))
			e.root = mnt + "/restored/rootfs"
			edit(20)
			d := snap(mnt+"/restored", "d")
			e.root = vol + "/rootfs"
			edit(20)
			must(t, btrfs.DeleteTree(t.Context(), mnt+"/restored"))
			f := snap(vol, "f")
			compareAll(a, d, b, d, c, d, d, f, a, f)

			if seed < 3 { // nothing in common
				other := newFS(t, "")
				must(t, btrfs.CreateSubvolume(other+"/v"))
				testfs.Run(t, "cp", "-a", "--reflink=never", f+"/rootfs", other+"/v/")
				must(t, btrfs.Sync(other))
				got, _, err := Compare(t.Context(), Side{Volume: f, Dir: "rootfs"}, Side{Volume: other + "/v", Dir: "rootfs"})
				must(t, err)
				check(t, f+"/rootfs", other+"/v/rootfs", got)
				e.root = other + "/v/rootfs"
				edit(20)
				must(t, btrfs.SnapshotTree(t.Context(), other+"/v", other+"/w", true))
				got, _, err = Compare(t.Context(), Side{Volume: f, Dir: "rootfs"}, Side{Volume: other + "/w", Dir: "rootfs"})
				must(t, err)
				check(t, f+"/rootfs", other+"/w/rootfs", got)
			}
		})
	}
}
