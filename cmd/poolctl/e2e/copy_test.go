package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// copied is what `list --format json` says of an instance, as far as it tells a copy from its source.
type copied struct {
	Name, Status, Pool string
	CreatedAt          time.Time         `json:"created_at"`
	LastUsedAt         time.Time         `json:"last_used_at"`
	Expanded           map[string]string `json:"expanded_config"`
	Config             map[string]string
	Snapshots          []struct {
		Name      string
		CreatedAt time.Time `json:"created_at"`
	}
}

func (h *host) copied(name string) copied {
	h.t.Helper()
	var list []copied
	h.json(&list, "list")
	i := slices.IndexFunc(list, func(c copied) bool { return c.Name == name })
	if i < 0 {
		h.t.Fatalf("%s is not listed", name)
	}
	return list[i]
}

// TestCopy copies a running instance, a stopped one and a snapshot, and starts all of them beside each other. Then the
// source goes.
func TestCopy(t *testing.T) {
	h := opHost(t)
	h.ok("init", "bb", "c1", "--config", "user.a=1", "--config", "user.b=1")
	mark(h, "c1", "old")
	h.ok("snapshot", "create", "c1", "s0")
	h.ok("snapshot", "create", "c1", "s1")
	h.ok("start", "c1")
	h.ok("exec", "c1", "--", "sh", "-c", "echo new > /root/mark")
	h.ok("copy", "c1", "c2", "-c", "user.b=2")
	checkCopy(t, h.copied("c1"), h.copied("c2"))
	if in := h.copied("c1"); in.Status != "Running" {
		t.Errorf("the source is %s", in.Status)
	}
	h.ok("stop", "--force", "c1")
	h.ok("cp", "c1", "c3", "--instance-only")
	h.ok("copy", "c1/s0", "c4")
	for _, name := range []string{"c3", "c4"} {
		if in := h.copied(name); len(in.Snapshots) != 0 || in.Config["user.b"] != "1" {
			t.Errorf("%+v", in)
		}
	}
	seen := map[string]string{}
	for name, want := range map[string]string{"c1": "new", "c2": "new", "c3": "new", "c4": "old"} {
		h.ok("start", name)
		h.matches("^"+want+"\n$", "exec", name, "--", "cat", "/root/mark")
		h.matches("^"+name+"\n$", "exec", name, "--", "cat", "/etc/hostname") // a template that is for copies
		ip, _, _ := strings.Cut(h.ok("list", name, "--format", "csv", "-c", "4"), " ")
		for what, v := range map[string]string{"hwaddr": h.ok("exec", name, "--", "cat", "/sys/class/net/eth0/address"), "address": ip} {
			if other, taken := seen[v]; taken || v == "" {
				t.Errorf("%s has the %s %q of %s", name, what, v, other)
			}
			seen[v] = name
		}
	}
	before := h.copied("c2").Config
	h.ok("stop", "--force", "c2")
	h.ok("restore", "c2", "s0")
	for key, v := range h.copied("c2").Config {
		if regexp.MustCompile(`^volatile\.(.*\.hwaddr|uuid|cloud-init.*)$`).MatchString(key) && v != before[key] {
			t.Errorf("restoring a snapshot that came with the copy changes %s from %s to %s", key, before[key], v)
		}
	}
	h.ok("delete", "--force", "c1")
	h.ok("image", "delete", "bb")
	works(h, "c2", "^old\n$")
	works(h, "c3", "^new\n$")
	h.ok("mount", "c2/s1")
	h.ok("umount", "c2/s1")
}

// checkCopy compares a copy with its source.
func checkCopy(t *testing.T, source, made copied) {
	t.Helper()
	if diff := cmp.Diff(source.Snapshots, made.Snapshots); diff != "" || len(made.Snapshots) != 2 {
		t.Errorf("snapshots (-source +copy):\n%s", diff)
	}
	if made.Status != "Stopped" || made.Pool != source.Pool || !made.CreatedAt.After(source.CreatedAt) || made.LastUsedAt.Unix() > 0 {
		t.Errorf("%+v", made)
	}
	for _, config := range []map[string]string{made.Config, made.Expanded} {
		for key, want := range map[string]string{"user.a": "1", "user.b": "2", "volatile.apply_template": "copy", "volatile.last_state.power": ""} {
			if config[key] != want {
				t.Errorf("%s is %q, want %q", key, config[key], want)
			}
		}
		for _, key := range []string{"volatile.uuid", "volatile.cloud-init.instance-id", "volatile.eth0.hwaddr"} {
			if config[key] == source.Config[key] || config[key] == "" || source.Config[key] == "" {
				t.Errorf("%s is %q, the source's %q", key, config[key], source.Config[key])
			}
		}
	}
	if made.Config["volatile.base_image"] != source.Config["volatile.base_image"] {
		t.Errorf("another image: %v", made.Config)
	}
}

// TestCopyRefused: a copy that cannot be made leaves nothing.
func TestCopyRefused(t *testing.T) {
	h := opHost(t)
	ensure1(h)
	h.ok("init", "bb", "c2")
	for _, c := range []struct {
		code       int
		want, args string
	}{
		{1, `c2: already exists`, "c1 c2"},
		{1, `c1: already exists`, "c1 c1"},
		{1, `cannot find instance "none": not found\nhint: `, "none c3"},
		{1, `cannot find instance "none": not found\nhint: `, "none none"},
		{1, `cannot find instance "\.\."`, "../c1 c3"},
		{1, `cannot copy c1/s9 to c3: not found\nhint: .*snapshot list c1`, "c1/s9 c3"},
		{1, `cannot copy c1/\.\./c1/s0 to c3: not found`, "c1/../c1/s0 c3"},
		{1, `invalid name "3c"`, "c1 3c"},
		{1, `unknown key "limits"`, "c1 c3 -c limits=1"},
		{2, `key=value`, "c1 c3 -c limits"},
		{2, `names no snapshot`, "c1/ c3"},
		{2, `--instance-only`, "c1/s0 c3 --instance-only"},
		{2, `too few`, ""},
		{2, `unexpected argument "c4"`, "c1 c3 c4"},
	} {
		h.fails(c.code, c.want, append([]string{"copy"}, strings.Fields(c.args)...)...)
	}
	record := filepath.Join(h.state, "storage-pools/default/containers/c2/backup.yaml")
	if err := os.WriteFile(record, []byte("{"), 0o400); err != nil {
		t.Fatal(err)
	}
	h.fails(1, `cannot copy c2 to c3: .*damaged`, "copy", "c2", "c3")
	if all := h.instances(); len(all) != 2 {
		t.Errorf("instances: %v", all)
	}
	if found, _ := filepath.Glob(filepath.Join(h.state, "storage-pools/default/.poolctl/staging/*")); len(found) != 0 {
		t.Errorf("left: %v", found)
	}
}

// TestCopyAtOnce copies one instance from several commands at the same time: to one name only one does it, to others all,
// also in a ring. A name that is not given is made up.
func TestCopyAtOnce(t *testing.T) {
	h := opHost(t)
	ensure1(h)
	if results := h.together([][]string{{"copy", "c1", "d"}, {"copy", "c1", "d"}, {"copy", "c1/s0", "d"}, {"copy", "c1", "d"}}...); succeeded(results) != 1 {
		t.Errorf("one should succeed: %v", results)
	}
	var commands [][]string
	for i := range 3 {
		commands = append(commands, []string{"copy", "c1", fmt.Sprintf("a%d", i)}, []string{"copy", "d", fmt.Sprintf("b%d", i)})
	}
	commands = append(commands, []string{"copy", "c1"}, []string{"copy", "d"})
	results := h.together(commands...)
	if succeeded(results) != len(commands) {
		t.Errorf("all should succeed: %v", results)
	}
	for _, r := range results[6:] {
		name := strings.TrimSpace(strings.TrimPrefix(r.stdout, "Instance name is: "))
		if in := h.instances()[name]; in.Problem != "" || len(in.Snapshots) > 1 {
			t.Errorf("%s: %+v", r, in)
		}
		works(h, name, `^(old|new)\n$`)
	}
}

// copyOps are the copies for the tests that interrupt, kill and crash commands: there is no copy, or the whole one.
func copyOps() []op {
	has := func(h *host) bool {
		_, ok := h.instances()["c2"]
		return ok
	}
	verify := func(want string, snapshots int) func(h *host) {
		return func(h *host) {
			if !has(h) {
				h.ok("copy", "c1", "c2")
			} else if n := len(h.instances()["c2"].Snapshots); n != snapshots {
				h.t.Errorf("the copy has %d snapshots, want %d", n, snapshots)
			} else {
				works(h, "c2", want)
			}
			works(h, "c1", `^new\n$`)
			h.ok("delete", "c2")
			h.ok("delete", "c1")
		}
	}
	return []op{
		{name: "copy", args: []string{"copy", "c1", "c2"}, prepare: ensure1, verify: verify(`^new\n$`, 1), made: has},
		{name: "copy of a snapshot", args: []string{"copy", "c1/s0", "c2"}, prepare: ensure1, verify: verify(`^old\n$`, 0), made: has},
	}
}
