package pool

import (
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"poolctl/pool/tree"
	"poolctl/runtime"
)

// TestBootOrder: what starts with the machine, and in which order.
func TestBootOrder(t *testing.T) {
	s := newSystem(t)
	in := func(name string, config map[string]string) tree.Instance {
		return tree.Instance{Name: name, Config: config, Devices: map[string]map[string]string{}}
	}
	got := s.bootOrder([]tree.Instance{
		in("ran", map[string]string{"volatile.last_state.power": "RUNNING"}),
		in("auto", map[string]string{"boot.autostart": "true", "volatile.last_state.power": "STOPPED"}),
		in("never", map[string]string{"boot.autostart": "false", "volatile.last_state.power": "RUNNING"}),
		in("stopped", map[string]string{"volatile.last_state.power": "STOPPED"}),
		in("new", map[string]string{}),
		in("last", map[string]string{"boot.autostart": "1", "boot.autostart.priority": "-1"}),
		in("first", map[string]string{"boot.autostart": "yes", "boot.autostart.priority": "10"}),
		{Name: "broken", Broken: ErrNotFound},
	})
	var names []string
	for _, i := range got {
		names = append(names, i.Name)
	}
	if want := []string{"first", "auto", "ran", "last"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}

// TestBootKeys: values of the keys, and keys that are not for this program.
func TestBootKeys(t *testing.T) {
	for _, c := range []struct{ key, value, want string }{
		{"boot.autostart", "true", ""},
		{"boot.autostart", "maybe", "boot.autostart=maybe"},
		{"boot.autostart.priority", "-5", ""},
		{"boot.autostart.priority", "1.5", "not a number"},
		{"boot.autostart.delay", "0", ""},
		{"boot.autostart.delay", "-1", "number of seconds"},
		{"boot.stop.priority", "99999999999", "not a number"},
		{"boot.host_shutdown_timeout", "90000", "at most a day"},
		{"boot.host_shutdown_action", "force-stop", ""},
		{"boot.host_shutdown_action", "stateful-stop", "virtual machines"},
		{"boot.host_shutdown_action", "x", "one of stop, force-stop"},
		{"agent.nic_config", "true", `key "agent.nic_config" is for virtual machines`},
		{"raw.lxc", "x", "is for liblxc"},
		{"migration.stateful", "true", "stateful"},
		{"nvidia.runtime", "true", "NVIDIA"},
		{"boot.x", "1", `unknown key "boot.x"`},
	} {
		if err := checkInstanceConfig(map[string]string{c.key: c.value}); !isError(err, c.want) {
			t.Errorf("%s=%s: %v, want %q", c.key, c.value, err, c.want)
		}
	}
}

// TestStopAndBoot: what ran when the machine stopped runs again when it starts, and one
// that cannot be started keeps none from it.
func TestStopAndBoot(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	for _, name := range []string{"bad", "c1", "c2", "off"} {
		busyboxInstance(t, s, "p1", name)
	}
	ok(t, s.SetInstanceConfig(ctx, "bad", map[string]string{"boot.autostart": "true", "boot.autostart.priority": "1"}),
		s.SetInstanceConfig(ctx, "c1", map[string]string{"boot.host_shutdown_action": "force-stop", "boot.stop.priority": "1"}),
		s.SetInstanceConfig(ctx, "c2", map[string]string{"boot.host_shutdown_timeout": "0"}),
		s.SetInstanceConfig(ctx, "off", map[string]string{"boot.autostart": "off", "boot.host_shutdown_action": "force-stop"}),
		s.AddInstanceDevice(ctx, "bad", "d", map[string]string{"type": "disk", "source": t.TempDir(), "path": "/etc/passwd"}),
		s.Start(ctx, "c1"), s.Start(ctx, "c2"), s.Start(ctx, "off"), s.StopAtShutdown(ctx))
	if live, err := s.liveNames(); err != nil || len(live) > 0 {
		t.Errorf("running: %v, %v", live, err)
	}
	if err := s.StartAtBoot(ctx); !isError(err, "cannot start bad: ") {
		t.Errorf("%v", err)
	}
	live, err := s.liveNames()
	if slices.Sort(live); err != nil || !slices.Equal(live, []string{"c1", "c2"}) {
		t.Errorf("running: %v, %v", live, err)
	}
	// One that has ended of itself is to stay so.
	live1, err := s.runningInstance("c1")
	ok(t, err)
	_, _ = live1.Exec(ctx, runtime.ExecOptions{Args: []string{"poweroff", "-f"}}) // its exit code depends on who is killed first
	ok(t, live1.Close())
	for end := time.Now().Add(20 * time.Second); recordOf(t, s, "c1").Config[powerKey] != "STOPPED"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("c1 was powered off from inside, and its record says that it runs")
		}
	}
	ok(t, s.StopAtShutdown(ctx))
	if power := recordOf(t, s, "c2").Config[powerKey]; power != "RUNNING" {
		t.Errorf("c2 ran when the machine stopped, and its record says %s", power)
	}
}

// TestRenameInstance: an instance keeps all under its new name, and one that was killed
// on the way has it after the next command.
func TestRenameInstance(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p1", nil)
	createPool(t, s, "p2", nil)
	busyboxInstance(t, s, "p1", "c1")
	busyboxInstance(t, s, "p2", "taken")
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"user.a": "1"}))
	_, err := s.CreateSnapshot(ctx, SnapshotOptions{Instance: "c1", Name: "s0"})
	ok(t, err, s.Start(ctx, "c1"))
	for what, c := range map[string]struct {
		from, to, want string
	}{
		"running": {"c1", "c2", "it is running"}, "taken": {"c1", "taken", "exists"}, "none": {"none", "c2", "not found"},
		"bad": {"c1", "a_b", "invalid name"}, "a path": {"c1", "../c2", "invalid name"}, "itself": {"c1", "c1", "that is its name"},
	} {
		if err := s.RenameInstance(ctx, c.from, c.to); !isError(err, c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	ok(t, s.Stop(ctx, "c1", StopOptions{Force: true}), s.RenameInstance(ctx, "c1", "c2"))
	check := func(name, former string) {
		t.Helper()
		in := recordOf(t, s, name)
		if len(in.Snapshots) != 1 || in.Config["user.a"] != "1" {
			t.Errorf("%+v", in)
		}
		if _, err := s.Instance(ctx, former); err == nil {
			t.Errorf("%s is still there", former)
		}
		ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: name, Snapshot: "s0"}), s.Start(ctx, name))
		s.execOK(t, name, `[ "$(hostname)" = `+name+" ]")
		ok(t, s.Stop(ctx, name, StopOptions{Force: true}))
	}
	for name, want := range map[string]bool{s.exitFile("c1"): false, s.exitFile("c2"): true} { // how its last run ended
		if _, err := os.Lstat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	check("c2", "c1")
	lostEntry(t, s, opRename, renaming{Pool: "p1", From: "c2", To: "c3"}) // killed at its begin
	openAgain(t, s)
	check("c3", "c2")
	p, err := s.openPool(ctx, "p1")
	ok(t, err, p.RenameInstance("c3", "c4"), p.close()) // killed before the record
	lostEntry(t, s, opRename, renaming{Pool: "p1", From: "c3", To: "c4"})
	openAgain(t, s)
	check("c4", "c3")
	if at := maps.Clone(recordOf(t, s, "c4").Config); at["volatile.apply_template"] != "" {
		t.Errorf("templates are still to be applied: %v", at)
	}
}
