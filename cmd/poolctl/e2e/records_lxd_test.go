package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"poolctl/fixtures"
)

// oddValue is what YAML and JSON, and what quotes them, may trip over.
const oddValue = "\ttab: #no comment, \"'\\ {}[]&*!|>%@`\nsecond line \n\n 0x1F \u2028ünï\u0085 \u00a0\U0001f600~"

// sideBySide are a real LXD and a host of ours that are given the same commands.
type sideBySide struct {
	t     *testing.T
	h     *host
	l     *lxd
	words *strings.Replacer
	// then says that profiles have changed since there were snapshots: LXD has no profiles of a snapshot's own, and says those
	// that the instance has now.
	then bool
	told map[string]bool
}

// TestRecordsAsLXD: what real LXD and poolctl are told to do with instances of the same names, both have the same in every
// backup.yaml after it, key by key.
func TestRecordsAsLXD(t *testing.T) {
	m := serve(t, smallMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(m)
	s := &sideBySide{t: t, h: h, l: newLXD(t, filepath.Join(h.dir, "l"), m), told: map[string]bool{}}
	data := filepath.Join(h.dir, "data")
	if err := os.Mkdir(data, 0o755); err != nil {
		t.Fatal(err)
	}
	s.words = strings.NewReplacer("DATA", data, "BRIDGE", h.bridge)
	s.l.run("storage_pools:\n- {name: default, driver: btrfs, config: {size: 2GiB}}\n- {name: second, driver: btrfs, config: {size: 300MiB}}\n", "lxd", "init", "--preseed")
	s.l.lxc("remote", "add", "m", m.URL, "--protocol=simplestreams", "--public")
	h.ok("pool", "create", "second", "size=300MiB")
	s.edit("config: {user.tier: gold}\ndescription: of both\ndevices: {root: {path: /, pool: default, type: disk}}\n", "profile edit default")
	s.configuration()
	s.snapshots()
	s.profiles()
	s.copies()
	s.volumes()
	s.running()
	s.recovered()
}

// configuration changes the configuration and the devices of c1.
func (s *sideBySide) configuration() {
	s.t.Helper()
	s.later("profile create web", "profile set web user.web=1 limits.memory=128MiB")
	s.same("init m:busybox c1 -c user.k=1 -p default -p web", "config set c1 user.a=1 limits.cpu=1 boot.autostart=true", "config unset c1 user.a")
	for _, v := range []string{oddValue, "null", "0123", "1e3", "yes", "2001-02-03", "<<", " ", "~"} {
		s.do("config", "set", "c1", "user.odd", v)
	}
	s.compare("odd values")
	s.same(
		"config device add c1 data disk source=DATA path=/srv/data", "config device set c1 data readonly=true", "config device unset c1 data readonly",
		"config device add c1 eth0 nic nictype=bridged parent=BRIDGE name=eth0", "config device add c1 null unix-char source=/dev/null path=/dev/null2",
		"config device add c1 web proxy listen=tcp:127.0.0.1:18080 connect=tcp:127.0.0.1:80", "config device remove c1 null",
		"config device override c1 root size=50MiB")
}

// snapshots makes snapshots of c1 and restores one.
func (s *sideBySide) snapshots() {
	s.t.Helper()
	s.same("snapshot c1 s1", "config set c1 snapshots.expiry=1d", "snapshot c1 s2", "snapshot c1 s3 --no-expiry")
	s.later("move c1/s3 c1/s4") // LXD writes it at the next change
	s.same("config device set c1 root size=60MiB", "snapshot c1 s5", "delete c1/s5")
	s.later("config device set c1 root size=50MiB") // a restore keeps the size of now
	s.same("restore c1 s1")
}

// profiles changes what c1 has of profiles, and which.
func (s *sideBySide) profiles() {
	s.t.Helper()
	s.then = true
	s.same("profile set web user.web=2", "profile unset web limits.memory", "profile device add web tmp disk source=DATA path=/srv/tmp",
		"profile device set web tmp readonly=true", "profile device remove web tmp", "profile device add web eth1 nic nictype=bridged parent=BRIDGE name=eth1")
	s.later("profile rename web www", "profile create other")
	s.same("profile assign c1 default", "profile add c1 www", "profile remove c1 www", "profile assign c1 www,default")
}

// copies makes instances of c1, and gives them other names and another pool.
func (s *sideBySide) copies() {
	s.t.Helper()
	s.same("copy c1 c2", "copy c1 c3 --instance-only", "copy c1 c5 --storage second", "rename c1 d1", "move c2 d2", "move c3 d3 --storage second")
	s.later("delete c5 d3")
}

// volumes attaches a custom volume to d1, and changes it.
func (s *sideBySide) volumes() {
	s.t.Helper()
	s.same("storage volume create default vol size=100MiB user.v=1", "storage volume attach default vol d1 vol /srv/vol", "storage volume set default vol user.v=2",
		"storage volume snapshot default vol vs1", "storage volume rename default vol vil", "storage volume restore default vil vs1",
		"snapshot d1 s7", "storage volume detach default vil d1")
}

// running changes d1 while it runs, the pool, and at last all of d1's configuration at once.
func (s *sideBySide) running() {
	s.t.Helper()
	s.later("config device remove d1 eth0 web", "profile device remove www eth1", "start d1")
	s.same("config set d1 user.r=1", "snapshot d1 s8", "config device add d1 eth0 nic nictype=bridged parent=BRIDGE name=eth0")
	s.later("stop -f d1", "storage set default user.p=1") // LXD writes it at the next change
	s.same("config set d1 user.r=2")
	change := func(shown string) string {
		return strings.NewReplacer(`description: ""`, `description: "edited: yes"`, `limits.cpu: "1"`, `limits.cpu: "2"`).Replace(shown)
	}
	s.l.run(change(s.l.lxc("config", "show", "d1")), "lxc", "config", "edit", "d1")
	s.h.okStdin(change(s.h.ok("config", "show", "d1")), "config", "edit", "d1")
	s.compare("config edit")
}

// recovered has an LXD that knows nothing recover our pool, with more in it, where it is, and takes it back.
func (s *sideBySide) recovered() {
	s.t.Helper()
	h, l := s.h, s.l
	pool := filepath.Join(h.state, "storage-pools/default")
	tool(s.t, "sh", "-c", `cd "$0" && btrfs -q subvolume create sub-a && mkdir sub-a/x && btrfs -q subvolume create sub-a/x/b && echo deep > sub-a/x/b/mark`, filepath.Join(pool, "containers/d2/rootfs"))
	for i := range 10 { // the record is compressed from 16 KiB on
		h.ok("snapshot", "create", "d2", fmt.Sprintf("n%d", i))
	}
	if st, err := os.Stat(filepath.Join(pool, "containers/d2/backup.yaml")); err != nil || st.Size() < 20<<10 {
		s.t.Errorf("the record is small: %v, %v", st, err)
	}
	h.ok("config", "unset", "d1", "boot.autostart")
	h.ok("config", "unset", "d2", "boot.autostart")
	h.ok("rename", "d2", "e2")
	h.ok("snapshot", "rename", "e2", "n7", "seven")
	h.ok("delete", "e2/n8")
	h.ok("delete", "e2")
	h.ok("undelete", "e2")
	h.ok("copy", "d1", "gone")
	h.ok("delete", "gone", "e2/n9")
	h.ok("pool", "volume", "delete", "default", "vil/vs1")
	h.ok("pool", "volume", "snapshot", "create", "default", "vil", "vs3")
	l.stop()
	disk := filepath.Join(l.another(), "default.img")
	h.ok("pool", "detach", "default")
	h.ok("pool", "forget", "default")
	if err := os.Rename(filepath.Join(h.state, "disks/default.img"), disk); err != nil {
		s.t.Fatal(err)
	}
	h.ok("pool", "adopt", disk)
	h.ok("pool", "detach", "default")
	found := l.recover(disk, "www")
	h.fails(1, `has it mounted at .*/again/lxd/`, "pool", "attach", "default")
	if strings.Contains(found, "gone") || !strings.Contains(found, `"vil"`) {
		s.t.Errorf("LXD found\n%s", found)
	}
	if got := l.lxc("list", "-f", "csv", "-c", "nSd"); got != "d1,5,edited: yes\ne2,11,\n" {
		s.t.Errorf("LXD has %q", got)
	}
	if got := l.lxc("config", "get", "e2", "user.odd") + l.lxc("storage", "volume", "list", "default", "-f", "csv", "-c", "tn"); !strings.Contains(got, "custom (snapshot),vil/vs3") || strings.Contains(got, "vs1") || !strings.Contains(got, "e2/seven") {
		s.t.Errorf("LXD has\n%s", got)
	}
	l.stop() // what it has noted of the pool must do for the next start
	l.start()
	for _, name := range []string{"d1", "e2"} {
		l.lxc("start", name)
		l.lxc("exec", name, "--", "true")
	}
	if got := l.lxc("exec", "e2", "--", "cat", "/sub-a/x/b/mark"); got != "deep\n" {
		s.t.Errorf("in the nested subvolume LXD has %q", got)
	}
	l.lxc("stop", "-f", "d1", "e2")
	l.lxc("restore", "e2", "seven")
	l.lxc("snapshot", "e2", "theirs")
	l.stop()
	h.ok("start", "d1", "e2")
	h.matches(`theirs`, "snapshot", "list", "e2")
	h.ok("stop", "-f", "d1", "e2")
	h.ok("undelete", "gone")
}

// do gives both a command.
func (s *sideBySide) do(args ...string) {
	s.t.Helper()
	s.l.lxc(args...)
	s.h.ok(args...)
}

// later gives both commands after which LXD's records say what was.
func (s *sideBySide) later(commands ...string) {
	s.t.Helper()
	for _, c := range commands {
		args := strings.Fields(c)
		for i := range args {
			args[i] = s.words.Replace(args[i])
		}
		s.do(args...)
	}
}

// same gives both commands, and compares after each.
func (s *sideBySide) same(commands ...string) {
	s.t.Helper()
	for _, c := range commands {
		s.later(c)
		s.compare(c)
	}
}

// edit gives both a command with that input.
func (s *sideBySide) edit(stdin, command string) {
	s.t.Helper()
	s.l.run(stdin, "lxc", strings.Fields(command)...)
	s.h.okStdin(stdin, strings.Fields(command)...)
}

// compare compares all records. A difference is told once.
func (s *sideBySide) compare(after string) {
	s.t.Helper()
	seen := 0
	for _, pool := range []string{"default", "second"} {
		theirs := s.records(filepath.Join(s.l.dir, "lxd/storage-pools", pool))
		ours := s.records(filepath.Join(s.h.state, "storage-pools", pool))
		all := maps.Clone(theirs)
		maps.Copy(all, ours)
		for _, key := range slices.Sorted(maps.Keys(all)) {
			seen++
			if theirs[key] == ours[key] || maySay(key, theirs[key], ours[key]) {
				continue
			}
			what := fmt.Sprintf("%s: LXD has %q, we have %q", key, theirs[key], ours[key])
			if !s.told[what] {
				s.t.Errorf("after %s: %s", after, what)
			}
			s.told[what] = true
		}
	}
	if seen < 60 {
		s.t.Errorf("after %s: there are only %d keys", after, seen)
	}
}

var (
	// ofHost are the keys of a nic's name on the host, which LXD has while it runs; of the ids on this host, which are not a
	// snapshot's; and whether it runs.
	ofHost     = regexp.MustCompile(`/volatile\.\w+\.host_name$`)
	ofHostsIDs = regexp.MustCompile(`/snapshots\[\d+\].*/volatile\.idmap\.(next|current)$`)
	ofState    = regexp.MustCompile(`/container/status(_code)?$`)
	// ofSource is what the snapshots of a copy, or of what has another name, say of the instance in LXD: what that was.
	ofSource = regexp.MustCompile(`^containers-snapshots/([^c]|c[^1]).*: /((container|volume)/name|(volume_)?snapshots.*)$`)
)

// maySay says whether a difference is one that there is to be (docs/design.md).
func maySay(key, theirs, ours string) bool {
	return theirs == "" && ofHost.MatchString(key) || ours == "" && ofHostsIDs.MatchString(key) || ofState.MatchString(key) && ours != "" || ofSource.MatchString(key)
}

// records are the values in all records of a pool, by file and key.
func (s *sideBySide) records(pool string) map[string]string {
	s.t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"containers/*", "containers-snapshots/*/*", "custom/*", "custom-snapshots/*/*"} {
		found, err := filepath.Glob(filepath.Join(pool, pattern))
		if err != nil {
			s.t.Fatal(err)
		}
		for _, dir := range found {
			rel := strings.TrimPrefix(dir, pool+"/")
			out[rel] = "there"
			raw, err := os.ReadFile(filepath.Join(dir, "backup.yaml"))
			if os.IsNotExist(err) { // custom volumes have none
				continue
			}
			var doc map[string]any
			if err == nil {
				err = yaml.Unmarshal(raw, &doc)
			}
			if err != nil {
				s.t.Fatalf("%s: %v", dir, err)
			}
			s.comparable(doc)
			flatten(out, rel+": ", doc)
		}
	}
	return out
}

// comparable keeps of the section "profiles" those that the instance uses, by their names: LXD has all there. And it leaves
// out what is not comparable of snapshots.
func (s *sideBySide) comparable(doc map[string]any) {
	profiles := map[string]any{}
	container, _ := doc["container"].(map[string]any)
	used, _ := container["profiles"].([]any)
	for _, p := range list(doc["profiles"]) {
		if name, ok := p["name"].(string); ok && slices.Contains(used, any(name)) {
			profiles[name] = p
		}
	}
	doc["profiles"] = profiles
	for _, snap := range list(doc["snapshots"]) {
		for _, key := range []string{"profiles", "expanded_config", "expanded_devices"} {
			if _, there := snap[key]; there && s.then {
				snap[key] = "of then"
			}
		}
	}
}

func list(v any) (out []map[string]any) {
	all, _ := v.([]any)
	for _, element := range all {
		if members, ok := element.(map[string]any); ok {
			out = append(out, members)
		}
	}
	return out
}

// flatten writes the values of a document into out, without what must differ: times, where the pool is, and what is volatile.
func flatten(out map[string]string, path string, v any) {
	switch v := v.(type) {
	case map[string]any:
		out[path] = "{}"
		for key, value := range v {
			flatten(out, path+"/"+key, value)
		}
	case []any:
		out[path] = "[]"
		for i, value := range v {
			flatten(out, fmt.Sprintf("%s[%d]", path, i), value)
		}
	case time.Time: // LXD does not quote them
		out[path] = moment(v)
	case string:
		at, err := time.Parse(time.RFC3339Nano, v)
		switch {
		case err == nil && strings.HasSuffix(path, "_at"):
			v = moment(at)
		case strings.Contains(path, "/volatile.") || strings.HasSuffix(path, "/pool/config/source"):
			v = "of its own"
		case strings.Contains(path, "devices/") && v == "": // what LXD makes of `device unset`
			return
		}
		out[path] = v
	default:
		out[path] = fmt.Sprintf("%T %v", v, v)
	}
}

// moment says of a time what can be the same.
func moment(at time.Time) string {
	switch {
	case at.IsZero():
		return "0001"
	case at.Unix() == 0:
		return "1970"
	}
	return "a time"
}
