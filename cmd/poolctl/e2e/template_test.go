package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// templateOps make an instance without an image.
func templateOps() []op {
	return []op{{
		name: "create of a template", args: []string{"create", "--template", "busybox", "c1"}, prepare: func(*host) {}, made: has1,
		verify: func(h *host) {
			if !has1(h) {
				h.ok("create", "--template", "busybox", "c1")
			}
			works(h, "c1", "")
			h.ok("delete", "c1")
		},
	}}
}

// TestTemplateBusybox makes a system of the host's busybox, without image and mirror, and looks whether it is one: its
// init runs, its DHCP client has a lease for the reserved address, its console asks for a login.
func TestTemplateBusybox(t *testing.T) {
	h := newHost(t).withPool()
	h.ok("create", "--template", "busybox", "bb", "--config", "user.k=v", "--device", "root,size=64MiB")
	h.ok("start", "bb")
	h.matches(`(?m)^ *1 root .*init`, "exec", "bb", "--", "ps")
	h.matches(`^bb\n$`, "exec", "bb", "--", "cat", "/etc/hostname")
	h.matches(`^v\n$`, "config", "get", "bb", "user.k")
	h.matches(`^BusyBox\n$`, "config", "get", "bb", "image.os")
	address, _, _ := strings.Cut(h.ok("list", "bb", "--format", "csv", "-c", "4"), " ")
	leases := filepath.Join(h.state, "run/networks", h.bridge, "dnsmasq.leases")
	h.until("a lease for "+address, func() bool {
		text, err := os.ReadFile(leases)
		return err == nil && strings.Contains(string(text), " "+address+" bb ")
	})
	h.matches(`inet `+address+`/24 .*`, "exec", "bb", "--", "ip", "-4", "addr", "show", "dev", "eth0")
	log := filepath.Join(h.state, "logs/bb.console.log")
	h.until("a login on the console", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(text), "bb login:")
	})
	// What is made of it is as of any instance.
	h.ok("stop", "bb")
	h.ok("copy", "bb", "b2")
	h.ok("start", "b2")
	h.matches(`^b2\nb2\n$`, "exec", "b2", "--", "sh", "-c", "hostname; cat /etc/hostname")
	h.ok("stop", "--force", "b2")
	h.ok("publish", "bb", "--alias", "of-bb")
	h.ok("launch", "of-bb", "b3")
	h.ok("exec", "b3", "--", "true")
	h.ok("delete", "--force", "b3", "b2", "bb")
	h.ok("image", "delete", "of-bb")
}

// TestCreateOfFile gives what config show printed of one instance to another; what a file says is checked
// as the flags are.
func TestCreateOfFile(t *testing.T) {
	h := newHost(t).withPool()
	of := func(text string, args ...string) result {
		t.Helper()
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := h.command(t.Context(), args...)
		cmd.Args = append([]string{"sh", "-c", `exec "$0" "$@" < ` + path, h.program}, args...)
		cmd.Path = "/bin/sh"
		return h.finish(cmd, "")
	}
	h.ok("create", "--empty", "c1", "--config", "user.k=v", "--device", "root,size=64MiB", "--description", "the first")
	text := h.ok("config", "show", "c1")
	if r := of(text, "create", "--empty", "c2", "-c", "user.l=w"); r.code != 0 {
		t.Fatalf("%+v", r)
	}
	got := h.ok("config", "show", "c2")
	for _, want := range []string{"user.k: v\n", "user.l: w\n", "size: 64MiB\n", "description: the first\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if a, b := h.ok("config", "get", "c1", "volatile.uuid"), h.ok("config", "get", "c2", "volatile.uuid"); a == b {
		t.Errorf("both are %q", a)
	}
	for bad, want := range map[string]string{
		"config: {limits.cpu: abc}\n":                            `cannot create instance "?c3"?: limits.cpu=abc`,
		"devices: {d: {type: disk, path: /x}}\n":                 `cannot create instance c3: device d: it has no source`,
		"profiles: [nosuch]\n":                                   `cannot create instance c3: cannot find profile "nosuch"`,
		"confg: {}\n":                                            `cannot create an instance of what is on the input: line 1: unknown field "confg"`,
		"devices: {root: {type: disk, path: /, pool: nosuch}}\n": `nosuch`,
	} {
		h.failed(of(bad, "create", "--empty", "c3"), 1, want)
	}
	h.fails(2, `--empty and --template exclude each other`, "create", "--empty", "--template", "none", "c3")
	h.ok("delete", "c1", "c2")
}

// TestTemplateNone makes an empty root, which becomes a system by what is put into it.
func TestTemplateNone(t *testing.T) {
	h := newHost(t).withPool()
	h.ok("create", "--template", "none", "c1")
	h.matches(`c1 +\| STOPPED`, "list")
	dir := strings.TrimSpace(h.ok("mount", "--rw", "c1"))
	dir = dir[strings.Index(dir, "/"):]
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("an empty root has %v, %v", entries, err)
	}
	h.ok("umount", "c1")
	h.fails(1, `cannot start c1: cannot execute /sbin/init: there is no such file in the root filesystem`, "start", "c1")
	h.ok("mount", "--rw", "c1")
	program, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"sbin", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "sbin/init"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/inittab"), []byte("::respawn:/sbin/init sleep 1000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	h.ok("umount", "c1")
	h.ok("start", "c1")
	h.ok("rebuild", "--empty", "--force", "c1")
	h.fails(1, `cannot start c1: cannot execute /sbin/init: there is no such file in the root filesystem`, "start", "c1")
	h.ok("delete", "c1")
}

// TestTemplateRefused: nothing is made of what is wrong.
func TestTemplateRefused(t *testing.T) {
	h := newHost(t).withPool()
	r := h.fails(1, `template "debian": no such template`, "create", "--template", "debian", "c1")
	if !strings.Contains(r.stderr, "hint: the templates are: busybox, none") {
		t.Errorf("no list of templates: %s", r)
	}
	h.fails(2, `unexpected argument "c1"`, "create", "--template", "busybox", "images:alpine", "c1")
	h.fails(2, `too few arguments`, "create")
	h.fails(1, `the size is 1MiB, and an instance takes at least`, "create", "--template", "busybox", "c1", "--device", "root,size=1MiB")
	h.fails(1, `device eth0: network "none"`, "launch", "--template", "busybox", "c1", "--network", "none")
	h.env = append(h.env, "PATH="+t.TempDir())
	r = h.fails(1, `no busybox on this machine`, "create", "--template", "busybox", "c1")
	if !strings.Contains(r.stderr, "apt install busybox-static") {
		t.Errorf("no hint: %s", r)
	}
	if out := h.ok("list", "--format", "csv"); out != "" {
		t.Errorf("instances: %s", out)
	}
}
