package e2e

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"poolctl/fixtures"
)

// TestJourney is the main job from nothing to nothing: pool, remote, image, instance, snapshot, wreck, restore, a look
// inside, clean-up.
func TestJourney(t *testing.T) {
	h := newHost(t)
	m := serve(t, smallMirror, fixtures.ServeOptions{})
	h.matches(`\| +NAME +\| +STATE +\| +IPV4 +\| +IPV6 +\| +TYPE +\| +SNAPSHOTS +\|`, "list")
	h.withPool().withRemote(m)

	file := filepath.Join(h.state, "disks/default.img")
	st, err := os.Stat(file)
	if err != nil || st.Size() != 2<<30 {
		t.Errorf("pool file: %v, %v; want 2 GiB", st, err)
	}
	if loops := h.mine().kind("loop"); len(loops) != 1 {
		t.Errorf("want one loop device: %v", loops)
	}
	h.matches(`(?m)^driver: btrfs$`, "storage", "show", "default")
	h.matches(`kernel_version`, "info")
	h.matches(`\| +m +\| `+m.URL, "remote", "list")
	h.matches(`alpine.*\| [0-9a-f]{12} \|`, "image", "list", "m:")

	h.ok("image", "pull", "m:busybox", "--alias", "bb")
	h.matches(`\| bb +\| [0-9a-f]{12} \|`, "image", "list")
	h.ok("init", "bb", "c1")
	h.matches(`\| c1 +\| STOPPED +\|.*\| CONTAINER +\| 0 +\|`, "list")
	h.ok("start", "c1")
	h.eventually(`\| c1 +\| RUNNING +\| [0-9.]+ \(eth0\) +\| fd[0-9a-f:]+ \(eth0\) +\|`, "list")
	h.matches(`instances/c1`, "pool", "show", "default")
	checkGuest(t, h, "c1")

	h.ok("exec", "c1", "--", "sh", "-c", "echo kept > /root/mark")
	h.ok("snapshot", "create", "c1", "s0")
	h.ok("exec", "c1", "--", "rm", "-rf", "/root/mark", "/etc/init.d", "/etc/inittab")
	h.fails(1, `running|stop`, "delete", "c1")
	h.ok("stop", "--force", "c1")
	h.ok("snapshot", "restore", "c1", "s0")
	h.ok("start", "c1")
	if got := h.ok("exec", "c1", "--", "cat", "/root/mark"); got != "kept\n" {
		t.Errorf("after restore: %q", got)
	}
	h.matches(`(?m)s0`, "snapshot", "list", "c1")
	h.ok("restart", "c1")
	h.ok("stop", "c1")
	checkOffline(t, h, "c1")

	h.ok("snapshot", "delete", "c1", "s0")
	h.ok("launch", "bb", "c2")
	h.ok("delete", "c1")
	h.ok("delete", "--force", "c2")
	h.ok("image", "delete", "bb")
	if n := len(h.images()) + len(h.instances()); n != 0 {
		t.Errorf("%d images and instances left", n)
	}
	h.ok("pool", "delete", "default")
}

// checkGuest looks at a running instance from inside and from the host.
func checkGuest(t *testing.T, h *host, name string) {
	t.Helper()
	h.matches(`(?m)^ *1 root .*init`, "exec", name, "--", "ps")
	for want, script := range map[string]string{
		"/root\n":    "pwd",
		"0\n":        "id -u",
		name + "\n":  "cat /etc/hostname",
		"\t" + name:  "cat /etc/hosts",
		"in\n":       "cat",
		name + " \n": "echo $(hostname) $NOTHING",
	} {
		if got := h.okStdin("in\n", "exec", name, "--", "sh", "-c", script); !strings.Contains(got, strings.TrimSuffix(want, " \n")) {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	if r := h.run("exec", name, "--", "sh", "-c", "echo out; echo err >&2; exit 7"); r.code != 7 || r.stdout != "out\n" || r.stderr != "err\n" {
		t.Errorf("exit status, stdout and stderr of the command should pass through: %s", r)
	}
	if r := h.run("exec", name, "--", "/no/such/program"); r.code != 127 {
		t.Errorf("want 127 as from a shell: %s", r)
	}
	in := h.instances()[name]
	if in.State == nil || in.State.PID <= 1 {
		t.Fatalf("no pid: %+v", in)
	}
	if uid := ownerOf(t, in.State.PID); uid == 0 {
		t.Error("root inside is root outside")
	}
	ip, _, _ := strings.Cut(h.ok("list", name, "--format", "csv", "-c", "4"), " ")
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip, "9"), 5*time.Second)
	if err == nil {
		err = conn.Close()
	} else if strings.Contains(err.Error(), "refused") { // it answers
		err = nil
	}
	if err != nil {
		t.Errorf("not reachable from the host: %v", err)
	}
	// The guest writes a file as its root; the pool keeps it unshifted.
	h.ok("exec", name, "--", "touch", "/root/owned")
	h.matches(` 0 +0 `, "exec", name, "--", "ls", "-ln", "/root/owned")
}

// checkOffline looks into a stopped instance, by its own mount and by the pool's.
func checkOffline(t *testing.T, h *host, name string) {
	t.Helper()
	dir := filepath.Join(h.dir, "look")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	h.ok("mount", name, dir)
	if got, err := os.ReadFile(filepath.Join(dir, "root/mark")); string(got) != "kept\n" {
		t.Errorf("offline: %q, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err == nil {
		t.Error("the look inside is writable")
	}
	h.fails(1, `mount`, "delete", name)
	h.ok("umount", dir)
	h.ok("pool", "mount", "default", dir)
	if _, err := os.Stat(filepath.Join(dir, "containers", name, "rootfs/root/mark")); err != nil {
		t.Error(err)
	}
	h.fails(1, `mount`, "pool", "detach", "default")
	h.ok("pool", "umount", "default", dir)
	h.ok("pool", "detach", "default")
	if mine := h.mine(); len(mine.kind("loop"))+len(mine.kind("mount")) != 0 {
		t.Errorf("left by detach: %v", mine)
	}
	h.ok("pool", "attach", "default")
	h.matches(name, "list")
}

// TestUnifiedAndTarImages pulls the other two forms of an image and starts what they make.
func TestUnifiedAndTarImages(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	for _, variant := range []string{"tar", "unified"} {
		out := h.ok("image", "list", "m:", "--format", "json")
		alias := aliasEnding(t, out, "/"+variant)
		h.ok("launch", "m:"+alias, "c-"+variant)
		h.matches(`init`, "exec", "c-"+variant, "--", "ps")
	}
}

// TestAttachesByItself takes a pool down as a reboot does (unmounted, no loop device) and checks that the first command that
// needs it brings it back.
func TestAttachesByItself(t *testing.T) {
	h := newHost(t).withPool().withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("init", "m:busybox", "c1")
	if err := syscall.Unmount(filepath.Join(h.state, "storage-pools/default"), 0); err != nil {
		t.Fatal(err)
	}
	loops := h.mine().kind("loop") // the kernel ends it just after the mount, not within umount
	for end := time.Now().Add(2 * time.Second); len(loops) != 0 && time.Now().Before(end); loops = h.mine().kind("loop") {
		time.Sleep(10 * time.Millisecond)
	}
	if len(loops) != 0 {
		t.Errorf("the loop device should go with the mount: %v", loops)
	}
	h.ok("start", "c1")
	h.matches(`c1 +\| RUNNING`, "list")
	h.fails(1, `running`, "pool", "detach", "default")
	h.fails(1, `running`, "start", "c1")
	h.ok("stop", "-f", "c1")
	h.fails(1, `stopped|not running`, "stop", "c1")
	h.fails(1, `stopped`, "exec", "c1", "--", "true")
}
