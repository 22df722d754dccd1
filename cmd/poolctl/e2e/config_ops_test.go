package e2e

import (
	"os"
	"slices"
	"strings"
)

// configOps change a running instance and profiles.
func configOps() []op {
	run := func(h *host) {
		ensure1(h)
		if profiles := h.names("profile", "list"); !slices.Contains(profiles, "web") && !slices.Contains(profiles, "www") {
			h.ok("profile", "create", "web")
		}
		if err := os.MkdirAll(h.dir+"/data", 0o755); err != nil {
			h.t.Fatal(err)
		}
		h.ok("profile", "assign", "c1", "default,web")
		h.ok("start", "c1")
	}
	// What is mounted in the instance is what its record and its profile say.
	verify := func(h *host) {
		in := h.instances()["c1"]
		web := "web"
		if slices.Contains(h.names("profile", "list"), "www") {
			web = "www"
		}
		if strings.Join(in.Profiles, ",") != "default,"+web {
			h.t.Errorf("c1 has the profiles %v, and there is %s", in.Profiles, web)
		}
		want := strings.TrimSpace(h.ok("profile", "get", web, "user.a")) == "1"
		if devices := strings.Fields(h.ok("profile", "device", "list", web)); slices.Contains(devices, "data") != want {
			h.t.Errorf("the profile has half of it: %v", devices)
		}
		if got := in.ExpandedConfig["user.a"] == "1"; got != want {
			h.t.Errorf("the record says %v", in.ExpandedConfig)
		}
		if in.Status == "Running" {
			mounted := h.run("exec", "c1", "--", "grep", "/srv/data", "/proc/mounts").code == 0
			if mounted != want {
				h.t.Errorf("mounted: %v, wanted: %v", mounted, want)
			}
		}
		works(h, "c1", `^new\n$`)
		h.ok("delete", "c1")
		h.ok("profile", "delete", web)
	}
	edit := func(h *host) {
		run(h)
		if !slices.Contains(h.names("profile", "list"), "new") {
			h.okStdin("config: {user.a: '1'}\ndevices: {data: {type: disk, source: "+h.dir+"/data, path: /srv/data}}\n", "profile", "create", "new")
		}
	}
	return []op{
		{name: "profile edit", args: []string{"profile", "copy", "--refresh", "new", "web"}, prepare: edit, verify: func(h *host) { verify(h); h.ok("profile", "delete", "new") }},
		{name: "profile rename", args: []string{"profile", "rename", "web", "www"}, prepare: run, verify: verify},
		{name: "rename", args: []string{"rename", "c1", "r1"}, prepare: ensure1, verify: func(h *host) {
			name := "c1"
			if _, renamed := h.instances()["r1"]; renamed {
				name = "r1"
			}
			h.matches(`^s0,`, "snapshot", "list", name, "-f", "csv")
			works(h, name, `^new\n$`)
			h.ok("delete", name)
		}},
		{name: "rename with a change", args: []string{"move", "c1", "r1", "--config", "user.m=1"}, prepare: ensure1, verify: func(h *host) {
			name, want := "c1", ""
			if _, renamed := h.instances()["r1"]; renamed {
				name, want = "r1", "1"
			}
			if got := strings.TrimSpace(h.ok("config", "get", name, "user.m")); got != want {
				h.t.Errorf("%s has user.m=%q", name, got)
			}
			works(h, name, `^new\n$`)
			h.ok("delete", name)
		}},
		{name: "config set", args: []string{"config", "set", "c1", "user.b=1"}, prepare: run, verify: verify},
	}
}
