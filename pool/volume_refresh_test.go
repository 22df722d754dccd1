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

// What a killed refresh left is the old copy or the new one.
func TestRefreshIsFinished(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	for _, name := range []string{"w", "new"} {
		createVolume(t, s, "a", name, nil)
		ok(t, os.WriteFile(s.volumeFile("a", name, "mark"), []byte(name), 0o600))
	}
	check := func(want string) {
		t.Helper()
		lostEntry(t, s, opVolumeRefresh, refreshing{"a", "w", "new"})
		openAgain(t, s)
		if got, err := os.ReadFile(s.volumeFile("a", "w", "mark")); string(got) != want {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
		if there, err := s.hasVolume(ctx, "a", "new"); err != nil || there {
			t.Errorf("the new one is there: %v", err)
		}
	}
	check("w")
	createVolume(t, s, "a", "new", nil)
	ok(t, os.WriteFile(s.volumeFile("a", "new", "mark"), []byte("new"), 0o600), s.DeleteVolume(ctx, "a", "w"))
	check("new")
	check("new")
}

// volumeOf is a custom volume as it is shown.
func volumeOf(t *testing.T, s *System, pool, name string) Volume {
	t.Helper()
	v, err := s.Volume(t.Context(), pool, name)
	ok(t, err)
	return v
}
