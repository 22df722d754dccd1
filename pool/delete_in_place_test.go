package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/btrfs"
	"poolctl/pool/tree"
)

// TestDeleteInFullMetadata: in a pool whose metadata is full, what the user deletes for good is deleted, and what there is no
// room for in the trash as well.
func TestDeleteInFullMetadata(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", map[string]string{"size": "256MiB"})
	for _, name := range []string{"c1", "c2", "full"} {
		busyboxInstance(t, s, "p1", name)
	}
	for _, name := range []string{"c1", "c2"} {
		for range 3 {
			_, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: name})
			ok(t, err)
		}
	}
	createVolume(t, s, "p1", "v", nil)
	root := filepath.Join(s.dir.MountPoint("p1"), "containers/full/rootfs")
	if err := fillUp(filepath.Join(root, "data"), 1<<20); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	links := 0
	for _, remove := range []func() error{
		func() error { return s.DeleteSnapshot(ctx, "c1", "snap0") },
		func() error { return s.TrashSnapshot(ctx, "c1", "snap1") },
		func() error { return s.TrashInstance(ctx, "c1", false) },
		func() error { return s.deleteInstance(ctx, "c2", false, forGood) },
		func() error { return s.DeleteVolume(ctx, "p1", "v") },
	} {
		for failed := 0; failed < 3; links++ {
			if err := os.Symlink(strings.Repeat("x", 3000), filepath.Join(root, fmt.Sprint("link", links))); err != nil {
				failed++
				ok(t, btrfs.Sync(root))
			}
		}
		ok(t, remove())
	}
	for _, gone := range []string{"containers/c1", "containers/c2", "containers-snapshots/c1", "containers-snapshots/c2", "custom/default_v"} {
		if _, err := os.Lstat(filepath.Join(s.dir.MountPoint("p1"), gone)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left: %v", gone, err)
		}
	}
	ok(t, s.deleteInstance(ctx, "full", false, forGood))
	openAgain(t, s)
}

// TestDeleteInPlaceIsFinished: killed in the middle of it, the next command goes on; and it leaves another one of that name alone.
func TestDeleteInPlaceIsFinished(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	busyboxInstance(t, s, "p1", "c1")
	for range 2 {
		_, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1"})
		ok(t, err)
	}
	in, err := s.lockInstance(ctx, "c1")
	ok(t, err)
	doomed, err := in.Identified(tree.Doomed{Kind: tree.KindInstance, Name: "c1"})
	ok(t, err, in.close())
	lostEntry(t, s, opDeleteInPlace, deletingInPlace{"p1", doomed})
	ok(t, btrfs.DeleteTree(ctx, filepath.Join(s.dir.MountPoint("p1"), "containers-snapshots/c1/snap0")))
	openAgain(t, s)
	if _, err := s.Snapshots(ctx, "c1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is not deleted: %v", err)
	}
	busyboxInstance(t, s, "p1", "c1")
	lostEntry(t, s, opDeleteInPlace, deletingInPlace{"p1", doomed})
	openAgain(t, s)
	if _, err := s.Snapshots(ctx, "c1"); err != nil {
		t.Errorf("another one was deleted: %v", err)
	}
	lostEntry(t, s, opDeleteInPlace, deletingInPlace{"gone", doomed})
	openAgain(t, s)
}
