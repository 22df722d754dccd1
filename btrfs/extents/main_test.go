package extents

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
)

func TestMain(m *testing.M) {
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "extents: the tests make and mount real file systems: run them as root")
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// newFS mounts a new file system, in memory, until the test ends. args are of
// mkfs.btrfs.
func newFS(t testing.TB, options string, args ...string) string {
	t.Helper()
	return testfs.Mount(t, newImage(t, args...), options)
}

func newImage(t testing.TB, args ...string) string {
	t.Helper()
	path := testfs.Image(t, 1<<30)
	must(t, btrfs.Mkfs(context.Background(), path, nil, btrfs.MkfsOptions{ExtraArgs: args}))
	return path
}

func command(t testing.TB, name string, args ...string) string {
	t.Helper()
	return testfs.Run(t, name, args...)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// settle waits until deleted subvolumes are freed.
func settle(t testing.TB, mnt string) {
	t.Helper()
	must(t, btrfs.Sync(mnt))
	for range 600 {
		busy, err := btrfs.Deleting(mnt)
		must(t, err)
		if !busy {
			must(t, btrfs.Sync(mnt))
			return
		}
		time.Sleep(50 * time.Millisecond)
		must(t, btrfs.Sync(mnt))
	}
	t.Fatal("the cleaner does not finish")
}

// du is what btrfs-progs says of the files below path.
func du(t testing.TB, path string) Files {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(command(t, "btrfs", "filesystem", "du", "-s", "--raw", path)), "\n")
	f := strings.Fields(lines[len(lines)-1])
	n := func(i int) uint64 {
		v, err := strconv.ParseUint(f[i], 10, 64)
		must(t, err)
		return v
	}
	return Files{Total: n(0), Exclusive: n(1), SetShared: n(2)}
}

// qgroups are what full quota groups count, by subvolume: referenced and exclusive
// bytes. They are turned on for it, and off again.
func qgroups(t testing.TB, mnt string) map[uint64][2]uint64 {
	t.Helper()
	command(t, "btrfs", "quota", "enable", mnt)
	command(t, "btrfs", "quota", "rescan", "-w", mnt)
	out := map[uint64][2]uint64{}
	for _, line := range strings.Split(command(t, "btrfs", "qgroup", "show", "--raw", "--sync", mnt), "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || !strings.HasPrefix(f[0], "0/") {
			continue
		}
		id, err := strconv.ParseUint(f[0][2:], 10, 64)
		must(t, err)
		rfer, err := strconv.ParseUint(f[1], 10, 64)
		must(t, err)
		excl, err := strconv.ParseUint(f[2], 10, 64)
		must(t, err)
		out[id] = [2]uint64{rfer, excl}
	}
	command(t, "btrfs", "quota", "disable", mnt)
	return out
}

// compare checks everything that Read says of every subvolume below mnt.
func compare(t testing.TB, mnt string) *Sharing {
	t.Helper()
	s, err := Read(context.Background(), mnt, Options{})
	must(t, err)
	groups := qgroups(t, mnt)
	subs, err := btrfs.List(mnt)
	must(t, err)
	if got := s.Subvolumes(); len(got) != len(subs)+1 || got[0] != 5 {
		t.Errorf("Subvolumes: %v, there are %d besides the top level", got, len(subs))
	}
	nested := map[uint64][]uint64{}
	for i := len(subs) - 1; i >= 0; i-- { // sorted by path: the outer ones first
		nested[subs[i].ID] = append(nested[subs[i].ID], subs[i].ID)
		nested[subs[i].ParentID] = append(nested[subs[i].ParentID], nested[subs[i].ID]...)
	}
	for _, sub := range append(subs, btrfs.Subvolume{ID: 5}) {
		u, err := s.Of(sub.ID)
		must(t, err)
		if want := groups[sub.ID]; u.Referenced.Total() != want[0] || u.Exclusive.Total() != want[1] {
			t.Errorf("subvolume %d (%s): referenced %d (%+v), exclusive %d (%+v); quota groups have %v",
				sub.ID, sub.Path, u.Referenced.Total(), u.Referenced, u.Exclusive.Total(), u.Exclusive, want)
		}
		ids := append(nested[sub.ID], sub.ID)
		u, err = s.Of(ids...)
		must(t, err)
		if want := du(t, filepath.Join(mnt, sub.Path)); u.Files != want {
			t.Errorf("files of subvolume %d (%s) and those in it: %+v, btrfs filesystem du has %+v", sub.ID, sub.Path, u.Files, want)
		}
	}
	return s
}
