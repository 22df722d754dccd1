package pool

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"poolctl/pool/state"
	"poolctl/pool/tree"
)

// recordOf is what the pool has of an instance.
func recordOf(t *testing.T, s *System, name string) tree.Instance {
	t.Helper()
	p, _, err := s.findInstance(t.Context(), name)
	ok(t, err)
	in, err := p.Instance(name) // with all that is known of its snapshots
	ok(t, err, p.close())
	return in
}

// TestProfileChange: what a profile says is so in all instances that use it, those that
// run too, or in none when one of them cannot have it.
func TestProfileChange(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	dir := t.TempDir()
	createPool(t, s, "p1", nil)
	busyboxInstance(t, s, "p1", "c1")
	busyboxInstance(t, s, "p1", "c2")
	ok(t, s.CreateProfile(ctx, "web", ProfilePut{Description: "d"}), s.AddProfile(ctx, "c1", "web"), s.AssignProfiles(ctx, "c2", []string{"default", "web"}))
	ok(t, s.Start(ctx, "c1"))
	defer func() { ok(t, s.Stop(ctx, "c1", StopOptions{Force: true})) }()
	ok(t, s.SetProfileConfig(ctx, "web", map[string]string{"user.tier": "1"}),
		s.AddProfileDevice(ctx, "web", "data", map[string]string{"type": "disk", "source": dir, "path": "/srv/data"}))
	s.execOK(t, "c1", "grep /srv/data /proc/mounts")
	for _, name := range []string{"c1", "c2"} {
		in := recordOf(t, s, name)
		if in.ExpandedConfig["user.tier"] != "1" || in.ExpandedDevices["data"]["path"] != "/srv/data" || in.Config["user.tier"] != "" {
			t.Errorf("%s: %+v", name, in)
		}
		if info := in.ProfileInfo[len(in.ProfileInfo)-1]; info.Name != "web" || info.Config["user.tier"] != "1" {
			t.Errorf("%s says of its profile: %+v", name, info)
		}
	}
	if p, err := s.Profile(ctx, "web"); err != nil || !slices.Equal(p.UsedBy, []string{"/1.0/instances/c1", "/1.0/instances/c2"}) {
		t.Errorf("%+v, %v", p, err)
	}

	// c1 has a file where the disk is to be; c2, which comes later, would take it.
	before := recordOf(t, s, "c1")
	err := s.UpdateProfile(ctx, "web", func(p *ProfilePut) error {
		p.Config["user.tier"] = "2"
		p.Devices["data"]["path"] = "/etc/passwd"
		return nil
	})
	if !isError(err, "instance c1: ") {
		t.Errorf("%v", err)
	}
	s.execOK(t, "c1", "grep /srv/data /proc/mounts")
	if now := recordOf(t, s, "c1"); now.ExpandedConfig["user.tier"] != before.ExpandedConfig["user.tier"] || now.ExpandedDevices["data"]["path"] != "/srv/data" {
		t.Errorf("after a change that was refused: %+v", now)
	}
	if p, err := s.profile("web"); err != nil || p.Config["user.tier"] != "1" {
		t.Errorf("the profile after a change that was refused: %+v, %v", p, err)
	}

	for what, c := range map[string]struct {
		err  error
		want string
	}{
		"delete in use":    {s.DeleteProfile(ctx, "web"), "in use: by the instances c1, c2"},
		"delete default":   {s.DeleteProfile(ctx, "default"), "always there"},
		"rename default":   {s.RenameProfile(ctx, "default", "x"), "always there"},
		"rename to taken":  {s.RenameProfile(ctx, "web", "default"), "exists"},
		"rename to a path": {s.RenameProfile(ctx, "web", "a/b"), "must not contain"},
		"delete none":      {s.DeleteProfile(ctx, "none"), "not found"},
		"change none":      {s.SetProfileConfig(ctx, "none", nil), "not found"},
		"create taken":     {s.CreateProfile(ctx, "web", ProfilePut{}), "exists"},
		"create a path":    {s.CreateProfile(ctx, "../x", ProfilePut{}), "must not"},
		"an unknown key":   {s.SetProfileConfig(ctx, "web", map[string]string{"x.y": "1"}), "unknown key"},
		"a volatile key":   {s.SetProfileConfig(ctx, "web", map[string]string{"volatile.x": "1"}), "of one instance"},
		"a bad device":     {s.AddProfileDevice(ctx, "web", "x", map[string]string{"type": "disk"}), "is not one in an instance"},
		"a taken device":   {s.AddProfileDevice(ctx, "web", "data", map[string]string{"type": "none"}), "exists"},
		"no such device":   {s.RemoveProfileDevice(ctx, "web", "data", "none"), "not found"},
		"not used":         {s.RemoveProfile(ctx, "c1", "default"), "does not use"},
		"used twice":       {s.AddProfile(ctx, "c1", "web"), "given twice"},
		"not here":         {s.AddProfile(ctx, "c1", "none"), "not found"},
	} {
		if !isError(c.err, c.want) {
			t.Errorf("%s: %v, want %q", what, c.err, c.want)
		}
	}

	snap, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c2", Name: ""})
	ok(t, err, s.RenameProfile(ctx, "web", "www"))
	if in := recordOf(t, s, "c2"); !slices.Equal(in.Profiles, []string{"default", "www"}) || in.ProfileInfo[1].Name != "www" || !slices.Contains(in.Snapshots[0].Profiles, "www") {
		t.Errorf("after a rename: %+v", in)
	}
	if _, err := s.profile("web"); !errors.Is(err, ErrNotFound) {
		t.Errorf("the profile's old name: %v", err)
	}
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c2", Snapshot: snap}), s.RemoveProfile(ctx, "c1", "www"), s.AssignProfiles(ctx, "c2", nil))
	s.execOK(t, "c1", "! grep /srv/data /proc/mounts")
	ok(t, s.CopyProfile(ctx, "www", "copy", false), s.CopyProfile(ctx, "www", "copy", true), s.DeleteProfile(ctx, "www"), s.DeleteProfile(ctx, "copy"))
}

// TestProfileChangeIsTakenBack: a change that was killed before the profile was saved is
// undone by the next command in what runs and in the records, and one that was saved is
// finished.
func TestProfileChangeIsTakenBack(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	dir := t.TempDir()
	createPool(t, s, "p1", nil)
	busyboxInstance(t, s, "p1", "c1")
	ok(t, s.CreateProfile(ctx, "web", ProfilePut{}), s.AddProfile(ctx, "c1", "web"), s.Start(ctx, "c1"))
	defer func() { ok(t, s.Stop(ctx, "c1", StopOptions{Force: true})) }()
	from, err := s.profile("web")
	ok(t, err)
	to := state.Profile{Name: "web", Config: map[string]string{"user.a": "1"}, Devices: map[string]map[string]string{"d": {"type": "disk", "source": dir, "path": "/srv/d"}}}
	apply := func() {
		in, err := s.lockInstance(ctx, "c1")
		ok(t, err)
		ts, err := s.plannedProfile(t.Context(), to, []*lockedInstance{in})
		ok(t, err)
		_, err = s.applyToUsers(ctx, from, to, ts)
		ok(t, err, in.close())
		s.execOK(t, "c1", "grep /srv/d /proc/mounts")
		lostEntry(t, s, opProfile, profileChange{from, to, []string{"c1"}})
	}
	apply()
	openAgain(t, s)
	s.execOK(t, "c1", "! grep /srv/d /proc/mounts")
	if in := recordOf(t, s, "c1"); in.ExpandedConfig["user.a"] != "" || in.ExpandedDevices["d"] != nil {
		t.Errorf("%+v", in)
	}
	apply()
	ok(t, s.exchangeProfile(ctx, from, to))
	openAgain(t, s)
	s.execOK(t, "c1", "grep /srv/d /proc/mounts")
	if in := recordOf(t, s, "c1"); in.ExpandedConfig["user.a"] != "1" || in.ExpandedDevices["d"] == nil {
		t.Errorf("%+v", in)
	}
	ok(t, s.addProfile(ctx, state.Profile{Name: "www", Config: to.Config, Devices: to.Devices}))
	lostEntry(t, s, opRenameProfile, profileRename{"web", "www"})
	openAgain(t, s)
	if in := recordOf(t, s, "c1"); !slices.Equal(in.Profiles, []string{"www"}) {
		t.Errorf("%+v", in)
	}
	ok(t, s.RemoveProfile(ctx, "c1", "www"))
}

// TestProfileUsersAtOnce: instances that come to use a profile while it is changed have
// the change.
func TestProfileUsersAtOnce(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	ok(t, s.CreateProfile(ctx, "web", ProfilePut{}))
	const n = 6
	for i := range n {
		busyboxInstance(t, s, "p1", fmt.Sprintf("c%d", i))
	}
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if err := s.AddProfile(ctx, fmt.Sprintf("c%d", i), "web"); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			if err := s.SetProfileConfig(ctx, "web", map[string]string{fmt.Sprintf("user.k%d", i): "1"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i := range n {
		in := recordOf(t, s, fmt.Sprintf("c%d", i))
		if len(in.ExpandedConfig) != n {
			t.Errorf("%s has %v", in.Name, in.ExpandedConfig)
		}
	}
}
