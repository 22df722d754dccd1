package pool

import (
	"context"
	"os"
	"slices"
	"testing"
)

// TestRestore: a restore brings back content, configuration and devices; the hardware address and the size stay, a running
// instance runs again and a stopped one stays stopped. What it was is kept when it is asked to.
func TestRestore(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	createPool(t, s, "p", map[string]string{"size": "512MiB"})
	busyboxInstance(t, s, "p", "c1")
	t.Cleanup(func() { _ = s.Stop(context.Background(), "c1", StopOptions{Force: true}) }) // or it is stopped
	ok(t, s.AddInstanceDevice(ctx, "c1", "eth0", map[string]string{"type": "nic", "nictype": "p2p", "name": "eth0"}))
	snapshotInstance(t, s, "c1", "new") // it has no hardware address yet
	const hwaddr = "volatile.eth0.hwaddr"
	ok(t, s.Start(ctx, "c1"))
	ok(t, s.SetInstanceConfig(ctx, "c1", map[string]string{"user.x": "1"}), s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"size": "20MiB"}),
		s.AddInstanceDevice(ctx, "c1", "data", map[string]string{"type": "disk", "source": t.TempDir(), "path": "/srv/data"}))
	s.execOK(t, "c1", "echo 1 >/mark")
	snapshotInstance(t, s, "c1", "running")
	was := recordOf(t, s, "c1")
	if was.Config[hwaddr] == "" {
		t.Fatalf("%v", was.Config)
	}
	state := func(what string, runs, first bool) {
		t.Helper()
		in, power := recordOf(t, s, "c1"), map[bool]string{true: "RUNNING", false: "STOPPED"}[runs]
		if s.isRunning("c1") != runs || in.Config[powerKey] != power {
			t.Errorf("%s: it runs: %v, %s", what, !runs, in.Config[powerKey])
		}
		if in.Config[hwaddr] != was.Config[hwaddr] || in.Config["volatile.eth0.host_name"] != was.Config["volatile.eth0.host_name"] || in.ExpandedDevices["root"]["size"] != "20MiB" {
			t.Errorf("%s: it is another one: %v, %v", what, in.Config, in.ExpandedDevices)
		}
		_, marked := os.Stat(diskRoot(t, s, "c1") + "/mark")
		if _, data := in.Devices["data"]; first != (marked != nil) || first != !data || first != (in.Config["user.x"] == "") {
			t.Errorf("%s: %v, %v, %v", what, marked, in.Devices, in.Config)
		}
	}
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "new", Keep: true}))
	state("restored while it runs", true, true)
	s.execOK(t, "c1", "ip link show eth0 | grep -i "+was.Config[hwaddr])
	ok(t, s.Stop(ctx, "c1", StopOptions{Force: true}))
	wantSize(t, s, "p", "c1", "restored", 18)
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "running", Keep: true}))
	state("restored while it is stopped", false, false)
	wantSize(t, s, "p", "c1", "restored again", 18)
	if got := snapshotsOf(t, s, "c1"); !slices.Equal(got, []string{"new", "running", "snap0", "snap1"}) {
		t.Fatalf("%q", got)
	}
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "snap1"}))
	state("what was kept last", false, true)
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "snap0"}))
	state("what was kept first", false, false)
}

// TestRestoreWithoutProfile: a snapshot with a profile that was deleted since comes back, with what the profile said, in the size of
// now, and starts; so does an instance from the trash.
func TestRestoreWithoutProfile(t *testing.T) {
	s := newSystem(t)
	ctx := t.Context()
	var told []string
	s.notice = func(text string) { told = append(told, text) }
	createPool(t, s, "p", map[string]string{"size": "512MiB"})
	busyboxInstance(t, s, "p", "c1")
	t.Cleanup(func() { _ = s.Stop(context.Background(), "c1", StopOptions{Force: true}) })
	profile := func() {
		t.Helper()
		ok(t, s.CreateProfile(ctx, "gone", ProfilePut{Config: map[string]string{"environment.FROM": "profile"}}), s.AddProfile(ctx, "c1", "gone"))
	}
	profile()
	ok(t, s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"size": "20MiB"}))
	snapshotInstance(t, s, "c1", "s")
	ok(t, s.SetInstanceDevice(ctx, "c1", "root", map[string]string{"size": "30MiB"}), s.RemoveProfile(ctx, "c1", "gone"), s.DeleteProfile(ctx, "gone"))
	works := func(what, size string) {
		t.Helper()
		if in := recordOf(t, s, "c1"); in.ExpandedDevices["root"]["size"] != size || in.Devices["root"]["size"] != size {
			t.Errorf("%s: %v, %v", what, in.Devices, in.ExpandedDevices)
		}
		if len(told) != 1 || told[0] != `c1 keeps what its profiles said last: cannot find profile "gone": not found` {
			t.Errorf("%s: %q", what, told)
		}
		s.execOK(t, "c1", "test $FROM = profile")
	}
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s"}), s.Start(ctx, "c1"))
	works("restored", "30MiB")
	told = nil
	s.toldOfProfiles.Clear()
	ok(t, s.RestoreSnapshot(ctx, RestoreOptions{Instance: "c1", Snapshot: "s"}))
	works("restored while it runs", "30MiB")
	ok(t, s.Stop(ctx, "c1", StopOptions{Force: true}), s.RemoveProfile(ctx, "c1", "gone"))

	profile()
	ok(t, s.TrashInstance(ctx, "c1", false), s.DeleteProfile(ctx, "gone"))
	told = nil
	s.toldOfProfiles.Clear()
	_, err := s.Undelete(ctx, UndeleteOptions{Name: "c1"})
	ok(t, err, s.Start(ctx, "c1"))
	works("undeleted", "30MiB")
}
