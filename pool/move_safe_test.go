package pool

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"poolctl/pool/journal"
)

// TestMovedIsOnTheDisk: what was moved to another pool is there after a power cut, since it is nowhere else.
func TestMovedIsOnTheDisk(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	fullInstance(t, s)
	createVolume(t, s, "a", "v", nil)
	img := filepath.Join(s.dir.Disks(), "b.img")
	for what, move := range map[string]func() error{
		"instance": func() error { return s.MoveInstance(ctx, MoveOptions{Source: "c1", Pool: "b"}) },
		"volume": func() error {
			return s.MoveVolume(ctx, CopyVolumeOptions{Pool: "a", Volume: "v", ToPool: "b", Name: "v"})
		},
	} {
		ok(t, move(), exec.Command("cp", "--sparse=always", img, img+".cut").Run())
		ok(t, s.DetachPool(ctx, "b"), exec.Command("cp", img+".cut", img).Run(), os.Remove(img+".cut"), s.AttachPool(ctx, "b"))
		_, err := s.Instance(ctx, "c1")
		_, verr := s.Volume(ctx, "b", "v")
		if what == "volume" {
			err = verr
		}
		if err != nil {
			t.Errorf("the %s is lost: %v", what, err)
		}
	}
}

// TestMoveIsOfThatInstance: what a killed move deletes is the instance that it moved, and no other one of its name, whatever the
// records say.
func TestMoveIsOfThatInstance(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	addInstance(t, s, "a", "c1") // without a UUID in its configuration, as the other one
	addInstance(t, s, "b", "c2")
	e, err := journal.Begin(ctx, s.journalDir(), opMove, instanceMove{Pool: "a", From: "c1", ToPool: "b", To: "c2"})
	ok(t, err, e.Close()) // as a command that was killed before it moved anything
	again, err := Open(ctx, Options{Root: s.dir.Root, Notice: func(text string) { t.Log(text) }})
	ok(t, err, again.Close())
	for _, name := range []string{"c1", "c2"} {
		if _, err := s.Instance(ctx, name); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(s.journalDir()); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
