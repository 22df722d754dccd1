package btrfs

import (
	"context"
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/fixtures/testfs"
)

// enable turns quotas on in a new file system, or skips where the kernel has no
// simple ones.
func enable(t *testing.T, mnt string, mode QuotaMode) {
	t.Helper()
	err := EnableQuota(mnt, mode)
	if errors.Is(err, ErrSimpleQuota) {
		testfs.NeedKernel(t, 6, 7, err)
	}
	must(t, err)
	must(t, RescanQuota(t.Context(), mnt))
}

// subvol makes a subvolume and returns its qgroup.
func subvol(t *testing.T, path string) QgroupID {
	t.Helper()
	must(t, CreateSubvolume(path))
	return qgroupOf(t, path)
}

func qgroupOf(t *testing.T, path string) QgroupID {
	t.Helper()
	s, err := Stat(path)
	must(t, err)
	return MakeQgroupID(0, s.ID)
}

// fill appends to a file until it fails, or max bytes are written, and returns how many were.
func fill(t *testing.T, path string, max int) (written int, err error) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	must(t, err)
	block := make([]byte, 256<<10)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for err == nil && written < max {
		var n int
		n, err = f.Write(block)
		written += n
	}
	err = errors.Join(err, f.Sync())
	return written, errors.Join(err, f.Close())
}

func TestQuotaModes(t *testing.T) {
	mnt := newFS(t)
	status := func(want QuotaMode) {
		t.Helper()
		st, err := Quota(mnt)
		must(t, err)
		if st.Mode != want || st.Inconsistent {
			t.Errorf("the mode is %+v, want %s", st, want)
		}
	}
	status(QuotaNone)
	if groups, err := Qgroups(mnt); err != nil || len(groups) != 0 {
		t.Errorf("without quotas: %v, %v", groups, err)
	}
	wantErr(t, "a qgroup without quotas", CreateQgroup(mnt, MakeQgroupID(1, 7)), unix.ENOTCONN)
	must(t, RescanQuota(t.Context(), mnt))
	for _, mode := range []QuotaMode{QuotaFull, QuotaSimple} {
		for range 2 {
			err := EnableQuota(mnt, mode)
			if errors.Is(err, ErrSimpleQuota) {
				testfs.NeedKernel(t, 6, 7, err)
			}
			must(t, err)
		}
		must(t, RescanQuota(t.Context(), mnt))
		status(mode)
		wantErr(t, "the other mode", EnableQuota(mnt, QuotaFull+QuotaSimple-mode), unix.EBUSY)
		if mode == QuotaFull {
			must(t, DisableQuota(mnt))
			status(QuotaNone)
		}
	}
	must(t, DisableQuota(mnt))
	must(t, DisableQuota(mnt))
	status(QuotaNone)
}

func TestQgroups(t *testing.T) {
	for _, mode := range []QuotaMode{QuotaFull, QuotaSimple} {
		t.Run(mode.String(), func(t *testing.T) {
			mnt := newFS(t)
			enable(t, mnt, mode)
			a, b := subvol(t, mnt+"/a"), subvol(t, mnt+"/b")
			_, err := fill(t, mnt+"/a/data", 8<<20)
			must(t, err)
			must(t, Snapshot(mnt+"/a", mnt+"/snap", true))
			snap := qgroupOf(t, mnt+"/snap")
			high := MakeQgroupID(1, 777)
			must(t, CreateQgroup(mnt, high))
			wantErr(t, "a second one", CreateQgroup(mnt, high), fs.ErrExist)
			must(t, AssignQgroup(mnt, b, high))
			wantErr(t, "assigned again", AssignQgroup(mnt, b, high), fs.ErrExist)
			must(t, LimitQgroup(mnt, high, 5<<20))
			must(t, Sync(mnt))
			groups, err := Qgroups(mnt)
			must(t, err)
			if g := groups[a]; g.Referenced < 8<<20 || g.Referenced > 9<<20 || g.MaxReferenced != NoLimit {
				t.Errorf("a: %+v", g)
			}
			wantSnap := uint64(8 << 20)
			if mode == QuotaSimple {
				wantSnap = 0 // it wrote nothing
			}
			if g := groups[snap]; g.Referenced < wantSnap || g.Referenced > wantSnap+(1<<20) {
				t.Errorf("snapshot: %+v", g)
			}
			if g := groups[high]; g.MaxReferenced != 5<<20 || g.MaxExclusive != NoLimit || !slices.Equal(g.Children, []QgroupID{b}) {
				t.Errorf("%s: %+v", high, g)
			}
			if g := groups[b]; !slices.Equal(g.Parents, []QgroupID{high}) {
				t.Errorf("b: %+v", g)
			}
			if n, err := fill(t, mnt+"/b/data", 16<<20); !errors.Is(err, unix.EDQUOT) || n > 5<<20 {
				t.Errorf("wrote %d, %v", n, err)
			}
			wantErr(t, "destroyed with a member", DestroyQgroup(mnt, high), unix.EBUSY)
			must(t, LimitQgroup(mnt, high, NoLimit))
			if n, err := fill(t, mnt+"/b/data2", 8<<20); err != nil || n != 8<<20 {
				t.Errorf("without limit: wrote %d, %v", n, err)
			}
			must(t, UnassignQgroup(mnt, b, high))
			wantErr(t, "taken out again", UnassignQgroup(mnt, b, high), fs.ErrNotExist)
			must(t, DestroyQgroup(mnt, high))
			wantErr(t, "destroyed again", DestroyQgroup(mnt, high), fs.ErrNotExist)
		})
	}
}

// With simple quotas, what is made in a subvolume is counted where the
// subvolume is: the kernel does it.
func TestSimpleQuotasInherit(t *testing.T) {
	mnt := newFS(t)
	enable(t, mnt, QuotaSimple)
	a := subvol(t, mnt+"/a")
	high := MakeQgroupID(1, a.Number())
	must(t, CreateQgroup(mnt, high))
	must(t, AssignQgroup(mnt, a, high))
	must(t, LimitQgroup(mnt, high, 4<<20))
	nested := subvol(t, mnt+"/a/nested")
	must(t, Snapshot(mnt+"/a/nested", mnt+"/a/nestedsnap", false))
	must(t, Snapshot(mnt+"/a", mnt+"/outside", false))
	groups, err := Qgroups(mnt)
	must(t, err)
	if g := groups[high]; !slices.Equal(g.Children, []QgroupID{a, nested, qgroupOf(t, mnt+"/a/nestedsnap")}) {
		t.Errorf("%+v", g)
	}
	if n, err := fill(t, mnt+"/a/nested/data", 16<<20); !errors.Is(err, unix.EDQUOT) || n > 4<<20 {
		t.Errorf("nested: wrote %d, %v", n, err)
	}
	if n, err := fill(t, mnt+"/outside/data", 8<<20); err != nil {
		t.Errorf("the snapshot outside has no limit: wrote %d, %v", n, err)
	}
}

// Referenced has to be what full qgroups count.
func TestReferencedAgainstQgroups(t *testing.T) {
	mnt := newFS(t)
	enable(t, mnt, QuotaFull)
	a := subvol(t, mnt+"/a")
	for i := range 3000 {
		write(t, mnt+"/a/inline"+strconv.Itoa(i), "in the metadata, with a name that takes some room")
	}
	_, err := fill(t, mnt+"/a/data", 8<<20)
	must(t, err)
	must(t, os.Truncate(mnt+"/a/data", 5<<20)) // a part of an extent keeps all of it
	sparse, err := os.Create(mnt + "/a/sparse")
	must(t, err)
	_, err = sparse.WriteAt([]byte("far"), 1<<30)
	must(t, errors.Join(err, unix.Fallocate(int(sparse.Fd()), 0, 0, 1<<20), sparse.Close()))
	clone(t, mnt+"/a/data", mnt+"/a/clone")
	must(t, Snapshot(mnt+"/a", mnt+"/b", false))
	for i := range 2000 {
		must(t, os.Remove(mnt+"/b/inline"+strconv.Itoa(i)))
	}
	must(t, Sync(mnt))
	groups, err := Qgroups(mnt)
	must(t, err)
	for path, id := range map[string]QgroupID{"/a": a, "/b": qgroupOf(t, mnt+"/b")} {
		n, err := Referenced(t.Context(), mnt+path)
		must(t, err)
		if n != groups[id].Referenced {
			t.Errorf("%s references %d, its qgroup has %d", path, n, groups[id].Referenced)
		}
	}
}

// What a snapshot has beyond another one is counted the same whether only what was written since is read, or all of both.
func TestReferencedBeyond(t *testing.T) {
	mnt := newFS(t)
	must(t, CreateSubvolume(mnt+"/a"))
	more := func(path string, size int) {
		t.Helper()
		_, err := fill(t, mnt+path, size)
		must(t, errors.Join(err, Sync(mnt)))
	}
	more("/a/1", 8<<20)
	must(t, CreateSubvolume(mnt+"/a/nested"))
	must(t, SnapshotTree(t.Context(), mnt+"/a", mnt+"/s1", true))
	more("/a/2", 2<<20)
	more("/a/nested/2", 1<<20)
	must(t, SnapshotTree(t.Context(), mnt+"/a", mnt+"/s2", true))
	must(t, os.Remove(mnt+"/a/1"))
	more("/a/3", 4<<20)
	must(t, SnapshotTree(t.Context(), mnt+"/a", mnt+"/s3", true))
	// Another line: what is deleted in it, the first one still has.
	must(t, SnapshotTree(t.Context(), mnt+"/s1", mnt+"/b", false))
	must(t, os.Remove(mnt+"/b/1"))
	must(t, SnapshotTree(t.Context(), mnt+"/b", mnt+"/t1", true))
	for _, c := range []struct {
		has, paths string
		mib        uint64
	}{
		{"", "s1", 8},
		{"", "s1 s2 s3 a", 15},
		{"s1", "s2", 3},
		{"s1", "s2 s3", 7},
		{"s1 s2", "s3 a", 4},
		{"s1", "a", 7},
		{"s3", "s1", 8},
		{"s2 s3", "s1", 0},
		{"t1", "s2", 11},
		{"t1", "s1", 8},
		{"s2", "t1", 0},
		{"s1", "s1", 0},
	} {
		under := func(names string) (paths []string) {
			for _, n := range strings.Fields(names) {
				paths = append(paths, mnt+"/"+n)
			}
			return paths
		}
		got, err := ReferencedBeyond(t.Context(), under(c.has), under(c.paths))
		must(t, err)
		if got.Data != c.mib<<20 || got.Disk != c.mib<<20 {
			t.Errorf("%s beyond %q: %+v, want %d MiB", c.paths, c.has, got, c.mib)
		}
	}
}

func clone(t *testing.T, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	must(t, err)
	dst, err := os.Create(to)
	must(t, err)
	must(t, errors.Join(unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())), src.Close(), dst.Close()))
}

// Nested subvolumes count, and what they share counts once.
func TestReferencedNested(t *testing.T) {
	mnt := newFS(t)
	must(t, CreateSubvolume(mnt+"/a"))
	_, err := fill(t, mnt+"/a/data", 8<<20)
	must(t, err)
	must(t, Sync(mnt))
	alone, err := Referenced(t.Context(), mnt+"/a")
	must(t, err)
	must(t, CreateSubvolume(mnt+"/a/with space"))
	_, err = fill(t, mnt+"/a/with space/data", 4<<20)
	must(t, err)
	clone(t, mnt+"/a/data", mnt+"/a/with space/clone")
	must(t, Sync(mnt))
	both, err := Referenced(t.Context(), mnt+"/a")
	must(t, err)
	if more := both - alone; more < 4<<20 || more > 4<<20+256<<10 {
		t.Errorf("%d bytes more with a nested subvolume of 4 MiB", more)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Referenced(ctx, mnt+"/a")
	wantErr(t, "cancelled", err, context.Canceled)
	_, err = Referenced(t.Context(), mnt+"/none")
	wantErr(t, "nothing there", err, fs.ErrNotExist)
}

// Counting what was there before takes the kernel a while: RescanQuota waits.
func TestRescanQuota(t *testing.T) {
	mnt := newFS(t)
	must(t, CreateSubvolume(mnt+"/a"))
	_, err := fill(t, mnt+"/a/data", 16<<20)
	must(t, err)
	must(t, EnableQuota(mnt, QuotaFull))
	must(t, RescanQuota(t.Context(), mnt))
	must(t, Snapshot(mnt+"/a", mnt+"/b", false))
	b, high := qgroupOf(t, mnt+"/b"), MakeQgroupID(1, 1<<40)
	must(t, CreateQgroup(mnt, high))
	must(t, AssignQgroup(mnt, b, high)) // which shares everything
	st, err := Quota(mnt)
	must(t, err)
	t.Logf("after an assignment of what is shared: %+v", st)
	must(t, RescanQuota(t.Context(), mnt))
	must(t, Sync(mnt))
	groups, err := Qgroups(mnt)
	must(t, err)
	if g := groups[high]; g.Referenced < 16<<20 || g.Referenced > 17<<20 {
		t.Errorf("%+v", g)
	}
	if st, err := Quota(mnt); err != nil || st.Inconsistent {
		t.Errorf("%+v, %v", st, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
	defer cancel()
	if err := RescanQuota(ctx, mnt); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	must(t, RescanQuota(t.Context(), mnt))
}

func TestQgroupID(t *testing.T) {
	for _, tt := range []struct {
		id   QgroupID
		text string
	}{
		{MakeQgroupID(0, 5), "0/5"},
		{MakeQgroupID(1, 256), "1/256"},
		{MakeQgroupID(math.MaxUint16, 1<<48-1), "65535/281474976710655"},
	} {
		if tt.id.String() != tt.text {
			t.Errorf("%s, want %s", tt.id, tt.text)
		}
		if id, err := ParseQgroupID(tt.text); err != nil || id != tt.id {
			t.Errorf("%s is read as %s, %v", tt.text, id, err)
		}
	}
	for _, bad := range []string{"", "5", "0/", "/5", "65536/1", "0/281474976710656", "-1/5", "0/5/6"} {
		if id, err := ParseQgroupID(bad); err == nil {
			t.Errorf("%q is read as %s", bad, id)
		}
	}
}

// What the kernel hands out is parsed without a look beyond its end.
func FuzzQgroupItems(f *testing.F) {
	f.Add(make([]byte, 40))
	f.Add(make([]byte, 53))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = parseQuotaStatus(data)
		g, err := parseQgroupInfo(data)
		if err == nil && g.parseLimit(data) != nil {
			t.Error("an item that holds a qgroup holds a limit too")
		}
		_ = rootBytes(data)
		if e, err := parseExtent(data); err != nil && e.start != 0 {
			t.Error("an error and an extent")
		}
	})
}

// A balance writes every extent anew, and simple quotas still count them for who wrote them: a limit holds over it.
func TestSimpleQuotasOverBalance(t *testing.T) {
	mnt := newFS(t)
	enable(t, mnt, QuotaSimple)
	a := subvol(t, mnt+"/a")
	_, err := fill(t, mnt+"/a/data", 12<<20)
	must(t, err)
	must(t, Snapshot(mnt+"/a", mnt+"/snap", true))
	counted := func() uint64 {
		must(t, Sync(mnt))
		groups, err := Qgroups(mnt)
		must(t, err)
		return groups[a].Referenced
	}
	before := counted()
	run(t, "btrfs", "balance", "start", "--full-balance", mnt)
	if after := counted(); after < before-(64<<10) || after > before+(64<<10) {
		t.Errorf("%d bytes are counted after a balance, %d before", after, before)
	}
}
