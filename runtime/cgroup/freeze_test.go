package cgroup

import (
	"os"
	"path/filepath"
	"testing"
)

// TestThawAllOfWhatGoes thaws a group in which others are made and removed all the
// time, as by somebody who cleans up.
func TestThawAllOfWhatGoes(t *testing.T) {
	g := testGroup(t)
	dir, _, err := g.freezer()
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for child := filepath.Join(dir, "child"); ; {
			_ = os.Mkdir(child, 0o755) //nolint:gosec // as cgroups are
			_ = os.Remove(child)
			select {
			case <-stop:
				return
			default:
			}
		}
	}()
	for range 3000 {
		if err := g.ThawAll(); err != nil {
			t.Errorf("ThawAll: %v", err)
			break
		}
	}
	close(stop)
	<-done
}
