package pool

import (
	"context"
	"fmt"
)

// RefreshVolume is CopyVolume to a name that a copy may have already: what is in
// that, and its snapshots, become what the source has now, as in Incus; its
// configuration and description stay. Without the source's snapshots, its own stay
// as well. It is refused while a running instance uses it. The new copy is complete
// before it takes the place of the old one, in one step and under the volume's lock.
// Between pools only what is missing is sent.
func (s *System) RefreshVolume(ctx context.Context, o CopyVolumeOptions) error {
	o.Name = customName(o.Name)
	there, err := s.hasVolume(ctx, o.ToPool, o.Name)
	if err != nil {
		return err
	}
	if !there || o.Pool == o.ToPool && customName(o.Volume) == o.Name { // itself is refused
		return s.CopyVolume(ctx, o)
	}
	if err := s.copyVolume(ctx, o, true, nil); err != nil {
		return fmt.Errorf("cannot refresh volume %s/%s: %w", o.ToPool, o.Name, err)
	}
	return nil
}
