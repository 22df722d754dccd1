package pool

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolctl/pool/tree"
	"poolctl/runtime"
)

// TestPauseAndRebuild: a paused instance is listed so and keeps its snapshots, and a
// rebuilt one its configuration.
func TestPauseAndRebuild(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", nil)
	busyboxInstance(t, s, "p", "c1")
	if err := s.Pause(ctx, "c1"); err == nil || !strings.Contains(err.Error(), "it is stopped") {
		t.Errorf("a stopped one was paused: %v", err)
	}
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"environment.WHO": "me", "user.x": "1"}), s.Start(ctx, "c1"))
	s.execOK(t, "c1", `[ "$WHO" = me ] && echo 1 >/old`)
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"environment.WHO": "you"}))
	s.execOK(t, "c1", `[ "$WHO" = you ]`)
	ok(t, s.Pause(ctx, "c1"))
	in, err := s.Instance(ctx, "c1")
	paused, perr := s.PausedInstances()
	active, aerr := s.ActiveInstances()
	ok(t, err, perr, aerr)
	if in.Status != "Frozen" || in.State == nil || !slices.Equal(paused, []string{"c1"}) || len(active) != 0 {
		t.Errorf("%s, paused %v, active %v", in.Status, paused, active)
	}
	if code, err := s.Exec(ctx, "c1", ExecOptions{Args: []string{"true"}}); code != -1 || !errors.Is(err, runtime.ErrPaused) {
		t.Errorf("%d, %v", code, err)
	}
	_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"})
	ok(t, err)
	if s.Pause(ctx, "c1") == nil || s.Rebuild(ctx, RebuildOptions{Name: "c1"}) == nil {
		t.Error("paused twice, or rebuilt while running")
	}
	ok(t, s.Start(ctx, "c1")) // resumes
	if s.Resume(ctx, "c1") == nil || s.Start(ctx, "c1") == nil {
		t.Error("resumed or started twice")
	}
	info, err := s.InstanceInfo(ctx, "c1")
	ok(t, err)
	if info.Disks["root"].Usage < 1<<20 || info.State.CPUAllowed <= 0 {
		t.Errorf("%+v", info.Disks)
	}

	image := strings.Repeat("ab", 32)
	ok(t, s.Rebuild(ctx, RebuildOptions{Name: "c1", Image: image, Force: true}))
	s.execOK(t, "c1", `! [ -e /old ] && [ "$WHO" = you ]`)
	ok(t, s.Stop(ctx, "c1", StopOptions{Force: true}))
	in, err = s.Instance(ctx, "c1")
	ok(t, err)
	if in.Config["user.x"] != "1" || in.Config["volatile.base_image"] != image || len(in.Snapshots) != 1 || in.Status != "Stopped" {
		t.Errorf("%+v", in)
	}
	ok(t, s.Rebuild(ctx, RebuildOptions{Name: "c1"})) // of the same image
	if err := s.Rebuild(ctx, RebuildOptions{Name: "c1", Image: "no-such-image"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no-such-image: %v", err)
	}
	ok(t, s.Rebuild(ctx, RebuildOptions{Name: "c1", Empty: true}))
	root := filepath.Join(s.dir.MountPoint("p"), "containers/c1/rootfs")
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := s.Start(ctx, "c1"); err == nil || !strings.Contains(err.Error(), "cannot execute /sbin/init: there is no such file") {
		t.Errorf("an empty root was started: %v", err) // it starts when somebody has put a system into it
	}
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s0"}))
	if _, err := os.Stat(filepath.Join(root, "old")); err != nil {
		t.Error(err)
	}
}

func TestRebuiltConfig(t *testing.T) {
	got := rebuiltConfig(map[string]string{"image.os": "a", "image.old": "b", "user.x": "1", "volatile.base_image": "ff"}, tree.ImageRecord{Properties: map[string]string{"os": "c"}})
	if got["image.os"] != "c" || got["image.old"] != "" || got["user.x"] != "1" || got["volatile.base_image"] != "" || got["volatile.apply_template"] != "create" {
		t.Errorf("%v", got)
	}
}
