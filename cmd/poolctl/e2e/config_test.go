package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestConfig: the configuration of instances and of profiles, as incus's commands have it.
func TestConfig(t *testing.T) {
	h := opHost(t)
	h.ok("profile", "create", "web", "--description", "web servers")
	h.okStdin("config: {user.tier: two}\ndescription: d\nname: other\nused_by: []\n", "profile", "create", "tier")
	h.ok("init", "bb", "c1", "-p", "default", "-p", "web", "-p", "tier", "-c", "user.a=1")
	h.matches(`^two\n$`, "config", "get", "c1", "user.tier", "--expanded")
	h.matches(`^\n$`, "config", "get", "c1", "user.tier")
	h.ok("config", "set", "c1", "user.a=2", "user.b=x=y")
	h.ok("config", "set", "c1", "user.c", "with space")
	h.okStdin("from\nthe input\n", "config", "set", "c1", "user.d", "-")
	h.matches(`^x=y\n$`, "config", "get", "c1", "user.b")
	h.matches(`^from\nthe input\n\n$`, "config", "get", "c1", "user.d")
	h.ok("config", "unset", "c1", "user.b")
	h.ok("config", "set", "-p", "c1", "description=one")
	h.matches(`^one\n$`, "config", "get", "-p", "c1", "description")
	shown := h.matches(`(?s)^architecture: .*\nconfig:\n.*  user.a: "2"\n.*devices: \{\}\nephemeral: false\nprofiles:\n- default\n- web\n- tier\nstateful: false\ndescription: one\n$`, "config", "show", "c1")
	h.matches(`(?s)user.tier: two.*devices:\n  eth0:.*  root:`, "config", "show", "c1", "--expanded")
	h.okStdin(strings.Replace(shown, `user.a: "2"`, `user.e: e`, 1), "config", "edit", "c1")
	h.matches(`^e\n$`, "config", "get", "c1", "user.e")
	h.matches(`^\n$`, "config", "get", "c1", "user.a")
	h.ok("snapshot", "create", "c1", "s0")
	h.ok("config", "unset", "c1", "user.e")
	h.matches(`(?s)user.e: e.*expanded_config:.*name: s0\n`, "config", "show", "c1/s0")
	h.matches(`^e\n$`, "config", "get", "c1/s0", "user.e")
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{1, `unknown key "bad.key"`, []string{"config", "set", "c1", "user.a=9", "bad.key=1"}},
		{1, `unknown key "user"`, []string{"config", "get", "c1", "user"}},
		{1, `says what is on the disk`, []string{"config", "set", "c1", "volatile.idmap.base=5"}},
		{2, `not of the form key=value`, []string{"config", "set", "c1", "user.a=1", "b"}},
		{2, `unknown property "x"`, []string{"config", "set", "-p", "c1", "x=1"}},
		{2, `unknown property "x"`, []string{"config", "get", "-p", "c1", "x"}},
		{1, `"none": not found`, []string{"config", "set", "none", "user.a=1"}},
		{1, `a snapshot keeps`, []string{"config", "set", "c1/s0", "user.a=1"}},
		{1, `a snapshot keeps`, []string{"config", "device", "add", "c1/s0", "x", "none"}},
		{1, `a snapshot keeps`, []string{"profile", "add", "c1/s0", "default"}},
		{1, `the text is empty`, []string{"config", "edit", "c1"}},
		{1, `"none": not found`, []string{"config", "edit", "none"}},
		{1, `in use: by the instances c1`, []string{"profile", "delete", "web"}},
		{1, `always there`, []string{"profile", "delete", "default"}},
		{1, `exists`, []string{"profile", "create", "web"}},
		{1, `invalid profile name`, []string{"profile", "create", "a/b"}},
		{1, `given twice`, []string{"profile", "assign", "c1", "web,web"}},
		{1, `"none": not found`, []string{"profile", "assign", "c1", "default,none"}},
		{1, `no root disk`, []string{"profile", "assign", "c1", "web"}},
		{1, `"none": not found`, []string{"init", "bb", "c2", "-p", "none"}},
		{1, `unknown key`, []string{"init", "bb", "c2", "-c", "no.key=1"}},
		{1, `unknown key`, []string{"copy", "c1", "c2", "-c", "no.key=1"}},
	} {
		h.fails(c.code, c.want, c.args...)
	}
	for _, text := range []string{"config: [a]", "configs: {}", "{", "config: {no.key: x}\nprofiles: [default]", "profiles: [default, none]", "architecture: mips\nprofiles: [default]"} {
		h.failed(h.runStdin(text, "config", "edit", "c1"), 1, `cannot change c1: `)
	}
	h.matches(`^\n$`, "config", "get", "c1", "user.a")

	h.matches(`(?m)^\| web +\| web servers +\| 1 +\|$`, "profile", "list")
	h.matches(`(?s)^config: \{\}\ndescription: web servers\ndevices: \{\}\nname: web\nused_by:\n- /1.0/instances/c1\n`, "profile", "show", "web")
	h.ok("start", "c1")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("host\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.ok("profile", "device", "add", "web", "data", "disk", "source="+dir, "path=/srv/data")
	h.matches(`^host\n$`, "exec", "c1", "--", "cat", "/srv/data/f")
	h.fails(1, `instance c1: `, "profile", "device", "set", "web", "data", "path=/etc/passwd")
	h.matches(`^host\n$`, "exec", "c1", "--", "cat", "/srv/data/f")
	h.ok("config", "device", "add", "c1", "data", "none")
	h.ok("exec", "c1", "--", "sh", "-c", "! [ -e /srv/data/f ]")
	h.ok("config", "device", "remove", "c1", "data")
	h.ok("profile", "rename", "web", "www")
	h.matches(`^host\n$`, "exec", "c1", "--", "cat", "/srv/data/f")
	h.ok("profile", "remove", "c1", "www")
	h.ok("profile", "delete", "www")
	h.ok("profile", "copy", "tier", "t2")
	h.ok("profile", "assign", "c1", "default,t2")
	h.okStdin(strings.ReplaceAll(h.ok("profile", "show", "t2"), "two", "three"), "profile", "edit", "t2")
	h.matches(`^three\n$`, "config", "get", "-e", "c1", "user.tier")
	h.matches(`^three\n$`, "profile", "get", "t2", "user.tier")
	h.ok("profile", "unset", "t2", "user.tier")
	h.matches(`(?m)^root$`, "profile", "device", "list", "default")
	h.ok("snapshot", "delete", "c1", "s0") // which keeps what was
	if record, err := os.ReadFile(filepath.Join(h.state, "storage-pools/default/containers/c1/backup.yaml")); err != nil || regexp.MustCompile(`user.tier|www`).Match(record) {
		t.Errorf("backup.yaml is behind: %v\n%s", err, record)
	}
	h.ok("delete", "--force", "c1")
	h.ok("profile", "delete", "t2", "tier")
}
