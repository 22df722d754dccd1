package extents

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poolctl/btrfs"
	"poolctl/fixtures/testfs"
)

// A file that is deleted while it is open is in the tree, and takes its space, but
// no name leads to it.
func TestReadNamelessFile(t *testing.T) {
	mnt := newFS(t, "")
	must(t, btrfs.CreateSubvolume(mnt+"/a"))
	write(t, mnt+"/a/file", 1<<20, 1)
	must(t, btrfs.Snapshot(mnt+"/a", mnt+"/b", true))
	f, err := os.Open(mnt + "/a/file")
	must(t, err)
	defer f.Close()
	must(t, os.Remove(mnt+"/a/file"))
	s := compare(t, mnt)
	subs, err := btrfs.List(mnt)
	must(t, err)
	if u, err := s.Of(subs[0].ID); err != nil || u.Referenced.Data != 1<<20 || u.Files.Total != 0 {
		t.Errorf("usage: %+v, %v", u, err)
	}
}

// deviceImages attaches n images of one file system and returns the devices.
func deviceImages(t testing.TB, n int) []string {
	t.Helper()
	dir := t.TempDir()
	var devices []string
	for i := range n {
		path := filepath.Join(dir, fmt.Sprint(i))
		must(t, errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 300<<20)))
		dev := strings.TrimSpace(command(t, "losetup", "--find", "--show", path))
		t.Cleanup(func() {
			command(t, "btrfs", "device", "scan", "--forget", dev)
			command(t, "losetup", "-d", dev)
		})
		devices = append(devices, dev)
	}
	return devices
}

func TestReadProfiles(t *testing.T) {
	devices := deviceImages(t, 4)
	for _, profile := range []string{"single", "dup", "raid0", "raid1", "raid1c3", "raid10", "raid5", "raid6"} {
		t.Run(profile, func(t *testing.T) {
			command(t, "mkfs.btrfs", append([]string{"-q", "-f", "-m", profile, "-d", "single"}, devices...)...)
			mnt := filepath.Join(t.TempDir(), "mnt")
			must(t, os.Mkdir(mnt, 0o700))
			command(t, "mount", "-t", "btrfs", devices[0], mnt)
			defer testfs.Unmount(t, mnt)
			must(t, btrfs.CreateSubvolume(mnt+"/a"))
			for i := range 200 { // many leaves, so that they are on all devices
				write(t, fmt.Sprintf("%s/a/%d", mnt, i), 2000, 1)
			}
			must(t, btrfs.Snapshot(mnt+"/a", mnt+"/b", true))
			write(t, mnt+"/a/other", 1<<20, 1)
			compare(t, mnt)
		})
	}
}

// A tree block that is damaged in one copy is read from the other; in both, it is
// an error that says so.
func TestReadDamage(t *testing.T) {
	image := newImage(t, "-m", "dup")
	mnt := testfs.Mount(t, image, "")
	must(t, btrfs.CreateSubvolume(mnt+"/a"))
	for i := range 200 {
		write(t, fmt.Sprintf("%s/a/%d", mnt, i), 2000, 1)
	}
	must(t, btrfs.Sync(mnt))
	want, err := Read(t.Context(), mnt, Options{})
	must(t, err)

	copies := leafCopies(t, mnt)
	f, err := os.OpenFile(image, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	damage := func(at place) (undo func()) {
		was := make([]byte, 512)
		_, err := f.ReadAt(was, int64(at.offset)+4096)
		must(t, err)
		other := make([]byte, len(was)) // zeros would change nothing where a leaf is empty
		for i := range was {
			other[i] = ^was[i]
		}
		_, err = f.WriteAt(other, int64(at.offset)+4096)
		must(t, err)
		return func() { _, err := f.WriteAt(was, int64(at.offset)+4096); must(t, err) }
	}
	defer damage(copies[0])()
	got, err := Read(t.Context(), mnt, Options{})
	must(t, err)
	a, _ := want.Of(want.Subvolumes()[1])
	if b, err := got.Of(want.Subvolumes()[1]); err != nil || a != b {
		t.Errorf("one copy damaged: %+v, %v, want %+v", b, err, a)
	}
	defer damage(copies[1])()
	if _, err := Read(t.Context(), mnt, Options{}); err == nil || !strings.Contains(err.Error(), "damaged") || errors.Is(err, ErrBusy) {
		t.Errorf("both copies damaged: %v", err)
	}
}

// leafCopies is where a leaf of the last subvolume is.
func leafCopies(t testing.TB, mnt string) []place {
	t.Helper()
	info, err := btrfs.FSInfo(mnt)
	must(t, err)
	d, err := openDisks(map[uint64]string{1: info.Devices[0].Path})
	must(t, err)
	defer d.Close()
	super, err := d.superblock()
	must(t, err)
	r := &reader{disks: d, super: super}
	must(t, r.open(t.Context()))
	roots, _, err := r.roots(t.Context())
	must(t, err)
	last := roots[len(roots)-1]
	var leaf pointer
	must(t, r.blocks(t.Context(), last.level, []pointer{last.top}, func(_ int, block []byte) error {
		below, _, err := children(block)
		leaf = below[len(below)/2]
		return err
	}))
	c, err := r.chunks.find(leaf.bytenr)
	must(t, err)
	copies, _ := c.locate(leaf.bytenr)
	if len(copies) != 2 {
		t.Fatalf("a leaf has %d copies", len(copies))
	}
	return copies
}

// While others write and commit all the time, the answer is that of one commit.
func TestReadWhileBusy(t *testing.T) {
	mnt := newFS(t, "")
	must(t, btrfs.CreateSubvolume(mnt+"/still"))
	must(t, btrfs.CreateSubvolume(mnt+"/busy"))
	write(t, mnt+"/still/file", 1<<20, 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		for i := 0; ctx.Err() == nil; i++ {
			err := os.WriteFile(fmt.Sprintf("%s/busy/%d", mnt, i%500), make([]byte, 5000), 0o600)
			if i%20 == 0 {
				err = errors.Join(err, btrfs.Sync(mnt))
			}
			if err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	id := uint64(0)
	subs, err := btrfs.List(mnt)
	must(t, err)
	for _, s := range subs {
		if s.Path == "still" {
			id = s.ID
		}
	}
	for range 10 {
		s, err := Read(ctx, mnt, Options{})
		must(t, err)
		if u, err := s.Of(id); err != nil || u.Exclusive.Data != 1<<20 || u.Files.Total != 1<<20 {
			t.Errorf("usage: %+v, %v", u, err)
		}
	}
	cancel()
	must(t, <-ended)
}

// A subvolume that is deleted no longer shares, also while it is being freed.
func TestReadDeleted(t *testing.T) {
	mnt := newFS(t, "")
	must(t, btrfs.CreateSubvolume(mnt+"/a"))
	write(t, mnt+"/a/file", 1<<20, 1)
	must(t, btrfs.Snapshot(mnt+"/a", mnt+"/b", true))
	must(t, btrfs.DeleteSubvolume(mnt+"/b"))
	s, err := Read(t.Context(), mnt, Options{})
	must(t, err)
	if u, err := s.Of(s.Subvolumes()[1]); err != nil || len(s.Subvolumes()) != 2 || u.Exclusive != u.Referenced {
		t.Errorf("%v: %+v, %v", s.Subvolumes(), u, err)
	}
}

func TestReadCancelled(t *testing.T) {
	mnt := newFS(t, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, mnt, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Read: %v", err)
	}
}

// Nothing is written, so a file system that became read-only can be read.
func TestReadOnlyFS(t *testing.T) {
	mnt := newFS(t, "")
	write(t, mnt+"/file", 1<<20, 1)
	must(t, btrfs.Sync(mnt))
	command(t, "mount", "-o", "remount,ro", mnt)
	s, err := Read(t.Context(), mnt, Options{})
	must(t, err)
	if u, err := s.Of(5); err != nil || u.Exclusive.Data != 1<<20 {
		t.Errorf("usage: %+v, %v", u, err)
	}
}

// What Of says deleting frees is what it frees: the data to the byte; of the
// metadata, also the other trees (checksums, extents) become smaller then, by less
// than 1 MiB here.
func TestDeletingFrees(t *testing.T) {
	const noise = 1 << 20
	mnt := newFS(t, "")
	must(t, btrfs.CreateSubvolume(mnt+"/a"))
	for i := range 300 {
		write(t, fmt.Sprintf("%s/a/%d", mnt, i), 40000, uint64(i))
	}
	for i, name := range []string{"b", "c", "d"} {
		must(t, btrfs.Snapshot(mnt+"/a", mnt+"/"+name, false))
		for n := range 100 {
			write(t, fmt.Sprintf("%s/%s/%d", mnt, name, 50*i+n), 50000, uint64(1000*i+n))
		}
	}
	must(t, exec.Command("cp", "--reflink=always", mnt+"/c/60", mnt+"/a/copy").Run())
	settle(t, mnt)
	s, err := Read(t.Context(), mnt, Options{})
	must(t, err)
	before, err := btrfs.GetUsage(mnt)
	must(t, err)
	var ids []uint64
	for _, name := range []string{"b", "c"} {
		sub, err := btrfs.Stat(mnt + "/" + name)
		must(t, err)
		ids = append(ids, sub.ID)
		must(t, btrfs.DeleteSubvolume(mnt+"/"+name))
	}
	u, err := s.Of(ids...)
	must(t, err)
	settle(t, mnt)
	for range 100 { // the usage of block groups is updated a moment after the commit
		after, err := btrfs.GetUsage(mnt)
		must(t, err)
		data, metadata := before.Data.Used-after.Data.Used, before.Metadata.Used-after.Metadata.Used
		if data == u.Exclusive.Data && metadata >= u.Exclusive.Metadata && metadata < u.Exclusive.Metadata+noise {
			return
		}
		t.Logf("freed: data %d, metadata %d; said were %+v", data, metadata, u.Exclusive)
		time.Sleep(100 * time.Millisecond)
		must(t, btrfs.Sync(mnt))
	}
	t.Error("deleting does not free what Of says")
}
