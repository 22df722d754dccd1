package pool

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"poolctl/pool/tree"
)

// A volume that an instance of a detached pool uses is not deleted, renamed or moved away from it.
func TestVolumeUsedInDetachedPool(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "va", nil)
	createPool(t, s, "vb", nil)
	createPool(t, s, "vc", nil)
	createVolume(t, s, "va", "data", nil)
	createVolume(t, s, "va", "free", nil)
	addInstance(t, s, "vb", "ib")
	p, err := s.openPool(ctx, "vb")
	ok(t, err)
	_, err = p.UpdateInstance("ib", func(r *tree.Instance) error {
		r.Devices = map[string]map[string]string{"data": {"type": "disk", "path": "/d", "pool": "va", "source": "data"}}
		return s.reexpand(r)
	})
	ok(t, err, p.close(), s.DetachPool(ctx, "vb"))
	move := s.MoveVolume(ctx, CopyVolumeOptions{Pool: "va", Volume: "data", ToPool: "vc", Name: "data"})
	for what, err := range map[string]error{
		"delete": s.DeleteVolume(ctx, "va", "data"), "rename": s.RenameVolume(ctx, "va", "data", "other"), "move": move,
	} {
		if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "instance ib in pool vb") {
			t.Errorf("%s: %v", what, err)
		}
	}
	ok(t, s.RenameVolume(ctx, "va", "free", "free2"), s.DeleteVolume(ctx, "va", "free2"))
	if pools, err := s.Pools(ctx); err != nil || pools[1].Status != "Detached" {
		t.Errorf("the pool that was looked into: %+v, %v", pools, err)
	}
}

// While a detached pool is waited for, whose instances may use a volume, nobody is kept from the volume and its pool.
func TestUnseenUsersHoldNothing(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "va", nil)
	createPool(t, s, "vb", nil)
	createVolume(t, s, "va", "free", nil)
	createVolume(t, s, "va", "other", nil)
	ok(t, s.DetachPool(ctx, "vb"))
	unlock, err := s.dir.LockPool(ctx, "vb", false) // whoever has it for himself
	ok(t, err)
	done := make(chan error, 2)
	go func() { done <- s.DeleteVolume(ctx, "va", "free") }()
	go func() { done <- s.RenameVolume(ctx, "va", "other", "renamed") }()
	time.Sleep(500 * time.Millisecond) // they wait for it
	short, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	mine, err := s.dir.LockPool(short, "va", false)
	if err != nil {
		t.Errorf("the volume's pool is kept: %v", err)
	} else {
		mine()
	}
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
		done <- err
	default:
	}
	unlock()
	ok(t, <-done, <-done)
}
