package e2e

import (
	"os"
	"path/filepath"
	"testing"
)

// TestUnixDevices: device nodes of the host's in an instance, of its own and a profile's, stopped and running.
func TestUnixDevices(t *testing.T) {
	h := opHost(t)
	h.ok("init", "bb", "c1")
	h.ok("config", "device", "add", "c1", "ctl", "unix-char", "source=/dev/btrfs-control", "path=/dev/ctl", "mode=0640", "uid=3", "gid=4")
	h.matches(`(?s)^ctl:\n  gid: "4"\n  mode: "0640"\n  path: /dev/ctl\n  source: /dev/btrfs-control\n  type: unix-char\n  uid: "3"\n`, "config", "device", "show", "c1")
	h.ok("config", "device", "add", "c1", "gone", "unix-char", "path=/dev/none-such", "required=false")
	h.ok("start", "c1")
	// node checks what is at a path inside: that it opens, and ls -ln of it.
	node := func(path, want string) {
		t.Helper()
		h.matches(want, "exec", "c1", "--", "sh", "-c", ": < "+path+" && ls -ln "+path+" | tr -s ' '")
	}
	missing := func(path string) {
		t.Helper()
		h.ok("exec", "c1", "--", "sh", "-c", "! [ -e "+path+" ]")
	}
	node("/dev/ctl", `^crw-r----- 1 3 4 10, 234 `)
	missing("/dev/none-such")
	h.ok("config", "device", "set", "c1", "ctl", "path=/opt/deep/ctl", "mode=0600")
	missing("/dev/ctl")
	node("/opt/deep/ctl", `^crw------- 1 3 4 10, 234 `)
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink("/dev/loop0", loop); err != nil {
		t.Fatal(err)
	}
	h.ok("profile", "device", "add", "default", "loop", "unix-block", "source="+loop, "path=/dev/sd")
	h.matches(`^brw-rw---- 1 0 0 7, 0 `, "exec", "c1", "--", "sh", "-c", "ls -ln /dev/sd | tr -s ' '")
	for _, c := range []struct {
		want string
		keys []string
	}{
		{`neither source nor path`, []string{"unix-char"}},
		{`source "tty" is not the path`, []string{"unix-char", "source=tty"}},
		{`path "/" is not the path`, []string{"unix-char", "path=/", "source=/dev/zero"}},
		{`it is the instance's own`, []string{"unix-char", "path=/dev", "source=/dev/zero"}},
		{`one of major and minor only`, []string{"unix-char", "path=/dev/x", "major=1"}},
		{`invalid major "4096": want a number from 0 to 4095`, []string{"unix-char", "path=/dev/x", "major=4096", "minor=1"}},
		{`invalid minor "-1"`, []string{"unix-char", "path=/dev/x", "major=1", "minor=-1"}},
		{`invalid mode "888"`, []string{"unix-char", "path=/dev/zero", "mode=888"}},
		{`invalid mode "4755"`, []string{"unix-char", "path=/dev/zero", "mode=4755"}},
		{`invalid uid "root"`, []string{"unix-char", "path=/dev/zero", "uid=root"}},
		{`has no group 4000000000`, []string{"unix-char", "path=/dev/x", "source=/dev/zero", "gid=4000000000"}},
		{`required=maybe`, []string{"unix-char", "path=/dev/zero", "required=maybe"}},
		{`unknown key "readonly"`, []string{"unix-char", "path=/dev/zero", "readonly=true"}},
		{`no such file or directory\nhint: required=false`, []string{"unix-char", "path=/dev/none-such"}},
		{`/dev/loop0 is no character device`, []string{"unix-char", "path=/dev/loop0"}},
		{`/dev/zero is no block device`, []string{"unix-block", "path=/dev/zero"}},
		{`/etc/passwd is no character device`, []string{"unix-char", "source=/etc/passwd"}},
		{`cannot mount device x at /dev/sd: device loop is there`, []string{"unix-char", "source=/dev/zero", "path=/dev/sd"}},
	} {
		h.fails(1, c.want, append([]string{"config", "device", "add", "c1", "x"}, c.keys...)...)
	}
	h.matches(`^ctl\ngone\n$`, "config", "device", "list", "c1")
	h.ok("restart", "--force", "c1")
	node("/opt/deep/ctl", `^crw------- 1 3 4 10, 234 `)
	h.ok("config", "device", "remove", "c1", "ctl", "gone")
	h.ok("profile", "device", "remove", "default", "loop")
	missing("/opt/deep/ctl")
	missing("/dev/sd")
	h.ok("delete", "--force", "c1")
}
