package pool

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Errors name verb and object, and each once.
func TestErrorWording(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	addInstance(t, s, "p", "c1")
	if _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"}); err != nil {
		t.Fatal(err)
	}
	err := s.CreatePool(ctx, CreatePoolOptions{Name: "p"})
	if !errors.Is(err, ErrExists) || strings.Contains(err.Error(), ".img") {
		t.Errorf("creating a pool that exists: %v", err)
	}
	if _, err := s.Create(ctx, CreateOptions{Config: map[string]string{"a": "b"}}); err == nil || strings.Contains(err.Error(), "instance :") {
		t.Errorf("a bad key for an instance without a name: %v", err)
	}
	mp := s.dir.MountPoint("p")
	if err := unix.Mount("", mp, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	err = s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s0"})
	if !errors.Is(err, unix.EROFS) || strings.Count(err.Error(), "cannot restore") != 1 {
		t.Errorf("a restore that fails: %v", err)
	}
}
