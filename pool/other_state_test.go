package pool

import (
	"strings"
	"testing"

	"poolctl/loopdev"
)

// Two state directories never use a pool at the same time: they do not see each
// other's locks and running instances.
func TestAttachRefusesWhatAnotherStateDirectoryHas(t *testing.T) {
	mine, other := newSystem(t), newSystem(t)
	ctx := t.Context()
	createPool(t, mine, "p", nil)
	rec, err := mine.loadPool("p")
	if err != nil {
		t.Fatal(err)
	}
	if err := other.dir.SavePool(rec); err != nil {
		t.Fatal(err)
	}
	if err := other.AttachPool(ctx, "p"); err == nil || !strings.Contains(err.Error(), "another state directory") {
		t.Errorf("attached twice: %v", err)
	}
	if err := mine.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if err := other.AttachPool(ctx, "p"); err != nil {
		t.Errorf("after it was detached: %v", err)
	}
	if err := other.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if err := other.dir.DeletePool("p"); err != nil {
		t.Fatal(err)
	}
}

// A loop device that the user made, without autoclear, is used and left as it was.
func TestDetachLeavesTheUsersLoopDevice(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	rec, err := s.loadPool("p")
	if err != nil {
		t.Fatal(err)
	}
	losetup(t, rec.Source)
	if err := s.AttachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if err := s.DetachPool(ctx, "p"); err != nil {
		t.Fatal(err)
	}
	if loops, err := loopdev.Find(rec.Source); err != nil || len(loops) != 1 || loops[0].Autoclear {
		t.Errorf("loop devices after detach: %+v, %v", loops, err)
	}
}
