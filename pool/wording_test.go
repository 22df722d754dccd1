package pool

import (
	"context"
	"errors"
	"strings"
	"testing"
)

// Errors name verb and object, and each once.
func TestErrorWording(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	if _, err := s.CreateSnapshot(ctx, "c1", "s0"); err != nil {
		t.Fatal(err)
	}
	err := s.CreatePool(ctx, CreatePoolOptions{Name: "p"})
	if !errors.Is(err, ErrExists) || strings.Contains(err.Error(), ".img") {
		t.Errorf("creating a pool that exists: %v", err)
	}
	if _, err := s.Create(ctx, CreateOptions{Config: map[string]string{"a": "b"}}); err == nil || strings.Contains(err.Error(), "instance :") {
		t.Errorf("a bad key for an instance without a name: %v", err)
	}
	in, err := s.lockInstance(ctx, "c1")
	if err != nil {
		t.Fatal(err)
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	err = s.restoreLocked(cancelled, in, "s0")
	if err := errors.Join(err, in.close()); !errors.Is(err, context.Canceled) || strings.Count(err.Error(), "cannot restore") != 1 {
		t.Errorf("a restore that fails: %v", err)
	}
}
