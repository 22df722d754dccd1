package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// volumeFile is a path in a custom volume of the pool "default".
func (h *host) volumeFile(volume, file string) string {
	return filepath.Join(h.state, "storage-pools/default/custom/default_"+volume, file)
}

// hasVolume says whether the pool "default" has the custom volume.
func hasVolume(h *host, name string) bool {
	return slices.Contains(strings.Split(h.ok("pool", "volume", "list", "default", "type=custom", "-c", "n", "--format", "csv"), "\n"), name)
}

// markVolume writes a mark into a custom volume.
func markVolume(h *host, volume, text string) {
	h.t.Helper()
	if err := os.WriteFile(h.volumeFile(volume, "mark"), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// ensureVolume makes the custom volume "v v", with the mark "old" in a snapshot s0 and the mark "new" now.
func ensureVolume(h *host) {
	if hasVolume(h, "v v") {
		return
	}
	h.ok("pool", "volume", "create", "default", "v v", "user.k=1")
	markVolume(h, "v v", "old")
	h.ok("pool", "volume", "snapshot", "create", "default", "v v", "s0", "--expiry", "2099-01-01")
	markVolume(h, "v v", "new")
}

// dropVolumes looks that every custom volume can be snapshotted, restored and read, and deletes it.
func dropVolumes(h *host) {
	h.t.Helper()
	for _, v := range []string{"v v", "w"} {
		if !hasVolume(h, v) {
			continue
		}
		if mark, err := os.ReadFile(h.volumeFile(v, "mark")); err == nil && string(mark) != "old" && string(mark) != "new" {
			h.t.Errorf("the mark of %s is %q", v, mark)
		}
		h.ok("pool", "volume", "snapshot", "create", "default", v, "probe")
		for _, s := range strings.Fields(h.ok("pool", "volume", "list", "default", "name=^"+v+"/", "-c", "n", "--format", "csv")) {
			if _, snap, ok := strings.Cut(s, "/"); ok {
				h.ok("pool", "volume", "snapshot", "restore", "default", v, snap)
			}
		}
		h.ok("pool", "volume", "delete", "default", v)
	}
}

func volumeOps() []op {
	nothing := func(*host) {}
	volume := func(args ...string) []string { return append([]string{"pool", "volume"}, args...) }
	const exported = "v.backup" // in the host's directory, where commands run
	used := func(h *host) {     // by a stopped instance
		ensure1(h)
		ensureVolume(h)
		if !strings.Contains(h.ok("config", "device", "show", "c1"), "v v") {
			h.ok(volume("attach", "default", "v v", "c1", "d", "/srv/v")...)
		}
	}
	followed := func(h *host) {
		name := "v v"
		if hasVolume(h, "w") {
			name = "w"
		}
		h.matches(`source: `+name, "config", "device", "show", "c1")
		h.ok("start", "c1")
		h.matches(`^new$`, "exec", "c1", "--", "cat", "/srv/v/mark")
		h.ok("stop", "--force", "c1")
		h.ok("delete", "c1")
		dropVolumes(h)
	}
	return []op{
		{name: "volume create", args: volume("create", "default", "w", "user.k=1"), prepare: nothing, verify: dropVolumes, made: func(h *host) bool { return hasVolume(h, "w") }},
		{name: "volume copy", args: volume("copy", "default/v v", "default/w"), prepare: ensureVolume, verify: dropVolumes, made: func(h *host) bool { return hasVolume(h, "w") }},
		{name: "volume snapshot", args: volume("snapshot", "create", "default", "v v", "s1", "--expiry", "3d"), prepare: ensureVolume, verify: dropVolumes},
		{name: "volume copy --refresh", args: volume("copy", "default/v v", "default/w", "--refresh"), prepare: func(h *host) {
			ensureVolume(h)
			if !hasVolume(h, "w") {
				h.ok(volume("copy", "default/v v/s0", "default/w")...)
			}
		}, verify: func(h *host) {
			if got := h.ok(volume("list", "default", "type=custom", "-c", "n", "--format", "csv")...); got != "v v\nv v/s0\nw\n" && got != "v v\nv v/s0\nw\nw/s0\n" {
				h.t.Errorf("the volumes are %q", got)
			}
			dropVolumes(h)
		}},
		{name: "volume snapshot --reuse", args: volume("snapshot", "create", "default", "v v", "s0", "--reuse"), prepare: ensureVolume, verify: func(h *host) {
			if got := h.ok(volume("list", "default", "name=^v v/", "--format", "csv", "-c", "n")...); got != "v v/s0\n" {
				h.t.Errorf("the snapshots are %q", got)
			}
			dropVolumes(h)
		}},
		{name: "volume export --force", args: volume("export", "default", "v v", exported, "--force"), prepare: func(h *host) {
			ensureVolume(h)
			if err := os.WriteFile(exported, []byte("old"), 0o600); err != nil {
				h.t.Fatal(err)
			}
		}, verify: func(h *host) {
			h.ok("pool", "list")
			if beside, _ := filepath.Glob(filepath.Join(filepath.Dir(exported), "."+filepath.Base(exported)+"*")); len(beside) > 0 {
				h.t.Errorf("left: %q", beside)
			}
			if err := os.Remove(exported); err != nil {
				h.t.Error(err)
			}
			dropVolumes(h)
		}},
		{name: "volume restore", args: volume("restore", "default", "v v", "s0"), prepare: ensureVolume, verify: dropVolumes},
		{name: "volume restore --keep", args: volume("restore", "default", "v v", "s0", "--keep"), prepare: ensureVolume, every: 3, verify: func(h *host) {
			mark, err := os.ReadFile(h.volumeFile("v v", "mark"))
			kept := strings.Contains(h.ok(volume("list", "default", "name=^v v/", "--format", "csv", "-c", "n")...), "v v/snap0\n")
			if err != nil || kept != (string(mark) == "old") {
				h.t.Errorf("it has the mark %q, %v, and what it was is kept: %t", mark, err, kept)
			}
			dropVolumes(h)
		}},
		{name: "volume delete", args: volume("delete", "default", "v v"), prepare: ensureVolume, verify: dropVolumes},
		{name: "volume rename", args: volume("rename", "default", "v v", "w"), prepare: used, verify: followed},
		{name: "volume export and import", args: volume("import", "default", exported, "w"), prepare: func(h *host) {
			ensureVolume(h)
			h.ok(volume("export", "default", "v v", exported, "--force")...)
		}, verify: func(h *host) {
			dropVolumes(h)
			if err := os.Remove(filepath.Join(h.dir, exported)); err != nil {
				h.t.Error(err)
			}
		}, made: func(h *host) bool { return hasVolume(h, "w") }},
		{name: "volume export", args: volume("export", "default", "v v", "out/v.backup"), prepare: func(h *host) {
			ensureVolume(h)
			if err := os.Mkdir(filepath.Join(h.dir, "out"), 0o700); err != nil && !os.IsExist(err) {
				h.t.Fatal(err)
			}
		}, verify: func(h *host) {
			h.ok(volume("delete", "default", "v v")...)
			if _, err := os.Stat(filepath.Join(h.dir, "out/v.backup")); err == nil { // whole
				h.ok(volume("import", "default", "out/v.backup", "w")...)
				h.holds(filepath.Join(h.dir, "out"), "v.backup")
			} else {
				h.holds(filepath.Join(h.dir, "out"), "")
			}
			dropVolumes(h)
			if err := os.RemoveAll(filepath.Join(h.dir, "out")); err != nil {
				h.t.Error(err)
			}
		}, made: func(h *host) bool { _, err := os.Stat(filepath.Join(h.dir, "out/v.backup")); return err == nil }},
		{name: "volume attach", args: volume("attach", "default", "v v", "c1", "d", "/srv/v"), prepare: runningWithVolume(""), verify: attachedOrNot},
		{name: "volume detach", args: volume("detach", "default", "v v", "c1", "d"), prepare: runningWithVolume("d"), verify: attachedOrNot},
	}
}

// runningWithVolume has c1 run, and the volume "v v" be its device of that name, or of none.
func runningWithVolume(device string) func(h *host) {
	return func(h *host) {
		ensure1(h)
		ensureVolume(h)
		h.ok("start", "c1")
		if device != "" {
			h.ok("pool", "volume", "attach", "default", "v v", "c1", device, "/srv/v")
		}
	}
}

// attachedOrNot looks that c1 has the volume where its configuration says so, now and after a new start, and nowhere else.
func attachedOrNot(h *host) {
	h.t.Helper()
	has := strings.Contains(h.ok("config", "device", "show", "c1"), "v v")
	for _, when := range []string{"as it runs", "started again"} {
		if r := h.run("exec", "c1", "--", "cat", "/srv/v/mark"); (r.code == 0 && r.stdout == "new") != has {
			h.t.Errorf("%s: attached is %t: %s", when, has, r)
		}
		h.ok("stop", "--force", "c1")
		h.ok("start", "c1")
	}
	h.ok("delete", "--force", "c1")
	dropVolumes(h)
}
