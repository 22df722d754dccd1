package pool

import (
	"errors"
	"maps"
	"strings"
	"testing"
)

// TestMoveChanges: what a move is to change besides is changed with it, to another pool
// and in the same one, and nothing where it is refused.
func TestMoveChanges(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "a", nil)
	createPool(t, s, "b", nil)
	_, err := s.Create(ctx, CreateOptions{Name: "c1", Template: EmptyTemplate, Pool: "a", Profiles: []string{}})
	ok(t, err, s.CreateProfile(ctx, "q", ProfilePut{Config: map[string]string{"user.q": "1"}}))
	for _, snap := range []string{"s0", "s1"} {
		_, err = s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: snap})
		ok(t, err)
	}
	before, err := s.InstanceConfig(ctx, "c1", true)
	ok(t, err)
	for what, o := range map[string]MoveOptions{
		"no such key":     {Pool: "b", Config: map[string]string{"no.such": "1"}},
		"no such profile": {Pool: "b", Profiles: []string{"none"}},
		"no such device":  {Pool: "b", DeviceOverrides: map[string]map[string]string{"eth7": {"mtu": "1400"}}},
		"renamed, no key": {Name: "c2", Config: map[string]string{"no.such": "1"}},
		"name taken":      {Name: "c1", Config: map[string]string{"user.a": "1"}},
		"bad name":        {Name: "a_b", Config: map[string]string{"user.a": "1"}},
		"only, same pool": {Name: "c2", InstanceOnly: true},
	} {
		o.Source = "c1"
		if err := s.MoveInstance(ctx, o); err == nil {
			t.Errorf("%s: it was moved", what)
		}
		if now, err := s.InstanceConfig(ctx, "c1", true); err != nil || !maps.Equal(now.Config, before.Config) || len(now.Profiles) != 0 {
			t.Errorf("%s: it has changed: %+v, %v", what, now, err)
		}
	}
	change := MoveOptions{
		Source: "c1", Name: "c2", Config: map[string]string{"user.a": "1"}, Profiles: []string{"q"}, DeviceOverrides: map[string]map[string]string{"root": {"size": "100MiB"}},
	}
	ok(t, s.MoveInstance(ctx, change))
	check := func(name, pool string, snapshots int) {
		t.Helper()
		in, err := s.Instance(ctx, name)
		ok(t, err)
		put, err := s.InstanceConfig(ctx, name, true)
		ok(t, err)
		root := put.Devices["root"]
		if in.Pool != pool || put.Config["user.a"] != "1" || put.Config["user.q"] != "1" || root["size"] != "100MiB" || root["pool"] != pool || put.Config["volatile.uuid"] != before.Config["volatile.uuid"] {
			t.Errorf("%s: %+v in %s", name, put, in.Pool)
		}
		if snaps, err := s.SnapshotConfigs(ctx, name); err != nil || len(snaps) != snapshots || snapshots > 0 && (snaps[0].Name != "s0" || snaps[0].Config["volatile.uuid"] == "") {
			t.Errorf("%s: the snapshots are %+v, %v", name, snaps, err)
		}
	}
	check("c2", "a", 2)
	change.Source, change.Name, change.Pool = "c2", "c3", "b"
	ok(t, s.SetInstanceConfig(ctx, "c2", map[string]string{"user.a": "0"}), s.MoveInstance(ctx, change))
	check("c3", "b", 2)
	ok(t, s.MoveInstance(ctx, MoveOptions{Source: "c3", Pool: "a", InstanceOnly: true}))
	check("c3", "a", 0)
	if _, err := s.Instance(ctx, "c2"); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is still there under its old name: %v", err)
	}
	if log, err := s.InstanceLog("c3"); err != nil || log != "" {
		t.Errorf("the log of what never ran: %q, %v", log, err)
	}
	writeLogs(t, s, "c3")
	if log, err := s.InstanceLog("c3"); err != nil || strings.Count(log, "of c3") != 2 {
		t.Errorf("the log: %q, %v", log, err)
	}
}
