package pool

import (
	"fmt"
	"sync"
	"testing"
)

// Commands that change the default profile at the same time do not lose each
// other's change.
func TestProfileChangesAtOnce(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	const n = 8
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			dev := map[string]string{"type": "nic", "network": fmt.Sprintf("br%d", i)}
			if err := s.setProfileDevice(ctx, defaultProfile, fmt.Sprintf("eth%d", i), dev); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	p, err := s.profile(defaultProfile)
	if err != nil || len(p.Devices) != n {
		t.Errorf("%d of %d devices are there: %v", len(p.Devices), n, err)
	}
}
