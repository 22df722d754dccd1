package pool

import (
	"errors"
	"testing"
)

// TestNicWithoutNetwork: a nic on a network that there is not is refused in words, without the state directory's files.
func TestNicWithoutNetwork(t *testing.T) {
	s := newSystem(t)
	for _, name := range []string{"nope", "../x"} {
		err := s.checkDevice("eth1", map[string]string{"type": "nic", "network": name})
		if !errors.Is(err, ErrNotFound) || err.Error() != `device eth1: network "`+name+`": not found` {
			t.Errorf("%v", err)
		}
	}
}
