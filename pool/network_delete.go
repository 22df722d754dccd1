package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"poolctl/runtime/network"
)

// DeleteNetwork takes a network down and forgets it. It refuses while an
// instance uses it; profiles lose their nic on it.
func (s *System) DeleteNetwork(ctx context.Context, name string) error {
	unlock, err := s.dir.LockState(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	rec, err := s.dir.LoadNetwork(name)
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("cannot delete network %q: %w", name, ErrNotFound), "poolctl network list shows them")
	} else if err != nil {
		return err
	}
	used, err := s.networkInstances(ctx, name)
	if err != nil {
		return err
	}
	if len(used) > 0 {
		return withHint(fmt.Errorf("cannot delete network %s: %w by %v", name, ErrInUse, used), "delete these instances first")
	}
	bridge, err := s.bridge(rec)
	if err != nil {
		return err
	}
	if err := s.dropFromProfiles(func(dev map[string]string) bool { return nicBridge(dev) == name }); err != nil {
		return err
	}
	return s.dropNetwork(ctx, bridge)
}

// dropNetwork takes a network down and removes its reservations, its live state
// and, last, its record.
func (s *System) dropNetwork(ctx context.Context, b network.Bridge) error {
	if err := b.Down(ctx); err != nil {
		return err
	}
	for _, dir := range []string{b.RunDir, b.Dir} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("cannot delete network %s: %w", b.Name, err)
		}
	}
	return s.dir.DeleteNetwork(b.Name)
}
