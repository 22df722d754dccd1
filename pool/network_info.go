package pool

import (
	"context"
	"errors"
	"fmt"

	"poolctl/runtime/network"
)

// NetworkInfo reports the live state of a network, or of another interface of the
// host.
func (s *System) NetworkInfo(_ context.Context, name string) (network.LinkState, error) {
	info, err := network.ReadLink(name)
	if err == nil {
		s.tellObstaclesOf(name)
	}
	if !errors.Is(err, network.ErrNoLink) {
		return info, err
	}
	if _, loadErr := s.managedNetwork(name); loadErr != nil {
		return info, loadErr
	}
	return info, withHint(fmt.Errorf("network %s is not up", name), "the start of an instance that uses it brings it up, and so does poolctl doctor --fix")
}
