package pool

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
)

// isError says whether an error has the text; "" is no error.
func isError(err error, text string) bool {
	return text == "" && err == nil || text != "" && err != nil && strings.Contains(err.Error(), text)
}

// TestInstanceConfig: keys are set and unset, all or none, and none of many commands at
// once loses another one's.
func TestInstanceConfig(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	busyboxInstance(t, s, "p1", "c1")
	for _, c := range []struct {
		values map[string]string
		want   string
	}{
		{map[string]string{"user.a": "1", "environment.B": "2"}, ""},
		{map[string]string{"user.a": "2", "no.such": "1"}, `unknown key "no.such"`},
		{map[string]string{"user.a": "2", "environment.B": "\x00"}, "zero byte"},
		{map[string]string{"user.a": "2", "volatile.last_state.idmap": "[]"}, "says what is on the disk"},
		{map[string]string{"no.such": ""}, ""}, // it is not set
		{map[string]string{"user.a": ""}, ""},
	} {
		err := s.SetInstanceConfig(ctx, "c1", c.values)
		if !isError(err, c.want) {
			t.Errorf("%v: %v, want %q", c.values, err, c.want)
		}
		if a, err := s.InstanceValue(ctx, "c1", "user.a", false); err != nil || a == "2" {
			t.Errorf("after %v user.a is %q, %v", c.values, a, err)
		}
	}
	put, err := s.InstanceConfig(ctx, "c1", false)
	if err != nil || !maps.Equal(put.Config, map[string]string{"environment.B": "2"}) {
		t.Errorf("%v, %v", put.Config, err)
	}
	if _, err := s.InstanceValue(ctx, "c1", "no.such", false); !isError(err, "unknown key") {
		t.Errorf("an unknown key: %v", err)
	}
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if err := s.SetInstanceConfig(ctx, "c1", map[string]string{fmt.Sprintf("user.k%d", i): "v"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if put, err = s.InstanceConfig(ctx, "c1", false); err != nil || len(put.Config) != 9 {
		t.Errorf("after 8 sets at once: %v, %v", put.Config, err)
	}
	if _, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"}); err != nil {
		t.Fatal(err)
	}
	if err := s.SetInstanceConfig(ctx, "c1/s0", map[string]string{"user.a": "1"}); !isError(err, "a snapshot keeps") {
		t.Errorf("a snapshot was changed: %v", err)
	}
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"user.k0": "new"}))
	if v, err := s.InstanceValue(ctx, "c1/s0", "user.k0", true); err != nil || v != "v" {
		t.Errorf("the snapshot has %q, %v", v, err)
	}
	if _, err := s.SnapshotConfig(ctx, "c1", "none"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a snapshot that is not there: %v", err)
	}
}

// TestReplaceInstance: what was edited takes the place of what was read, unless another
// command was faster, and what commands keep there stays.
func TestReplaceInstance(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	busyboxInstance(t, s, "p1", "c1")
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"user.a": "1", "volatile.eth0.hwaddr": "00:16:3e:00:00:01"}))
	was, err := s.InstanceConfig(ctx, "c1", false)
	ok(t, err)
	next := was
	next.Config, next.Description = map[string]string{"user.b": "2"}, "edited"
	ok(t, s.ReplaceInstance(ctx, "c1", was, next))
	now, err := s.InstanceConfig(ctx, "c1", true)
	if err != nil || now.Config["user.b"] != "2" || now.Config["user.a"] != "" || now.Config["volatile.eth0.hwaddr"] == "" || now.Description != "edited" {
		t.Errorf("%+v, %v", now, err)
	}
	if err := s.ReplaceInstance(ctx, "c1", was, next); !isError(err, "somebody else has changed it") {
		t.Errorf("over a change: %v", err)
	}
	for want, change := range map[string]func(*InstancePut){
		"cannot be changed":       func(p *InstancePut) { p.Architecture = "riscv64" },
		"stateful cannot":         func(p *InstancePut) { p.Stateful = true },
		`cannot find profile "x"`: func(p *InstancePut) { p.Profiles = []string{"x"} },
		"is given twice":          func(p *InstancePut) { p.Profiles = []string{"default", "default"} },
		"no root disk":            func(p *InstancePut) { p.Devices = nil },
		"type \"\" is unknown":    func(p *InstancePut) { p.Devices["x"] = map[string]string{"path": "/x"} },
		"cannot be a device's":    func(p *InstancePut) { p.Devices["a b"] = map[string]string{"type": "none"} },
	} {
		if err := s.UpdateInstance(ctx, "c1", func(p *InstancePut) error { change(p); return nil }); !isError(err, want) {
			t.Errorf("want %q: %v", want, err)
		}
	}
}

// TestConfigOfRunningUndone: a change of which a part is impossible in a running instance
// leaves all of it as it was.
func TestConfigOfRunningUndone(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	busyboxInstance(t, s, "p1", "c1")
	dir := t.TempDir()
	ok(t, s.Start(ctx, "c1"))
	defer func() { ok(t, s.Stop(ctx, "c1", StopOptions{Force: true})) }()
	err := s.UpdateInstance(ctx, "c1", func(p *InstancePut) error {
		p.Config["user.a"] = "1"
		p.Devices["a"] = map[string]string{"type": "disk", "source": dir, "path": "/srv/a"}
		p.Devices["b"] = map[string]string{"type": "disk", "source": dir, "path": "/etc/passwd"} // no directory
		return nil
	})
	if !isError(err, "it is not a directory in the instance") {
		t.Fatalf("%v", err)
	}
	s.execOK(t, "c1", "! grep /srv/a /proc/mounts")
	if put, err := s.InstanceConfig(ctx, "c1", false); err != nil || put.Config["user.a"] != "" || len(put.Devices) != 1 {
		t.Errorf("%+v, %v", put, err)
	}
	ok(t, s.UpdateInstance(ctx, "c1", func(p *InstancePut) error {
		p.Config["user.a"] = "1"
		p.Devices["a"] = map[string]string{"type": "disk", "source": dir, "path": "/srv/a"}
		return nil
	}))
	s.execOK(t, "c1", "grep /srv/a /proc/mounts")
}
