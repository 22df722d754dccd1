package diff

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
)

// volume makes a subvolume, and returns it and a function that takes a snapshot.
func volume(t testing.TB, mnt string) (vol string, snap func() string) {
	t.Helper()
	vol = mnt + "/v"
	must(t, btrfs.CreateSubvolume(vol))
	n := 0
	return vol, func() string {
		t.Helper()
		n++
		to := fmt.Sprintf("%s/s%d", mnt, n)
		must(t, btrfs.SnapshotTree(t.Context(), vol, to, true))
		return to
	}
}

func list(t testing.TB, a, b string) []string {
	t.Helper()
	changes, _, err := Compare(t.Context(), Side{Volume: a}, Side{Volume: b})
	must(t, err)
	out := []string{}
	for _, c := range changes {
		line := string(c.Kind) + " " + c.Path
		if c.Kind == Renamed {
			line = "renamed " + c.From + " " + c.Path
		}
		if len(c.What) > 0 {
			line += fmt.Sprint(" ", c.What)
		}
		out = append(out, line)
	}
	return out
}

// TestAssumed: what has nothing but its size and time to tell that it is the same is counted.
func TestAssumed(t *testing.T) {
	one, other := newFS(t, ""), newFS(t, "")
	a, b, c := one+"/a", one+"/b", other+"/c"
	must(t, btrfs.CreateSubvolume(a))
	must(t, btrfs.CreateSubvolume(c))
	at := time.Unix(1_700_000_000, 0)
	for _, name := range []string{a + "/long", c + "/long", a + "/short", c + "/short", a + "/later", c + "/later"} {
		size := 5000
		if filepath.Base(name) == "short" {
			size = 50 // its extent is the content itself
		}
		write(t, name, strings.Repeat("x", size))
		must(t, os.Chtimes(name, at, at))
	}
	must(t, os.Chtimes(c+"/later", at, at.Add(time.Second)))
	must(t, btrfs.Sync(c), btrfs.SetReadOnly(c, true))
	must(t, btrfs.SnapshotTree(t.Context(), a, b, true))
	for to, want := range map[string]int{b: 0, c: 1} {
		changes, assumed, err := Compare(t.Context(), Side{Volume: b}, Side{Volume: to})
		if must(t, err); assumed != want || (len(changes) > 0) != (to == c) {
			t.Errorf("%s: %d are assumed, want %d; %+v", to, assumed, want, changes)
		}
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

// TestCompare: what each change is called.
func TestCompare(t *testing.T) {
	mnt := newFS(t, "")
	for i, c := range []struct {
		name   string
		change func(v string) error
		want   []string
	}{
		{"nothing", func(string) error { return nil }, []string{}},
		{"times", func(v string) error { return os.Chtimes(v+"/f", time.Now(), time.Unix(9, 9)) }, []string{}},
		{"same again", func(v string) error { return errors.Join(os.Chmod(v+"/f", 0o600), os.Chmod(v+"/f", 0o644)) }, []string{}},
		{"rename", func(v string) error { return os.Rename(v+"/f", v+"/d/g") }, []string{"renamed /f /d/g"}},
		{"rename and write", func(v string) error {
			return errors.Join(os.Rename(v+"/f", v+"/g"), os.WriteFile(v+"/g", []byte("more"), 0))
		}, []string{"renamed /f /g [content]"}},
		{"rename of a directory", func(v string) error { return os.Rename(v+"/d", v+"/e") }, []string{"renamed /d /e"}},
		{"rename of a directory, and a change in it", func(v string) error {
			return errors.Join(os.Rename(v+"/d", v+"/e"), os.Chmod(v+"/e/x/y", 0o600), os.Remove(v+"/e/z"))
		}, []string{"removed /d/z", "renamed /d /e", "changed /e/x/y [mode]"}},
		{"into a new directory", func(v string) error {
			return errors.Join(os.Mkdir(v+"/n", 0o700), os.Rename(v+"/d", v+"/n/d"))
		}, []string{"added /n", "renamed /d /n/d"}},
		{"out of one that is gone", func(v string) error {
			return errors.Join(os.Rename(v+"/d/x/y", v+"/y"), os.RemoveAll(v+"/d"))
		}, []string{"removed /d", "removed /d/x", "removed /d/z", "renamed /d/x/y /y"}},
		{"exchange", func(v string) error {
			return unix.Renameat2(unix.AT_FDCWD, v+"/f", unix.AT_FDCWD, v+"/d", unix.RENAME_EXCHANGE)
		}, []string{"renamed /f /d", "renamed /d /f"}},
		{"over another", func(v string) error { return os.Rename(v+"/f", v+"/d/z") }, []string{"removed /d/z", "renamed /f /d/z"}},
		{"written anew and renamed over it", func(v string) error {
			return errors.Join(os.WriteFile(v+"/new", []byte("another"), 0o644), os.Rename(v+"/new", v+"/f"))
		}, []string{"modified /f [content]"}},
		{"removed and made again", func(v string) error {
			return errors.Join(os.RemoveAll(v+"/d"), os.MkdirAll(v+"/d/x", 0o755), os.WriteFile(v+"/d/x/y", []byte("y"), 0o600))
		}, []string{"modified /d/x/y [content mode]", "removed /d/z"}},
		{"another type", func(v string) error {
			return errors.Join(os.RemoveAll(v+"/d"), os.Symlink("f", v+"/d"))
		}, []string{"modified /d [type]", "removed /d/x", "removed /d/x/y", "removed /d/z"}},
		{"a hard link more", func(v string) error { return os.Link(v+"/f", v+"/g") }, []string{"added /g"}},
		{"all names of a file", func(v string) error {
			return errors.Join(os.Chown(v+"/h1", 7, 8), os.Rename(v+"/h2", v+"/d/h2"))
		}, []string{"renamed /h2 /d/h2 [owner]", "changed /h1 [owner]"}},
		{"a name of a file is another one", func(v string) error {
			return errors.Join(os.Remove(v+"/h2"), os.WriteFile(v+"/h2", []byte("other"), 0o644))
		}, []string{"modified /h2 [content]"}},
		{"attributes", func(v string) error {
			return errors.Join(unix.Setxattr(v+"/f", "user.a", []byte("1"), 0), unix.Setxattr(v+"/d/z", "user.b", []byte("1"), 0), unix.Removexattr(v+"/d/z", "user.a"))
		}, []string{"changed /d/z [xattrs]", "changed /f [xattrs]"}},
		{"a symbolic link and a device", func(v string) error {
			return errors.Join(os.Remove(v+"/l"), os.Symlink("there", v+"/l"), os.Remove(v+"/null"), unix.Mknod(v+"/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 5))))
		}, []string{"modified /l [content]", "modified /null [device]"}},
		{"the root", func(v string) error { return os.Chmod(v, 0o700) }, []string{"changed / [mode]"}},
		{"in a nested subvolume", func(v string) error {
			return errors.Join(os.Remove(v+"/sub/f"), os.Mkdir(v+"/sub/in/n", 0o700))
		}, []string{"removed /sub/f", "added /sub/in/n"}},
		{"a nested subvolume elsewhere", func(v string) error {
			return errors.Join(os.Rename(v+"/sub", v+"/d/sub"), os.Remove(v+"/d/sub/f"))
		}, []string{"renamed /sub /d/sub", "removed /sub/f"}},
		{"a nested subvolume less, another more", func(v string) error {
			return errors.Join(removeAll(v+"/sub"), btrfs.CreateSubvolume(v+"/sub2"), os.WriteFile(v+"/sub2/f", nil, 0o600))
		}, []string{"removed /sub", "removed /sub/f", "removed /sub/in", "added /sub2", "added /sub2/f"}},
		{"a subvolume in place of a directory", func(v string) error {
			return errors.Join(os.RemoveAll(v+"/d"), btrfs.CreateSubvolume(v+"/d"))
		}, []string{"removed /d", "added /d", "removed /d/x", "removed /d/x/y", "removed /d/z"}},
		{"allocated, not written", func(v string) error {
			f, err := os.OpenFile(v+"/big", os.O_WRONLY, 0)
			return errors.Join(err, unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 2<<20, 1<<20), f.Close())
		}, []string{}},
		{"defragmented", func(v string) error {
			testfs.Run(t, "btrfs", "filesystem", "defragment", "-f", v+"/big")
			return nil
		}, []string{}},
		{"written with the same bytes", func(v string) error { return os.WriteFile(v+"/big", slices.Repeat([]byte("b"), 1<<20), 0) }, []string{"modified /big [content]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := fmt.Sprintf("%s/%d", mnt, i)
			must(t, os.Mkdir(dir, 0o700))
			v, snap := volume(t, dir)
			must(t, os.MkdirAll(v+"/d/x", 0o755), btrfs.CreateSubvolume(v+"/sub"), os.Mkdir(v+"/sub/in", 0o700), os.Symlink("f", v+"/l"), unix.Mknod(v+"/null", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 3))))
			for _, f := range []string{"/f", "/d/x/y", "/d/z", "/sub/f", "/h1"} {
				write(t, v+f, f)
			}
			must(t, os.Link(v+"/h1", v+"/h2"), unix.Setxattr(v+"/d/z", "user.a", []byte("1"), 0))
			for at := int64(15); at >= 0; at-- { // in pieces, that there is something to defragment
				f, err := os.OpenFile(v+"/big", os.O_CREATE|os.O_WRONLY, 0o644)
				must(t, err)
				_, err = f.WriteAt(slices.Repeat([]byte("b"), 64<<10), at<<16)
				must(t, err, f.Sync(), f.Close())
			}
			a := snap()
			must(t, c.change(v))
			b := snap()
			if diff := cmp.Diff(c.want, list(t, a, b)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestStates: sizes, modes and owners, as they are inside.
func TestStates(t *testing.T) {
	v, snap := volume(t, newFS(t, ""))
	write(t, v+"/f", "four")
	must(t, os.Chown(v+"/f", 100_005, 100_006))
	a := snap()
	write(t, v+"/f", "seven..")
	must(t, os.Chown(v+"/f", 100_005, 7))
	got, _, err := Compare(t.Context(), Side{Volume: a, IDs: func(id uint32, _ bool) uint32 { return id - 100_000 }}, Side{Volume: snap(), IDs: func(id uint32, group bool) uint32 {
		if group {
			return id
		}
		return id - 100_000
	}})
	must(t, err)
	want := []Change{{
		Path: "/f", Kind: Modified, What: []Aspect{Content, Owner}, Before: &State{Mode: 0o100644, Size: 4, UID: 5, GID: 6},
		After: &State{Mode: 0o100644, Size: 7, UID: 5, GID: 7},
	}}
	// The root belongs to 0 on disk, which is nobody inside.
	got = slices.DeleteFunc(got, func(c Change) bool { return c.Path == "/" })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCompareNothing(t *testing.T) {
	mnt := newFS(t, "")
	v, snap := volume(t, mnt)
	a := snap()
	for _, s := range []Side{{Volume: mnt + "/none"}, {Volume: v, Dir: "none"}} {
		if _, _, err := Compare(t.Context(), Side{Volume: a}, s); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// TestCompareLarge: ten changes in 100 000 files are found in less than a second, on a
// machine that does other things as well.
func TestCompareLarge(t *testing.T) {
	const dirs, files = 100, 1000
	v, snap := volume(t, newFS(t, ""))
	for d := range dirs {
		dir := fmt.Sprintf("%s/%d", v, d)
		must(t, os.Mkdir(dir, 0o755))
		in, err := os.Open(dir)
		must(t, err)
		for f := range files {
			if err := unix.Mknodat(int(in.Fd()), strconv.Itoa(f), unix.S_IFREG|0o644, 0); err != nil {
				t.Fatal(err)
			}
		}
		must(t, in.Close())
	}
	must(t, btrfs.Sync(v))
	a := snap()
	want := []string{}
	for i := range 10 {
		path := fmt.Sprintf("/%d/%d", i*9, i*90)
		write(t, v+path, "changed")
		want = append(want, "modified "+path+" [content]")
	}
	b := snap()
	start := time.Now()
	got := list(t, a, b)
	took := time.Since(start)
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	t.Logf("10 changes in %d files: %v", dirs*files, took)
	if took > time.Second {
		t.Errorf("it took %v", took)
	}
}
