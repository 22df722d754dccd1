package pool

import (
	"errors"
	"strings"
	"testing"

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
