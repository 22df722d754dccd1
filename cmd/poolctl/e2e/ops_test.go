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
)

// op is a command that changes something, for the tests that interrupt, kill and crash it at any moment.
type op struct {
	name string
	args []string
	// prepare makes what the command needs; it may find that already made.
	prepare func(h *host)
	// verify looks, with commands, that the old state or the new one is there and works, and then takes away what prepare
	// and the command made.
	verify func(h *host)
	// made says whether what the command makes is there; nil for commands that make nothing.
	made func(h *host) bool
	// quiet commands write nothing that has an order, and need not have a crash point: those that they hit, if any, are of the
	// cleaning up after earlier commands.
	quiet bool
	// every thins out the crash points that are tried, of a command that has those of another one: one in so many.
	every int
}

// ops are all commands of the main job. They work in a host with a pool "default", the image "bb" and the remote "m".
func ops() []op {
	return slices.Concat(opsOfPools(), opsOfImages(), opsOfInstances(), opsOfNetworks(), opsOfBackups())
}

func opsOfPools() []op {
	return slices.Concat(poolOps(), poolKindOps(), poolSetOps(), adoptOps(), sizeOps(), volumeOps(), maintenanceOps())
}

func opsOfImages() []op {
	return slices.Concat(imageOps(), aliasOps(), refreshOps(), imageFileOps(), templateOps())
}

func opsOfInstances() []op {
	return slices.Concat(instanceOps(), snapshotOps(), copyOps(), fileOps(), configOps())
}

func opsOfNetworks() []op { return networkOps() }

func opsOfBackups() []op { return slices.Concat(trashOps(), backupOps()) }

func poolOps() []op {
	has := func(h *host) bool { return slices.Contains(h.names("pool", "list"), "p2") }
	ensure := func(h *host) {
		if !has(h) {
			h.ok("pool", "create", "p2", "size=200MiB")
		}
	}
	verify := func(h *host) {
		ensure(h)
		h.matches(`p2`, "pool", "info", "p2")
		h.ok("pool", "detach", "p2")
		h.ok("pool", "delete", "p2")
		if _, err := os.Lstat(filepath.Join(h.state, "disks/p2.img")); err == nil {
			h.t.Error("the deleted pool's file is there")
		}
	}
	return []op{
		{name: "pool create", args: []string{"pool", "create", "p2", "size=200MiB"}, prepare: func(*host) {}, verify: verify, made: has},
		{name: "pool delete", args: []string{"pool", "delete", "p2"}, prepare: ensure, verify: verify},
		{name: "pool forget", args: []string{"pool", "forget", "p2"}, prepare: ensure, verify: func(h *host) {
			if !has(h) {
				h.ok("pool", "adopt", filepath.Join(h.state, "disks/p2.img"))
			}
			h.ok("pool", "delete", "--force", "p2")
		}},
		{name: "pool detach", args: []string{"pool", "detach", "p2"}, prepare: func(h *host) { ensure(h); h.ok("pool", "attach", "p2") }, verify: verify},
		{name: "pool grow", args: []string{"pool", "resize", "p2", "800MiB"}, prepare: sized("400MiB"), verify: resized},
		{name: "pool shrink", args: []string{"pool", "resize", "p2", "400MiB"}, prepare: sized("800MiB"), verify: resized},
		{name: "pool attach", args: []string{"pool", "attach", "p2"}, prepare: func(h *host) { ensure(h); h.ok("pool", "detach", "p2") }, verify: verify},
	}
}

// sized makes the pool p2 of a size.
func sized(size string) func(h *host) {
	return func(h *host) {
		if !slices.Contains(h.names("pool", "list"), "p2") {
			h.ok("pool", "create", "p2", "size="+size)
		}
	}
}

// resized checks that the sizes of a pool's file, loop device and file system, and that of its record, are all the old one
// or all the new one.
func resized(h *host) {
	var info struct {
		Pool  struct{ Config map[string]string }
		File  struct{ Size int64 }
		Usage struct{ Size int64 }
		Loop  []struct{ Size int64 } `json:"loop_devices"`
	}
	h.json(&info, "pool", "info", "p2")
	want := map[int64]string{400 << 20: "400MiB", 800 << 20: "800MiB"}[info.File.Size]
	if want == "" || want != info.Pool.Config["size"] || len(info.Loop) != 1 || info.Loop[0].Size != info.File.Size || info.Usage.Size != info.File.Size {
		h.t.Errorf("sizes after a resize: %+v", info)
	}
	h.ok("pool", "delete", "p2")
}

func imageOps() []op {
	has := func(h *host) bool {
		for _, im := range h.images() {
			for _, a := range im.Aliases {
				if a.Name == "al" {
					return true
				}
			}
		}
		return false
	}
	ensure := func(h *host) {
		if !has(h) {
			h.ok("image", "pull", "m:alpine", "--alias", "al")
		}
	}
	verify := func(h *host) {
		ensure(h)
		h.ok("init", "al", "from-al")
		works(h, "from-al", "")
		h.ok("delete", "from-al")
		h.ok("image", "delete", "al")
	}
	return []op{
		{name: "image pull", args: []string{"image", "pull", "m:alpine", "--alias", "al"}, prepare: func(*host) {}, verify: verify, made: has},
		{name: "image delete", args: []string{"image", "delete", "al"}, prepare: ensure, verify: verify},
		machineOp(),
	}
}

// machineOp pulls the image of a virtual machine.
func machineOp() op {
	pull := []string{"image", "pull", "m:vm", "--alias", "machine"}
	has := func(h *host) bool {
		for _, im := range h.images() {
			if len(im.Aliases) > 0 && im.Aliases[0].Name == "machine" {
				return true
			}
		}
		return false
	}
	return op{name: "image pull of a virtual machine", args: pull, prepare: func(*host) {}, made: has, verify: func(h *host) {
		if !has(h) {
			h.ok(pull...)
		}
		dir := strings.TrimSpace(h.ok("mount", "local:machine"))
		if text, err := os.ReadFile(filepath.Join(dir, "etc/hostname")); string(text) != "on the disk\n" {
			h.t.Errorf("on the disk is %q, %v", text, err)
		}
		h.ok("umount", "local:machine")
		h.ok("image", "delete", "machine")
	}}
}

// has1 says whether the instance c1 is there.
func has1(h *host) bool {
	_, ok := h.instances()["c1"]
	return ok
}

// ensure1 makes c1, stopped, with the mark "old" in a snapshot s0 and the mark "new" now.
func ensure1(h *host) {
	in, ok := h.instances()["c1"]
	if ok && in.Status == "Running" {
		h.ok("stop", "--force", "c1")
	}
	if ok {
		return
	}
	h.ok("init", "bb", "c1")
	mark(h, "c1", "old")
	h.ok("snapshot", "create", "c1", "s0")
	mark(h, "c1", "new")
}

// mark writes into a stopped instance.
func mark(h *host, name, text string) {
	h.t.Helper()
	dir := strings.TrimSpace(h.ok("mount", "--rw", name))
	if i := strings.LastIndex(dir, "/"); i < 0 {
		h.t.Fatalf("mount should print where: %q", dir)
	}
	if err := os.WriteFile(filepath.Join(dir[strings.Index(dir, "/"):], "root/mark"), []byte(text+"\n"), 0o644); err != nil {
		h.t.Fatal(err)
	}
	h.ok("umount", name)
}

// works starts an instance if it is stopped, runs a command in it and stops it; want is an expression for its mark.
func works(h *host, name, want string) {
	h.t.Helper()
	if h.instances()[name].Status != "Running" {
		h.ok("start", name)
	}
	if want != "" {
		h.matches(want, "exec", name, "--", "cat", "/root/mark")
	} else {
		h.ok("exec", name, "--", "true")
	}
	h.ok("stop", "--force", name)
}

func instanceOps() []op {
	made := func(h *host) {
		if !has1(h) {
			h.ok("init", "bb", "c1")
		}
		works(h, "c1", "")
		h.ok("delete", "c1")
	}
	verify := func(h *host) {
		works(h, "c1", `^new\n$`)
		h.ok("delete", "c1")
	}
	run := func(h *host) { ensure1(h); h.ok("start", "c1") }
	return []op{
		{name: "init", args: []string{"init", "bb", "c1"}, prepare: func(*host) {}, verify: made, made: has1},
		{name: "launch", args: []string{"launch", "bb", "c1"}, prepare: func(*host) {}, verify: made},
		{name: "launch of a new image", args: []string{"launch", "m:alpine", "c1"}, prepare: func(*host) {}, verify: func(h *host) {
			made(h)
			for fp, im := range h.images() {
				if len(im.Aliases) == 0 || im.Aliases[0].Name != "bb" {
					h.ok("image", "delete", fp)
				}
			}
		}},
		{name: "start", args: []string{"start", "c1"}, prepare: ensure1, verify: verify},
		{name: "stop", args: []string{"stop", "c1"}, prepare: run, verify: verify},
		{name: "stop --force", args: []string{"stop", "--force", "c1"}, prepare: run, verify: verify},
		{name: "restart --force", args: []string{"restart", "--force", "c1"}, prepare: run, verify: verify},
		{name: "rebuild", args: []string{"rebuild", "bb", "c1"}, prepare: ensure1, verify: rebuilt},
		{name: "rebuild --force", args: []string{"rebuild", "--force", "bb", "c1"}, prepare: run, verify: rebuilt},
		{name: "delete", args: []string{"delete", "c1"}, prepare: ensure1, verify: func(h *host) {
			if has1(h) {
				verify(h)
			}
		}},
		{name: "delete --force", args: []string{"delete", "--force", "c1"}, prepare: run, verify: func(h *host) {
			if has1(h) {
				verify(h)
			}
		}},
	}
}

// rebuilt checks that an instance works with the old root or the new one, and has its snapshot.
func rebuilt(h *host) {
	works(h, "c1", "")
	h.ok("restore", "c1", "s0")
	works(h, "c1", `^old\n$`)
	h.ok("delete", "c1")
}

func snapshotOps() []op {
	verify := func(h *host) {
		snapshots := h.instances()["c1"].Snapshots
		h.ok("mount", "c1/s0")
		h.ok("umount", "c1/s0")
		works(h, "c1", `^(old|new)\n$`)
		h.ok("snapshot", "restore", "c1", snapshots[len(snapshots)-1].Name)
		works(h, "c1", `^(old|new)\n$`)
		h.ok("delete", "c1")
	}
	return []op{
		{name: "snapshot create", args: []string{"snapshot", "create", "c1", "s1"}, prepare: ensure1, verify: verify},
		{name: "diff", args: []string{"diff", "c1/s0"}, prepare: ensure1, verify: verify},
		{name: "snapshot rename", args: []string{"snapshot", "rename", "c1", "s0", "s9"}, prepare: ensure1, verify: func(h *host) {
			if snapshots := h.instances()["c1"].Snapshots; len(snapshots) != 1 {
				h.t.Errorf("%+v", snapshots)
			}
			h.run("snapshot", "rename", "c1/s9", "s0")
			verify(h)
		}},
		{name: "snapshot create --reuse", args: []string{"snapshot", "create", "c1", "s0", "--reuse"}, prepare: ensure1, every: 3, verify: func(h *host) {
			if snapshots := h.instances()["c1"].Snapshots; len(snapshots) != 1 {
				h.t.Errorf("%+v", snapshots)
			}
			verify(h)
		}},
		{name: "restore --keep", args: []string{"restore", "c1", "s0", "--keep"}, prepare: ensure1, every: 3, verify: func(h *host) {
			root := filepath.Join(h.state, "storage-pools/default/containers/c1/rootfs/root/mark")
			mark, err := os.ReadFile(root)
			if kept := len(h.instances()["c1"].Snapshots) == 2; err != nil || kept != (string(mark) == "old\n") {
				h.t.Errorf("it has the mark %q, %v, and what it was is kept: %t", mark, err, kept)
			}
			verify(h)
		}},
		{name: "exec --offline", args: []string{"exec", "--offline", "c1", "--", "cat", "/root/mark"}, prepare: ensure1, verify: verify, quiet: true},
		{name: "exec --offline of a snapshot", args: []string{"exec", "--offline", "c1/s0", "--", "cat", "/root/mark"}, prepare: ensure1, verify: verify},
		{name: "snapshot restore", args: []string{"snapshot", "restore", "c1", "s0"}, prepare: ensure1, verify: verify},
		{name: "snapshot delete", args: []string{"snapshot", "delete", "c1", "s0"}, prepare: ensure1, verify: func(h *host) {
			for _, s := range h.instances()["c1"].Snapshots {
				h.ok("snapshot", "restore", "c1", s.Name)
			}
			works(h, "c1", `^(old|new)\n$`)
			h.ok("delete", "c1")
		}},
	}
}

// strays lists what is on the machine and in the pools that no pool and no running instance accounts for. It asks the
// program once what there is, which is also "the next command" after a killed one, and then only the kernel, for as long
// as processes may take to end.
func strays(t *testing.T, h *host) []string {
	t.Helper()
	running := []string{}
	for name, in := range h.instances() {
		if in.Problem != "" || in.Status != "Running" && in.Status != "Stopped" {
			t.Errorf("%s is listed but does not work: %s %s", name, in.Status, in.Problem)
		}
		if in.Status == "Running" {
			running = append(running, name)
		}
	}
	pools := h.names("pool", "list")
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		found := h.unaccounted(pools, running)
		if len(found) == 0 || time.Now().After(deadline) {
			return found
		}
	}
}

// unaccounted looks once.
func (h *host) unaccounted(pools, running []string) []string {
	var found []string
	perPool := map[string]int{}
	for thing, about := range h.mine() {
		kind, path, _ := strings.Cut(thing, " ")
		known := slices.ContainsFunc(running, func(name string) bool { return isOf(h.state, name, thing+" "+about) })
		switch kind {
		case "loop":
			pool := strings.TrimSuffix(filepath.Base(about), ".img")
			perPool[pool]++
			known = slices.Contains(pools, pool) && perPool[pool] == 1
		case "mount":
			known = known || slices.ContainsFunc(pools, func(p string) bool { return strings.HasSuffix(path, h.state+"/storage-pools/"+p) })
		case "cgroup":
			known = known || strings.HasSuffix(path, cgroupOf(h.state))
		case "process":
			known = known || strings.Contains(about, "dnsmasq")
		}
		if !known {
			found = append(found, thing+" "+about)
		}
	}
	if ports, _ := filepath.Glob("/sys/class/net/" + h.bridge + "/brif/*"); h.bridge != "" && len(ports) != len(running) {
		found = append(found, fmt.Sprintf("bridge %s has the ports %v for %d running instances", h.bridge, ports, len(running)))
	}
	dirs := []string{filepath.Join(h.state, "journal")}
	for _, p := range pools {
		dirs = append(dirs, filepath.Join(h.state, "storage-pools", p, ".poolctl/staging"))
	}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir) // a detached pool has none
		for _, e := range entries {
			found = append(found, filepath.Join(dir, e.Name()))
		}
	}
	for _, pattern := range []string{".*.json*", "pools/.*.json*", "networks/.*.json*", "profiles/.*.json*"} {
		unfinished, _ := filepath.Glob(filepath.Join(h.state, pattern)) // its only error is that of a bad pattern
		found = append(found, unfinished...)
	}
	return found
}

// isOf says whether a line about a thing names the instance: its run directory, its cgroup or its supervisor's.
func isOf(state, name, line string) bool {
	return regexp.MustCompile(`(/instances/|` + cgroupOf(state) + `/)` + regexp.QuoteMeta(name) + `(\.monitor)?(/| |$)`).MatchString(line)
}
