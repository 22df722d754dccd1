package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"poolctl/btrfs"
)

// ensurePool makes the pool p4 with a file in it; args are of its creation.
func ensurePool(h *host, args ...string) {
	h.t.Helper()
	if slices.Contains(h.names("pool", "list"), "p4") {
		return
	}
	h.ok(append([]string{"pool", "create", "p4"}, args...)...)
	if err := os.WriteFile(filepath.Join(h.state, "storage-pools/p4/mark"), []byte("precious"), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// dropPool looks that the pool p4 is attached, whole and can be written, and deletes it.
func dropPool(h *host) {
	h.t.Helper()
	h.ok("pool", "attach", "p4")
	mark := filepath.Join(h.state, "storage-pools/p4/mark")
	if got, err := os.ReadFile(mark); err != nil || string(got) != "precious" {
		h.t.Errorf("the mark is %q, %v", got, err)
	}
	h.ok("pool", "scrub", "start", "p4")
	h.ok("pool", "delete", "p4", "--force")
}

// maintenanceOps look after pools.
func maintenanceOps() []op {
	ensure := func(h *host) { ensurePool(h, "size=300MiB") }
	rebalanced := func(h *host) { // one that is ended or paused would be in the way
		h.ok("pool", "balance", "p4", "--full")
		dropPool(h)
	}
	sparse := func(h *host) { // block groups that are worth packing
		ensurePool(h, "size=800MiB")
		dir := filepath.Join(h.state, "storage-pools/p4")
		for _, name := range []string{"a", "b", "c"} {
			if err := os.WriteFile(filepath.Join(dir, name), make([]byte, 20<<20), 0o600); err != nil {
				h.t.Fatal(err)
			}
			if err := btrfs.Sync(dir); err != nil {
				h.t.Fatal(err)
			}
		}
		h.sh("rm", dir+"/a", dir+"/b")
	}
	shrunk := func(h *host) {
		var info struct {
			File  struct{ Size int64 }
			Usage struct{ Size int64 }
			Loop  []struct{ Size int64 } `json:"loop_devices"`
		}
		if h.json(&info, "pool", "info", "p4"); len(info.Loop) != 1 || info.Loop[0].Size != info.File.Size || info.Usage.Size != info.File.Size {
			h.t.Errorf("sizes after a compaction: %+v", info)
		}
		dropPool(h)
	}
	return []op{
		{name: "pool trim", quiet: true, args: []string{"pool", "trim", "p4"}, prepare: sparse, verify: dropPool},
		{name: "pool balance", quiet: true, args: []string{"pool", "balance", "p4", "--full"}, prepare: ensure, verify: rebalanced},
		{name: "pool scrub", args: []string{"pool", "scrub", "start", "p4"}, prepare: ensure, verify: dropPool},
		{name: "pool compact --shrink", every: 5, args: []string{"pool", "compact", "p4", "--shrink=auto"}, prepare: sparse, verify: shrunk},
		{name: "pool attach --all", quiet: true, args: []string{"pool", "attach", "--all"}, prepare: func(h *host) { ensure(h); h.ok("pool", "detach", "--all") }, verify: dropPool},
		{name: "pool detach --all", quiet: true, args: []string{"pool", "detach", "--all"}, prepare: func(h *host) { ensure(h); h.ok("pool", "attach", "--all") }, verify: dropPool},
		{name: "pool set btrfs.mount_options", args: []string{"pool", "set", "p4", "btrfs.mount_options=noatime,commit=7", "compress=lzo"}, prepare: func(h *host) {
			ensurePool(h, "size=200MiB", "compress=zstd")
		}, verify: optionsAgree},
		{name: "doctor --fix", args: []string{"doctor", "--fix"}, prepare: func(h *host) {
			ensure(h)
			if err := os.Rename(filepath.Join(h.state, "disks/p4.img"), filepath.Join(h.dir, "moved.img")); err != nil && !os.IsNotExist(err) {
				h.t.Fatal(err)
			}
		}, verify: func(h *host) {
			h.ok("doctor", "--fix")
			h.matches(`source: `+regexp.QuoteMeta(filepath.Join(h.dir, "moved.img")), "pool", "show", "p4")
			dropPool(h)
			if _, err := os.Lstat(filepath.Join(h.dir, "moved.img")); err == nil {
				h.t.Error("the deleted pool's file is there")
			}
		}},
		deviceResize("pool grow, device", "max", "400MiB"),
		deviceResize("pool shrink, device", "400MiB", "max"),
	}
}

// optionsAgree looks that the pool p4 has the old configuration or the new one, and that what is mounted has it too.
func optionsAgree(h *host) {
	h.t.Helper()
	got := strings.TrimSpace(h.ok("pool", "get", "p4", "btrfs.mount_options")) + " " + strings.TrimSpace(h.ok("pool", "get", "p4", "compress"))
	want := map[string]string{" zstd": "compress=zstd", "noatime,commit=7 lzo": "noatime.*commit=7|compress=lzo"}[got]
	mounted := ""
	for _, line := range strings.Split(h.sh("cat", "/proc/self/mountinfo"), "\n") {
		if strings.Contains(line, h.state+"/storage-pools/p4 ") {
			mounted = line
		}
	}
	for _, one := range strings.Split(want, "|") {
		if want == "" || !regexp.MustCompile(one).MatchString(mounted) {
			h.t.Errorf("configured is %q, mounted %s", got, mounted)
		}
	}
	dropPool(h)
}

// deviceResize resizes a pool on a block device of 700 MiB from one size to another.
func deviceResize(name, to, from string) op {
	return op{name: name, every: 2, args: []string{"pool", "resize", "p4", to}, prepare: func(h *host) {
		ensurePool(h, "source="+h.device("large-disk", "700M"))
		h.ok("pool", "resize", "p4", from)
	}, verify: func(h *host) {
		var info struct {
			Device struct{ Size int64 }
			Usage  struct{ Size int64 }
		}
		if h.json(&info, "pool", "info", "p4"); info.Device.Size != 700<<20 || info.Usage.Size != 700<<20 && info.Usage.Size != 400<<20 {
			h.t.Errorf("sizes after a resize: %+v", info)
		}
		dropPool(h)
	}}
}
