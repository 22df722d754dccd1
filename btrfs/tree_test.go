package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"poolctl/fixtures/testfs"
)

// nestedPaths are subvolumes as a guest may make them, in an order in which
// they can be made.
var nestedPaths = []string{
	"with space",
	"with space/deeper\nstill",
	"with space/deeper\nstill/dir/dir/bytes\xff\xfe",
	"dir/a",
	"dir/a/a",
	"dir/b",
	"-dash",
	"dir/" + strings.Repeat("n", 255),
	`\040`,
}

// makeTree makes a subvolume with the nested ones, each with a file.
func makeTree(t testing.TB, root string) {
	t.Helper()
	must(t, CreateSubvolume(root))
	write(t, root+"/file", "root")
	for _, p := range nestedPaths {
		path := root + "/" + p
		must(t, os.MkdirAll(filepath.Dir(path), 0o700))
		must(t, CreateSubvolume(path))
		write(t, path+"/file", p)
	}
}

func listPaths(t testing.TB, dir string) []string {
	t.Helper()
	subs, err := List(dir)
	must(t, err)
	var out []string
	for _, s := range subs {
		out = append(out, s.Path)
	}
	return out
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

// checkTree checks that a copy has everything that makeTree made, and the flag.
func checkTree(t *testing.T, root string, readonly bool) {
	t.Helper()
	if diff := cmp.Diff(sorted(nestedPaths), listPaths(t, root)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", root, diff)
	}
	for _, p := range append([]string{"."}, nestedPaths...) {
		text, err := os.ReadFile(root + "/" + p + "/file")
		must(t, err)
		if want := p; string(text) != want && (p != "." || string(text) != "root") {
			t.Errorf("%q holds %q", p, text)
		}
		if ro, err := IsReadOnly(root + "/" + p); err != nil || ro != readonly {
			t.Errorf("%q is read-only: %v, %v", p, ro, err)
		}
	}
}

func TestTreeLife(t *testing.T) {
	mnt := newFS(t)
	ctx := t.Context()
	src, snap, back := mnt+"/src", mnt+"/snap", mnt+"/back"
	makeTree(t, src)
	checkTree(t, src, false)

	must(t, SnapshotTree(ctx, src, snap, true))
	checkTree(t, snap, true)
	write(t, src+"/file", "changed")
	write(t, src+"/dir/a/file", "changed")
	checkTree(t, snap, true)

	must(t, SnapshotTree(ctx, snap, back, false))
	checkTree(t, back, false)
	must(t, SetReadOnlyTree(ctx, back, true))
	checkTree(t, back, true)
	must(t, SetReadOnlyTree(ctx, back, false))
	checkTree(t, back, false)

	wantErr(t, "DeleteSubvolume of a tree", DeleteSubvolume(snap), unix.ENOTEMPTY)
	for _, dir := range []string{snap, back, src} {
		must(t, DeleteTree(ctx, dir))
		must(t, DeleteTree(ctx, dir)) // nothing left: no error
		if exists(t, dir) {
			t.Errorf("%s is still there", dir)
		}
	}
	must(t, DeleteTree(ctx, mnt+"/none/none"))
	if left := listPaths(t, mnt); len(left) != 0 {
		t.Errorf("left over: %q", left)
	}
}

// TestSnapshotTreeKeepsTimes: the directories that subvolumes are in have the times of the source's.
func TestSnapshotTreeKeepsTimes(t *testing.T) {
	pool := newFS(t)
	src, dst := pool+"/src", pool+"/dst"
	makeTree(t, src)
	at := []unix.Timespec{{Sec: 1000, Nsec: 1}, {Sec: 2000, Nsec: 123456789}}
	for _, dir := range []string{".", "dir", "with space"} {
		must(t, unix.UtimesNanoAt(unix.AT_FDCWD, src+"/"+dir, at, 0))
	}
	for _, readonly := range []bool{false, true} {
		must(t, SnapshotTree(t.Context(), src, dst, readonly))
		for _, dir := range []string{".", "dir", "with space"} {
			var st unix.Stat_t
			must(t, unix.Stat(dst+"/"+dir, &st))
			if st.Mtim != at[1] {
				t.Errorf("%q: %+v", dir, st.Mtim)
			}
		}
		must(t, DeleteTree(t.Context(), dst))
	}
}

// Read-only subvolumes within a writable one are copied as such; what is
// within a read-only one becomes writable.
func TestSnapshotTreeKeepsFlags(t *testing.T) {
	mnt := newFS(t)
	src := mnt + "/src"
	makeTree(t, src)
	for _, p := range []string{"dir/b", "with space"} {
		must(t, SetReadOnly(src+"/"+p, true))
	}
	must(t, SnapshotTree(t.Context(), src, mnt+"/copy", false))
	for _, p := range nestedPaths {
		ro, err := IsReadOnly(mnt + "/copy/" + p)
		must(t, err)
		if want := p == "dir/b" || p == "with space"; ro != want {
			t.Errorf("%q is read-only: %v", p, ro)
		}
	}
	must(t, DeleteTree(t.Context(), mnt+"/copy"))
}

func TestList(t *testing.T) {
	mnt := newFS(t)
	must(t, os.MkdirAll(mnt+"/containers/plain", 0o700))
	must(t, os.MkdirAll(mnt+"/containers-snapshots", 0o700))
	makeTree(t, mnt+"/containers/c1")
	must(t, Snapshot(mnt+"/containers/c1", mnt+"/containers-snapshots/s", true))
	var all, below []string
	for _, p := range append([]string{""}, nestedPaths...) {
		below = append(below, strings.TrimSuffix("c1/"+p, "/"))
		all = append(all, strings.TrimSuffix("containers/c1/"+p, "/"))
	}
	all = append(all, "containers-snapshots/s")
	if diff := cmp.Diff(sorted(all), listPaths(t, mnt)); diff != "" {
		t.Errorf("of the top (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(sorted(below), listPaths(t, mnt+"/containers")); diff != "" {
		t.Errorf("of a directory (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"deeper\nstill", "deeper\nstill/dir/dir/bytes\xff\xfe"}, listPaths(t, mnt+"/containers/c1/with space")); diff != "" {
		t.Errorf("of a nested subvolume (-want +got):\n%s", diff)
	}
	if got := listPaths(t, mnt+"/containers/plain"); got != nil {
		t.Errorf("of an empty directory: %q", got)
	}
	// A subvolume of its own mounted elsewhere lists only its own.
	must(t, os.Mkdir(mnt+"/at", 0o700))
	must(t, unix.Mount(mnt+"/containers/c1", mnt+"/at", "", unix.MS_BIND, ""))
	t.Cleanup(func() { testfs.Unmount(t, mnt+"/at") })
	if diff := cmp.Diff(sorted(nestedPaths), listPaths(t, mnt+"/at")); diff != "" {
		t.Errorf("of a bind mount (-want +got):\n%s", diff)
	}
	subs, err := List(mnt)
	must(t, err)
	for _, s := range subs {
		st, err := Stat(mnt + "/" + s.Path)
		must(t, err)
		s.Path, s.Generation, st.Generation = "", 0, 0
		if diff := cmp.Diff(st, s); diff != "" {
			t.Errorf("List and Stat differ (-Stat +List):\n%s", diff)
		}
	}
	_, err = List(t.TempDir())
	wantErr(t, "List elsewhere", err, unix.ENOTTY)
	_, err = List(mnt + "/none")
	wantErr(t, "List of nothing", err, fs.ErrNotExist)
}

// More subvolumes than one search returns.
func TestManyNested(t *testing.T) {
	mnt := newFS(t)
	src := mnt + "/src"
	must(t, CreateSubvolume(src))
	const n = 300
	for i := range n {
		must(t, CreateSubvolume(fmt.Sprintf("%s/%03d-%s", src, i, strings.Repeat("x", 200))))
	}
	if got := len(listPaths(t, src)); got != n {
		t.Errorf("%d of %d are listed", got, n)
	}
	must(t, DeleteTree(t.Context(), src))
	if got := listPaths(t, mnt); len(got) != 0 {
		t.Errorf("left over: %q", got)
	}
}

// makeDeep makes a subvolume in a directory deeper than any path can be, as a
// guest does with chdir, and returns the directory.
func makeDeep(t *testing.T, root string) *os.File {
	t.Helper()
	dir, err := openDir(root)
	must(t, err)
	for range 40 {
		must(t, unix.Mkdirat(int(dir.Fd()), strings.Repeat("d", 200), 0o700))
		next, err := openAt(int(dir.Fd()), strings.Repeat("d", 200), unix.O_NOFOLLOW)
		must(t, errors.Join(err, dir.Close()))
		dir = next
	}
	t.Cleanup(func() { _ = dir.Close() })
	must(t, CreateSubvolume(root+"/tmp"))
	must(t, CreateSubvolume(root+"/tmp/inner"))
	must(t, unix.Renameat(unix.AT_FDCWD, root+"/tmp", int(dir.Fd()), "deep"))
	return dir
}

func TestTreeDeeperThanPaths(t *testing.T) {
	mnt := newFS(t)
	src := mnt + "/src"
	makeTree(t, src)
	dir := makeDeep(t, src)
	subs, err := List(src)
	must(t, err)
	unnamed := slices.DeleteFunc(subs, func(s Subvolume) bool { return s.Path != "" })
	if len(unnamed) != 2 || unnamed[0].Name != "deep" || unnamed[1].Name != "inner" {
		t.Errorf("without a path: %+v", unnamed)
	}
	must(t, dir.Close())
	must(t, SnapshotTree(t.Context(), src, mnt+"/snap", true))
	if got, want := len(listPaths(t, mnt+"/snap")), len(nestedPaths)+2; got != want {
		t.Errorf("the snapshot has %d nested subvolumes, not %d", got, want)
	}
	must(t, DeleteTree(t.Context(), mnt+"/snap"))
	must(t, DeleteTree(t.Context(), src))
	if got := listPaths(t, mnt); len(got) != 0 {
		t.Errorf("left over: %q", got)
	}
}

// A guest that swaps its directories for symbolic links or mounts must not
// make anything outside its subvolume change.
func TestTreeFollowsNothing(t *testing.T) {
	mnt := newFS(t)
	must(t, CreateSubvolume(mnt+"/victim"))
	must(t, CreateSubvolume(mnt+"/victim/a"))
	src := mnt + "/src"
	must(t, CreateSubvolume(src))
	must(t, os.Mkdir(src+"/dir", 0o700))
	must(t, CreateSubvolume(src+"/dir/a"))
	must(t, os.Rename(src+"/dir", src+"/real"))
	must(t, os.Symlink("../victim", src+"/dir")) // the name that dir had
	must(t, os.Symlink("/", src+"/real/root"))
	must(t, unix.Mount(mnt+"/victim", src+"/real", "", unix.MS_BIND, "")) // over the directory
	t.Cleanup(func() { _ = unix.Unmount(src+"/real", unix.MNT_DETACH) })
	must(t, SnapshotTree(t.Context(), src, mnt+"/snap", false))
	if got := listPaths(t, mnt+"/snap"); !slices.Equal(got, []string{"real/a"}) {
		t.Errorf("the snapshot has %q", got)
	}
	must(t, DeleteTree(t.Context(), mnt+"/snap"))
	must(t, SetReadOnlyTree(t.Context(), src, true))
	must(t, DeleteTree(t.Context(), src))
	for _, p := range []string{"/victim", "/victim/a"} {
		if ro, err := IsReadOnly(mnt + p); err != nil || ro {
			t.Errorf("%s: %v, %v", p, ro, err)
		}
	}
}

// A snapshot of a tree that is being changed all the time must work, and so
// must the deletion of what it made.
func TestSnapshotTreeOfChangingTree(t *testing.T) {
	mnt := newFS(t)
	src := mnt + "/src"
	makeTree(t, src)
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			a, b := fmt.Sprintf("%s/new%d", src, i), fmt.Sprintf("%s/dir/moved%d", src, i)
			err := errors.Join(CreateSubvolume(a), CreateSubvolume(a+"/nested"), os.Rename(a, b))
			if i >= 5 { // leave a few
				err = errors.Join(err, DeleteTree(context.Background(), fmt.Sprintf("%s/dir/moved%d", src, i-5)))
			}
			time.Sleep(time.Millisecond)
			if err != nil {
				done <- err
				return
			}
		}
	}()
	for i := range 20 {
		snap := fmt.Sprintf("%s/snap%d", mnt, i)
		must(t, SnapshotTree(t.Context(), src, snap, i%2 == 0))
		must(t, DeleteTree(t.Context(), snap))
	}
	close(stop)
	must(t, <-done)
	must(t, DeleteTree(t.Context(), src))
	if got := listPaths(t, mnt); len(got) != 0 {
		t.Errorf("left over: %q", got)
	}
}

// cancelAfter is a context that ends at its n-th look: between two steps.
type cancelAfter struct {
	context.Context
	left int
}

func (c *cancelAfter) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// Cancelled after any step, nothing is left of a snapshot, and flags are as
// they were; a cancelled deletion can be finished.
func TestTreeCancelledAnywhere(t *testing.T) {
	mnt := newFS(t)
	src, snap := mnt+"/src", mnt+"/snap"
	makeTree(t, src)
	must(t, SetReadOnly(src+"/dir/b", true))
	for n := 0; ; n++ {
		err := SnapshotTree(&cancelAfter{t.Context(), n}, src, snap, true)
		if err == nil {
			if n < len(nestedPaths) {
				t.Errorf("only %d looks at the context", n)
			}
			break
		}
		wantErr(t, "cancelled SnapshotTree", err, context.Canceled)
		if got := listPaths(t, mnt); len(got) != len(nestedPaths)+1 {
			t.Fatalf("cancelled after %d steps, it left %q", n, got)
		}
	}
	for n := 0; ; n++ {
		err := SetReadOnlyTree(&cancelAfter{t.Context(), n}, src, true)
		if err == nil {
			break
		}
		wantErr(t, "cancelled SetReadOnlyTree", err, context.Canceled)
		for _, p := range append([]string{""}, nestedPaths...) {
			if ro, err := IsReadOnly(src + "/" + p); err != nil || ro != (p == "dir/b") {
				t.Fatalf("cancelled after %d steps, %q is read-only: %v, %v", n, p, ro, err)
			}
		}
	}
	for n := 0; ; n++ {
		err := DeleteTree(&cancelAfter{t.Context(), n}, src)
		if err == nil {
			break
		}
		wantErr(t, "cancelled DeleteTree", err, context.Canceled)
	}
	must(t, DeleteTree(t.Context(), snap))
}

// countdown is a context that ends when it was asked so often whether it has.
type countdown struct {
	context.Context
	left int
}

func (c *countdown) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}

// An error in the middle must be undone too.
func TestSnapshotTreeUndoes(t *testing.T) {
	mnt := newFS(t)
	src := mnt + "/src"
	makeTree(t, src)
	run(t, "chattr", "+i", src+"/dir")
	t.Cleanup(func() { run(t, "chattr", "-i", src+"/dir") })
	undone := 0
	for n := range 100 {
		err := SnapshotTree(&countdown{t.Context(), n}, src, mnt+"/snap", true)
		if err == nil {
			break
		}
		undone++
		wantErr(t, "SnapshotTree that is cancelled", err, context.Canceled)
		if got := listPaths(t, mnt); len(got) != len(nestedPaths)+1 || exists(t, mnt+"/snap") {
			t.Fatalf("not undone after %d: %q", n, got)
		}
	}
	if undone < len(nestedPaths) || !exists(t, mnt+"/snap") {
		t.Errorf("undone %d times", undone)
	}
}

// TestProtectedTree: subvolumes in directories that are immutable or append-only, or that are so themselves, are copied, with
// the flags and the times of their directories, and deleted.
func TestProtectedTree(t *testing.T) {
	for _, flag := range []string{"i", "a"} {
		mnt := newFS(t)
		src := mnt + "/src"
		makeTree(t, src)
		protected := []string{"/dir", "/" + nestedPaths[0]}
		for _, path := range protected {
			run(t, "chattr", "+"+flag, src+path)
		}
		times := func(path string) unix.Stat_t {
			var st unix.Stat_t
			must(t, unix.Stat(path, &st))
			return st
		}
		for _, ro := range []bool{false, true} {
			snap := fmt.Sprint(mnt, "/snap", ro)
			must(t, SnapshotTree(t.Context(), src, snap, ro))
			for _, path := range protected {
				f, err := os.Open(snap + path)
				must(t, err)
				flags, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
				must(t, errors.Join(err, f.Close()))
				if flags&protectingFlags == 0 {
					t.Errorf("%s%s has the flags %#x", snap, path, flags)
				}
				if a, b := times(src+path), times(snap+path); a.Mtim != b.Mtim {
					t.Errorf("%s: %v, in the copy %v", path, a.Mtim, b.Mtim)
				}
			}
			must(t, DeleteTree(t.Context(), snap))
		}
		must(t, DeleteTree(t.Context(), src))
		if left := listPaths(t, mnt); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	}
}

func TestTreeWithoutTime(t *testing.T) {
	mnt := newFS(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	<-ctx.Done()
	must(t, CreateSubvolume(mnt+"/a"))
	wantErr(t, "DeleteTree without time", DeleteTree(ctx, mnt+"/a"), context.DeadlineExceeded)
	wantErr(t, "SnapshotTree without time", SnapshotTree(ctx, mnt+"/a", mnt+"/b", false), context.DeadlineExceeded)
	if !exists(t, mnt+"/a") || exists(t, mnt+"/b") {
		t.Error("something was done without time")
	}
}
