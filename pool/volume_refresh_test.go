package pool

import (
	"os"
	"strings"
	"testing"
)

// A copy that is refreshed is what its source is now, in the same pool and in another one, and keeps its configuration.
func TestRefreshVolume(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	createVolume(t, s, "a", "v", nil)
	mark := func(pool, name, text string) {
		t.Helper()
		ok(t, os.WriteFile(s.volumeFile(pool, name, "mark"), []byte(text), 0o600))
	}
	snap := func(pool, name, snap string) {
		t.Helper()
		_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: pool, Volume: name, Name: snap})
		ok(t, err)
	}
	mark("a", "v", "one")
	snap("a", "v", "s0")
	for _, to := range []string{"a", "b"} {
		o := CopyVolumeOptions{Pool: "a", Volume: "v", ToPool: to, Name: "w"}
		ok(t, s.RefreshVolume(ctx, o), s.UpdateVolume(ctx, to, "w", func(v *VolumePut) error {
			v.Config["user.own"], v.Config["size"] = "1", "60MiB"
			return nil
		}))
		uuid := volumeOf(t, s, to, "w").Config[volatileUUID]
		snap(to, "w", "only-here")
		mark("a", "v", "two in "+to)
		snap("a", "v", "s-"+to)
		mark("a", "v", "three in "+to)
		ok(t, s.RefreshVolume(ctx, o))
		if got, err := os.ReadFile(s.volumeFile(to, "w", "mark")); string(got) != "three in "+to {
			t.Errorf("in %s: %q, %v", to, got, err)
		}
		v := volumeOf(t, s, to, "w")
		if v.Config["user.own"] != "1" || v.Config["size"] != "60MiB" || v.Config[volatileUUID] != uuid {
			t.Errorf("in %s it is configured %v", to, v.Config)
		}
		var names []string
		all, err := s.VolumeSnapshots(ctx, to, "w")
		ok(t, err)
		for _, sn := range all {
			names = append(names, sn.Name)
		}
		if got, want := strings.Join(names, " "), map[string]string{"a": "s0 s-a", "b": "s0 s-a s-b"}[to]; got != want {
			t.Errorf("in %s it has the snapshots %s, want %s", to, got, want)
		}
		p, err := s.openPool(ctx, to)
		ok(t, err)
		if limit, err := p.Limit(p.VolumePath("w")); quotaMode(t, s, to) == "simple" && (err != nil || limit == 0) {
			t.Errorf("in %s the limit is %d, %v", to, limit, err)
		}
		ok(t, p.close())
	}
	if err := s.RefreshVolume(ctx, CopyVolumeOptions{Pool: "a", Volume: "v", ToPool: "a", Name: "v"}); err == nil {
		t.Error("refreshed from itself")
	}
}

// While a copy is refreshed there is one of its name at any time, so that nobody can make another one or misses it.
func TestRefreshLeavesNoWindow(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	for _, pool := range []string{"a", "b"} {
		createPool(t, s, pool, nil)
	}
	createVolume(t, s, "a", "v", nil)
	for _, to := range []string{"a", "b"} {
		o := CopyVolumeOptions{Pool: "a", Volume: "v", ToPool: to, Name: "w"}
		ok(t, s.CopyVolume(ctx, o))
		p, err := s.openPool(ctx, to)
		ok(t, err)
		stop, missed := make(chan struct{}), make(chan int)
		go func() {
			for n := 0; ; {
				select {
				case <-stop:
					missed <- n
					return
				default:
				}
				if _, err := os.Lstat(p.VolumePath("w")); err != nil {
					n++
				}
			}
		}()
		for range 3 {
			ok(t, s.RefreshVolume(ctx, o))
		}
		close(stop)
		if n := <-missed; n > 0 {
			t.Errorf("in pool %s the volume was missing %d times", to, n)
		}
		ok(t, p.close())
	}
}

// Without the source's snapshots, those of the copy stay.
func TestRefreshKeepsSnapshots(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	createVolume(t, s, "a", "v", nil)
	_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: "a", Volume: "v", Name: "s0"})
	ok(t, err)
	for _, to := range []string{"a", "b"} {
		o := CopyVolumeOptions{Pool: "a", Volume: "v", ToPool: to, Name: "w", VolumeOnly: true}
		ok(t, s.CopyVolume(ctx, o))
		_, err := s.CreateVolumeSnapshot(ctx, VolumeSnapshotOptions{Pool: to, Volume: "w", Name: "own", Description: "kept"})
		ok(t, err, os.WriteFile(s.volumeFile("a", "v", "mark"), []byte(to), 0o600), s.RefreshVolume(ctx, o))
		if got, err := os.ReadFile(s.volumeFile(to, "w", "mark")); string(got) != to {
			t.Errorf("in %s: %q, %v", to, got, err)
		}
		all, err := s.VolumeSnapshots(ctx, to, "w")
		ok(t, err)
		if len(all) != 1 || all[0].Name != "own" || all[0].Description != "kept" {
			t.Errorf("in %s the snapshots are %v", to, all)
		}
	}
}

// volumeOf is a custom volume as it is shown.
func volumeOf(t *testing.T, s *System, pool, name string) Volume {
	t.Helper()
	v, err := s.Volume(t.Context(), pool, name)
	ok(t, err)
	return v
}
