package pool

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/pool/journal"
)

// A pool that cannot be attached, its file being on a disk that is not plugged in
// for example, is told of, and does not keep anybody from the other pools.
func TestUnavailablePool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "away", nil)
	createPool(t, s, "here", nil)
	addInstance(t, s, "here", "c1")
	if err := s.DetachPool(ctx, "away"); err != nil {
		t.Fatal(err)
	}
	rec, err := s.dir.LoadPool("away")
	if err != nil {
		t.Fatal(err)
	}
	rec.Detached = false // as after a reboot
	img := s.dir.DiskFile("away")
	if err := errors.Join(s.dir.SavePool(rec), os.Rename(img, img+".away")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Rename(img+".away", img) })
	var told []string
	s.notice = func(l string) { told = append(told, l) }
	if all, err := s.Instances(ctx); err != nil || len(all) != 1 {
		t.Errorf("Instances() = %+v, %v", all, err)
	}
	if !strings.Contains(strings.Join(told, "\n"), "away") {
		t.Errorf("the pool that is left out is not told of: %q", told)
	}
	if all, err := s.Images(ctx, ""); err != nil || len(all) != 1 {
		t.Errorf("Images() = %+v, %v", all, err)
	}
	if _, err := s.Snapshots(ctx, "c1"); err != nil {
		t.Error(err)
	}
	if name, err := s.freeName(ctx, "c2"); err != nil || name != "c2" {
		t.Errorf("a new name: %q, %v", name, err)
	}
	if _, err := s.freeName(ctx, "c1"); !errors.Is(err, ErrExists) {
		t.Errorf("a taken name: %v", err)
	}
	_, err = s.Snapshots(ctx, "c9")
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("an instance that may be in the pool that is away: %v", err)
	}
	if _, err := s.Images(ctx, "away"); err == nil {
		t.Error("the images of the pool that is away were listed")
	}
}

// What a killed command left and cannot be undone yet, such as a mount that is in
// use, does not keep the next commands from their work; it is undone later.
func TestStuckUndoIsTold(t *testing.T) {
	s := newSystem(t)
	ctx := context.Background()
	mp := s.dir.MountPoint("half")
	if err := errors.Join(os.Mkdir(mp, 0o700), unix.Mount("tmpfs", mp, "tmpfs", 0, "size=64k")); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(mp, unix.MNT_DETACH) }()
	busy, err := os.Create(mp + "/busy")
	if err != nil {
		t.Fatal(err)
	}
	e, err := journal.Begin(ctx, s.journalDir(), "pool-create", creating{Name: "half", Path: s.dir.DiskFile("half")})
	if err == nil {
		err = e.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	var told string
	again, err := Open(ctx, Options{Root: s.dir.Root, Notice: func(l string) { told += l }})
	if err != nil {
		t.Fatalf("Open with an undo that cannot be done yet: %v", err)
	}
	if !strings.Contains(told, mp) {
		t.Errorf("told: %q; want what could not be undone", told)
	}
	if _, err := again.Pools(ctx); err != nil {
		t.Error(err)
	}
	if err := busy.Close(); err != nil {
		t.Fatal(err)
	}
	told = ""
	if _, err := Open(ctx, Options{Root: s.dir.Root, Notice: func(l string) { told += l }}); err != nil || told != "" {
		t.Errorf("later: %v, told %q", err, told)
	}
	if mounted, err := isMountPoint(mp); err != nil || mounted {
		t.Errorf("later it is still mounted: %v", err)
	}
}
