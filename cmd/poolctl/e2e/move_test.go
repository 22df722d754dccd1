package e2e

import (
	"strings"
	"testing"
)

// toPoolOps send an instance to the pool p2: the copy is whole or not there, what is moved is in one of the two.
func toPoolOps() []op {
	prepare := func(h *host) {
		if h.run("pool", "show", "p2").code != 0 {
			h.ok("pool", "create", "p2", "size=300MiB")
		}
		ensure1(h)
		if h.copied("c1").Pool == "p2" {
			h.ok("move", "c1", "--target-pool", "default")
		}
	}
	verify := func(names ...string) func(h *host) {
		return func(h *host) {
			h.t.Helper()
			all := strings.Fields(h.ok("list", "--format", "csv", "-c", "n"))
			if len(all) > len(names) || len(all) == 0 || all[0] != "c1" {
				h.t.Errorf("there are %q", all)
			}
			for _, name := range all {
				if in := h.copied(name); len(in.Snapshots) != 1 || in.Status != "Stopped" {
					h.t.Errorf("%+v", in)
				}
				works(h, name, `^new\n$`)
			}
			if len(all) > 1 {
				h.ok("delete", all[1])
			}
		}
	}
	return []op{
		{name: "move to another pool", args: []string{"move", "c1", "--storage", "p2"}, prepare: prepare, verify: verify("c1")},
		{name: "copy to another pool", args: []string{"copy", "c1", "c2", "--storage", "p2"}, prepare: prepare, verify: verify("c1", "c2")},
		{name: "refresh from another pool", args: []string{"copy", "c1", "c2", "--refresh"}, prepare: func(h *host) {
			prepare(h)
			if _, there := h.instances()["c2"]; !there {
				h.ok("copy", "c1", "c2", "-s", "p2")
			}
		}, verify: verify("c1", "c2")},
	}
}

// volumeToPoolOp moves a custom volume to the pool p2: it is in one of the two, whole.
func volumeToPoolOp() op {
	in := func(h *host, pool string) string {
		return h.ok("pool", "volume", "list", pool, "type=custom", "-c", "n", "--format", "csv")
	}
	return op{name: "volume move to another pool", args: []string{"pool", "volume", "move", "default/v v", "p2/w"}, prepare: func(h *host) {
		if h.run("pool", "show", "p2").code != 0 {
			h.ok("pool", "create", "p2", "size=300MiB")
		}
		ensureVolume(h)
	}, verify: func(h *host) {
		h.t.Helper()
		switch here, there := in(h, "default"), in(h, "p2"); {
		case here == "" && there == "w\nw/s0\n":
			h.ok("pool", "volume", "move", "p2/w", "default/v v")
		case here != "v v\nv v/s0\n" || there != "":
			h.t.Errorf("in the one pool is %q, in the other %q", here, there)
		}
		dropVolumes(h)
	}}
}

// TestToPool kills what sends to another pool at its own crash points, and at some of those that it has of others.
func TestToPool(t *testing.T) {
	h := opHost(t)
	for _, o := range append(toPoolOps(), volumeToPoolOp()) {
		t.Run(o.name, func(t *testing.T) {
			h.in(t)
			points := trace(t, h, o)
			seen := map[string]bool{}
			for _, p := range points {
				own := strings.HasPrefix(p, "pool.move.") || strings.HasPrefix(p, "pool.volumemove.") || p == "tree.owner.moved" || p == "tree.replace.exchanged" || p == "tree.owner.received"
				if own && !seen[p] {
					seen[p] = true
					crashAt(t, h, o, p, 1)
				}
			}
			if len(seen) < 2 {
				t.Errorf("killed at %v only, of %v", seen, points)
			}
		})
	}
	h.ok("start", "c1")
	h.fails(1, `cannot move c1 to pool .*: it is running\nhint: poolctl stop c1`, "move", "c1", "--storage", "p2")
	h.ok("copy", "c1", "of-running", "-s", "p2")
	works(h, "of-running", `^new\n$`)
	h.ok("exec", "c1", "--", "true")
	h.ok("move", "c1/s0", "c1/at-12:00")
	h.fails(2, `"host:c1" is on another server`, "move", "c1", "host:c1")
	h.ok("move", "c1/at-12:00", "c1/s9")
	h.fails(2, `a snapshot is renamed within its instance`, "move", "c1/s9", "of-running/s9")
	h.fails(2, `needs a new name, or --storage`, "move", "c1")
	h.fails(2, `--refresh needs the name`, "copy", "c1", "--refresh")
	h.fails(2, `exclude each other`, "copy", "c1", "c9", "--no-profiles", "--profile", "default")
	h.ok("copy", "c1", "bare", "--no-profiles", "--instance-only", "--ephemeral")
	if out := h.ok("config", "show", "bare"); !strings.Contains(out, "profiles: []") || !strings.Contains(out, "ephemeral: true") || !strings.Contains(out, "pool: default") {
		t.Errorf("%s", out)
	}
}
