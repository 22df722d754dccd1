package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// idRange is what an instance's user ids are on the host.
type idRange struct{ inside, host, size uint64 }

// ids reads the map of an instance that runs.
func (h *host) ids(name string) []idRange {
	h.t.Helper()
	var all []idRange
	for line := range strings.Lines(h.ok("exec", name, "--", "cat", "/proc/self/uid_map")) {
		var r idRange
		if _, err := fmt.Sscan(line, &r.inside, &r.host, &r.size); err != nil {
			h.t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// TestIDMaps starts instances with ids that no other one has.
func TestIDMaps(t *testing.T) {
	h := opHost(t)
	h.ok("launch", "bb", "c1", "-c", "security.idmap.isolated=true")
	h.ok("exec", "c1", "--", "sh", "-c", "echo x > /root/mine; chown 7 /root/mine")
	h.ok("launch", "bb", "c2", "-c", "security.idmap.isolated=true", "-c", "security.idmap.size=70000", "-c", "raw.idmap=both 1234 1000")
	h.ok("copy", "c1", "c3")
	h.ok("start", "c3")
	h.ok("launch", "bb", "c4")
	first := h.ids("c1")
	var all []idRange
	for _, name := range []string{"c1", "c2", "c3", "c4"} {
		for _, r := range h.ids(name) {
			if name == "c4" {
				r.size = 65536 // the rest of the shared range is for the others
			}
			for _, o := range all {
				if r.host < o.host+o.size && o.host < r.host+r.size {
					t.Errorf("%s has %v, another one %v", name, r, o)
				}
			}
			all = append(all, r)
		}
	}
	if len(all) != 6 || all[0].size != 65536 || all[3] != (idRange{1000, 1234, 1}) {
		t.Errorf("%v", all)
	}
	for _, name := range []string{"c1", "c3"} {
		h.matches("^7\n$", "exec", name, "--", "stat", "-c", "%u", "/root/mine")
	}
	h.ok("restart", "--force", "c1")
	if got := h.ids("c1"); fmt.Sprint(got) != fmt.Sprint(first) {
		t.Errorf("after a restart: %v, before %v", got, first)
	}
	h.matches("volatile.idmap.base: \""+fmt.Sprint(first[0].host)+"\"", "config", "show", "c1")
	h.ok("stop", "--force", "c1")
	h.ok("config", "set", "c1", "security.idmap.base=5000000")
	h.ok("start", "c1")
	if got := h.ids("c1"); got[0] != (idRange{0, 5000000, 65536}) {
		t.Errorf("with a base: %v", got)
	}
	h.ok("stop", "--force", "c1")
	h.ok("config", "set", "c1", "security.idmap.isolated=false", "security.privileged=true")
	h.ok("start", "c1")
	if got := h.ids("c1"); got[0] != (idRange{0, 0, 4294967295}) {
		t.Errorf("privileged: %v", got)
	}
	h.matches("^7\n$", "exec", "c1", "--", "stat", "-c", "%u", "/root/mine")
	h.fails(1, `the host.s root cannot be in an instance`, "config", "set", "c4", "raw.idmap=both 0 0")
}

// TestSecurityConfig sets what keeps an instance from its host, and from its user.
func TestSecurityConfig(t *testing.T) {
	h := opHost(t)
	h.fails(1, `security.syscalls.deny=frob: there is no system call "frob"`, "init", "bb", "c1", "-c", "security.syscalls.deny=frob")
	h.fails(1, `security.secureboot=true: it is for virtual machines`, "init", "bb", "c1", "-c", "security.secureboot=true")
	h.ok("launch", "bb", "c1", "-c", "security.syscalls.deny=mkdir errno 1", "-c", "security.nesting=true")
	h.matches("^refused\n$", "exec", "c1", "--", "sh", "-c", "mkdir /root/x 2>/dev/null || echo refused")
	h.matches("^[0-9]+\n", "exec", "c1", "--", "unshare", "-Urmpf", "sh", "-c", "mount -t proc proc /proc && ls -d /proc/[0-9]* | wc -l")
	h.ok("config", "set", "c1", "security.protection.delete=true", "security.syscalls.deny_compat=true")
	h.fails(1, `cannot delete c1: security.protection.delete is set`, "delete", "--force", "c1")
	h.ok("config", "set", "c1", "security.syscalls.allow=read")
	h.fails(1, `leaves nothing to deny`, "restart", "--force", "c1")
	h.ok("config", "unset", "c1", "security.syscalls.allow")
	h.ok("config", "set", "c1", "security.protection.start=true")
	h.fails(1, `cannot start c1: security.protection.start is set`, "start", "c1")
	h.ok("config", "unset", "c1", "security.protection.start")
	h.ok("start", "c1")
	h.ok("config", "unset", "c1", "security.protection.delete")
	h.ok("delete", "--force", "c1")
}
