package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"poolctl/fixtures"
)

// refusedByLXD are keys that LXD 5.0.2 does not know, and values that it cannot read.
var refusedByLXD = map[string]string{
	"snapshots.retention": "24 hourly", "boot.autorestart": "true", "boot.host_shutdown_action": "stop", "cloud-init.ssh-keys.me": "root:key",
	"limits.cpu.nodes": "0", "limits.memory": "0.5GiB", "limits.memory.swap": "100MB", "limits.memory.oom_priority": "10", "security.idmap.size": "auto",
	"security.protection.start": "false", "security.guestapi": "false", "security.syscalls.intercept.sysinfo": "false",
}

// TestRecoverWhatLXDRefuses: an instance that has keys and values of which LXD 5.0.2 takes none is recovered by a real one, with
// a snapshot, and started; back here it has them again, but for what was changed there.
func TestRecoverWhatLXDRefuses(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	l := newLXD(t, filepath.Join(h.dir, "l"), &fixtures.Server{})
	l.stop()
	disk := filepath.Join(l.another(), "x.img")
	h.ok("pool", "create", "x", "size=1.1GiB", "source="+disk, "compress=zstd", "trash.expiry=3d", "volume.size=0.5GiB", "images.originals=always")
	h.okStdin("devices: {root: {path: /, pool: x, type: disk}}\n", "profile", "edit", "default")
	data := filepath.Join(h.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	keys := slices.Sorted(maps.Keys(refusedByLXD))
	args := []string{"init", "m:busybox", "odd", "--device", "root,size=0.5GiB"}
	for _, key := range keys {
		args = append(args, "--config", key+"="+refusedByLXD[key])
	}
	h.ok(args...)
	h.ok("pool", "volume", "create", "x", "vol", "snapshots.retention=2 daily")
	for _, device := range []string{
		"data disk source=" + data + " path=/srv/data readonly=true recursive=true", "vol disk pool=x source=vol path=/srv/vol shift=true",
		"eth0 nic nictype=bridged limits.priority=3 parent=" + h.bridge, "eth1 nic nictype=macvlan mode=private parent=" + h.bridge,
	} {
		h.ok(append([]string{"config", "device", "add", "odd"}, strings.Fields(device)...)...)
	}
	devices := h.ok("config", "device", "show", "odd")
	h.ok("snapshot", "create", "odd", "s1")
	h.ok("config", "set", "odd", "user.a=1")
	backup := filepath.Join(h.dir, "odd.tar")
	h.ok("export", "odd", backup, "--compression", "none")

	h.ok("pool", "detach", "x")
	l.recover(disk)
	l.lxc("storage", "set", "x", "user.theirs=1")
	if got := l.lxc("storage", "get", "x", "volume.size") + l.lxc("storage", "get", "x", "user.poolctl.key.compress"); got != "536870912\nzstd\n" {
		t.Errorf("the pool in LXD has %q", got)
	}
	l.lxc("start", "odd")
	l.lxc("exec", "odd", "--", "true")
	if got := l.lxc("config", "get", "odd", "limits.memory") + l.lxc("config", "device", "get", "odd", "root", "size"); got != "536870912\n536870912\n" {
		t.Errorf("the limits in LXD are %q", got)
	}
	l.lxc("restore", "odd", "s1")
	l.lxc("config", "set", "odd", "limits.memory=300MiB")
	l.lxc("snapshot", "odd", "theirs")
	l.lxc("stop", "-f", "odd")
	l.lxc("delete", "odd/s1")
	l.lxc("rename", "odd", "theirs")
	l.lxc("import", backup)
	if got := l.lxc("config", "get", "odd", "limits.memory") + l.lxc("list", "odd", "-f", "csv", "-c", "S"); got != "536870912\n1\n" {
		t.Errorf("the imported one has in LXD %q", got)
	}
	l.stop()

	for name, memory := range map[string]string{"odd": "0.5GiB", "theirs": "300MiB"} {
		for _, key := range keys {
			want := refusedByLXD[key]
			if key == "limits.memory" {
				want = memory
			}
			if got := h.ok("config", "get", name, key); got != want+"\n" {
				t.Errorf("%s of %s is back as %q, want %q", key, name, got, want)
			}
		}
		if got := h.ok("config", "device", "show", name); got != devices {
			t.Errorf("the devices of %s are back as\n%s\nwant\n%s", name, got, devices)
		}
		if got := h.ok("list", name, "--format", "json"); strings.Contains(got, "poolctl.key") {
			t.Errorf("what is put aside is listed: %s", got)
		}
	}
	h.ok("restore", "theirs", "theirs")
	h.ok("start", "theirs")
	h.matches(`^300MiB\n$`, "config", "get", "theirs", "limits.memory")
	h.ok("restore", "odd", "s1")
	h.matches(`^24 hourly\n$`, "config", "get", "odd", "snapshots.retention")
}
