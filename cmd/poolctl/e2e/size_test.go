package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"poolctl/pool/tree"
)

// dd writes in an instance until its disk is full, and returns how many MB it has then in files called big-*.
func (h *host) dd(name string) int {
	h.t.Helper()
	r := h.run("exec", name, "--", "sh", "-c", "dd if=/dev/zero of=/root/big-1 bs=1000000 count=200 conv=fsync; cat /root/big-* | wc -c")
	if !strings.Contains(strings.ToLower(r.stderr), "quota exceeded") {
		h.t.Errorf("dd should be stopped by the quota: %s", r)
	}
	n, err := strconv.Atoi(strings.TrimSpace(r.stdout))
	if err != nil {
		h.t.Fatalf("%s", r)
	}
	return n / 1000000
}

// wantFull checks that writing in an instance ended where its size says, less what the image and the trees take.
func (h *host) wantFull(what, name string, size int) {
	h.t.Helper()
	if got := h.dd(name); got > size || got < size-8 {
		h.t.Errorf("%s: dd wrote %d MB, the size is %d MB", what, got, size)
	}
	h.ok("exec", name, "--", "rm", "/root/big-1")
}

// TestSize limits an instance in pools that count in either way: dd stops at 50 MB, before and after a restore, in the copy,
// and after the size was changed while the instance runs.
func TestSize(t *testing.T) {
	h := opHost(t)
	for _, quotas := range []string{"simple", "qgroups"} {
		t.Run(quotas, func(t *testing.T) {
			h.in(t)
			h.sizePool(t, quotas)
			h.ok("launch", "m:busybox", "c1", "-s", "q", "-d", "root,size=50MB")
			h.matches("^50MB\n$", "config", "device", "get", "c1", "root", "size")
			h.wantFull("new", "c1", 50)
			h.ok("snapshot", "create", "c1", "s0")
			h.wantFull("with a snapshot", "c1", 50)
			h.ok("snapshot", "restore", "c1", "s0")
			h.wantFull("restored", "c1", 50)
			h.ok("copy", "c1", "c2")
			h.ok("start", "c2")
			h.wantFull("copied", "c2", 50)
			h.ok("config", "device", "set", "c2", "root", "size", "30MB")
			h.wantFull("smaller, while it runs", "c2", 30)
			h.ok("config", "device", "set", "c2", "root", "size=70MB")
			h.wantFull("larger, while it runs", "c2", 70)
			h.fails(1, "cannot limit c2 to 100KiB: it takes .* already", "config", "device", "set", "c2", "root", "size=100KiB")
			h.wantFull("after a refusal", "c2", 70)
			// A full instance can be given more, be snapshotted, stopped, started and deleted.
			h.dd("c2")
			h.ok("snapshot", "create", "c2", "full")
			h.ok("stop", "--force", "c2")
			h.ok("config", "device", "set", "c2", "root", "size=80MB")
			h.ok("start", "c2")
			h.ok("exec", "c2", "--", "rm", "/root/big-1")
			h.ok("config", "device", "unset", "c2", "root", "size")
			h.ok("exec", "c2", "--", "dd", "if=/dev/zero", "of=/root/big-1", "bs=1000000", "count=100")
			h.ok("delete", "--force", "c2")
			// A snapshot from before the size does not end it.
			h.ok("launch", "m:busybox", "c3", "-s", "q")
			h.ok("snapshot", "create", "c3", "s0")
			h.fails(1, "device eth0 is a profile's", "config", "device", "set", "c3", "eth0", "name=eth1")
			h.ok("config", "device", "set", "c3", "root", "size=50MB")
			h.ok("snapshot", "restore", "c3", "s0")
			h.matches("^50MB\n$", "config", "device", "get", "c3", "root", "size")
			h.wantFull("restored from before the size", "c3", 50)
			tools(t, filepath.Join(h.state, "storage-pools/q"))
			h.ok("delete", "--force", "c1", "c3")
			h.ok("pool", "delete", "q", "--force")
		})
	}
}

// sizePool makes the pool q, which a subtest that failed does not leave to the next one.
func (h *host) sizePool(t *testing.T, quotas string) {
	t.Helper()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, name := range []string{"c1", "c2", "c3"} {
			h.run("delete", "--force", name) // not all of them are there
		}
		h.run("pool", "delete", "q", "--force")
	})
	h.ok("pool", "create", "q", "size=1GiB", "btrfs.quotas="+quotas)
}

// TestOverSize restores an instance to more than its size, which must not keep it from being used and deleted.
func TestOverSize(t *testing.T) {
	h := opHost(t)
	for _, quotas := range []string{"simple", "qgroups"} {
		t.Run(quotas, func(t *testing.T) {
			h.in(t)
			h.sizePool(t, quotas)
			h.ok("launch", "m:busybox", "c1", "-s", "q", "-d", "root,size=80MB")
			h.ok("exec", "c1", "--", "dd", "if=/dev/zero", "of=/root/big-1", "bs=1000000", "count=65", "conv=fsync")
			h.ok("snapshot", "create", "c1", "s0")
			h.ok("exec", "c1", "--", "rm", "/root/big-1")
			h.ok("stop", "--force", "c1")
			h.ok("config", "device", "set", "c1", "root", "size=55MB")
			h.ok("snapshot", "restore", "c1", "s0")
			for range 2 {
				h.fine("start", "c1")
				if r := h.run("exec", "c1", "--", "dd", "if=/dev/zero", "of=/root/big-2", "bs=1000000", "count=4", "conv=fsync"); r.code == 0 {
					t.Errorf("it is over its size: %s", r)
				}
				h.fine("snapshot", "create", "c1")
				h.fine("stop", "--force", "c1")
			}
			h.fine("copy", "c1", "c2") // with a template for copies to write
			h.fine("start", "c2")
			h.matches("^c2\n$", "exec", "c2", "--", "cat", "/etc/hostname")
			h.fine("start", "c1")
			h.ok("exec", "c1", "--", "rm", "/root/big-1")
			h.ok("delete", "--force", "c1", "c2")
			h.ok("pool", "delete", "q", "--force")
		})
	}
}

// fine runs a command that succeeds, and that may say that more is taken than the size, but nothing of a record.
func (h *host) fine(args ...string) {
	h.t.Helper()
	if r := h.run(args...); r.code != 0 || strings.Contains(r.stderr, "record") {
		h.t.Fatalf("%s", r)
	}
}

// tools checks that btrfs-progs of an older release read a pool with simple quotas too.
func tools(t *testing.T, mnt string) {
	t.Helper()
	out, err := exec.Command("btrfs", "subvolume", "list", mnt).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "path containers/c1") {
		t.Errorf("btrfs subvolume list: %v\n%s", err, out)
	}
}

// TestSizeDevices is the root disk's size on pools without quotas, and what of devices is refused.
func TestSizeDevices(t *testing.T) {
	h := opHost(t)
	h.ok("pool", "create", "none", "size=300MiB", "btrfs.quotas=none")
	h.fails(1, "cannot create instance c1: pool none counts nothing", "launch", "m:busybox", "c1", "-s", "none", "--device", "root,size=50MB")
	h.ok("init", "bb", "c1", "-d", "root,size=50MB")
	h.fails(1, "its size is 9.77KiB, and image .* takes", "init", "bb", "c2", "-d", "root,size=10000")
	h.fails(1, `device nosuch: not found`, "init", "bb", "c2", "-d", "nosuch,size=10MB")
	h.fails(1, `cannot read size "many"`, "init", "bb", "c2", "-d", "root,size=many")
	h.fails(1, `unknown key "sise"`, "config", "device", "set", "c1", "root", "sise=1GiB")
	h.fails(1, "cannot move", "config", "device", "set", "c1", "root", "pool=none")
	h.fails(1, `type "usb" is unknown`, "config", "device", "add", "c1", "usb0", "usb")
	h.fails(1, "already exists", "config", "device", "add", "c1", "root", "disk", "path=/")
	h.fails(1, "device root: already exists", "config", "device", "override", "c1", "root", "size=1GiB")
	h.fails(1, "no profile has a device eth7", "config", "device", "override", "c1", "eth7")
	h.fails(2, "not of the form", "init", "bb", "c2", "-d", "root")
	h.ok("config", "device", "override", "c1", "eth0", "name=eth5")
	h.matches("^eth0\nroot\n$", "config", "device", "list", "c1")
	h.matches("name: eth5", "config", "device", "show", "c1")
	h.ok("config", "device", "add", "c1", "eth9", "none")
	h.ok("config", "device", "remove", "c1", "eth9", "eth0")
	h.matches("^root\n$", "config", "device", "list", "c1")
	h.ok("config", "device", "remove", "c1", "root") // the profile's is there again, and has no size
	h.matches("^$", "config", "device", "list", "c1")
	h.ok("start", "c1")
	h.ok("exec", "c1", "--", "dd", "if=/dev/zero", "of=/root/big", "bs=1000000", "count=80")
	h.ok("config", "device", "add", "c1", "eth1", "nic", "network="+h.bridge)
	h.ok("config", "device", "remove", "c1", "eth1")
	h.ok("config", "device", "override", "c1", "root", "size=100MB")
	if r := h.run("exec", "c1", "--", "dd", "if=/dev/zero", "of=/root/more", "bs=1000000", "count=80"); r.code == 0 || !strings.Contains(r.stderr, "quota exceeded") {
		t.Errorf("dd should be stopped by the quota: %s", r)
	}
	h.ok("delete", "--force", "c1")
}

// TestPullPlan: --plan shows what a pull takes and downloads nothing, and what it refuses, the pull refuses as well.
func TestPullPlan(t *testing.T) {
	h := opHost(t)
	var plan struct {
		What        string
		Least, Most int64
		PoolFree    int64 `json:"pool_free"`
		HostFree    int64 `json:"host_free"`
		Problem     string
	}
	h.json(&plan, "image", "pull", "m:alpine", "--plan")
	if plan.Least == 0 || plan.Most < plan.Least || plan.PoolFree == 0 || plan.HostFree <= 0 || plan.Problem != "" {
		t.Errorf("%+v", plan)
	}
	if n := len(h.images()); n != 1 {
		t.Errorf("%d images after a plan", n)
	}
	h.json(&plan, "image", "pull", "m:busybox", "--plan")
	if plan.Least != 0 || !strings.Contains(plan.What, "there already") {
		t.Errorf("an image that is there: %+v", plan)
	}
	// A pool that is nearly full.
	h.ok("pool", "create", "small", "size=128MiB")
	fill := filepath.Join(h.state, "storage-pools/small/fill")
	if out, err := exec.Command("sh", "-c", "head -c 200000000 /dev/zero > "+fill+"; sync -f "+fill).CombinedOutput(); !strings.Contains(string(out), "No space") {
		t.Fatalf("not full: %v\n%s", err, out)
	}
	want := "pool small has .* free, and image .* takes at least|pool small has room for .* of metadata"
	h.fails(1, want, "image", "pull", "m:busybox", "--storage", "small")
	r := h.run("image", "pull", "m:busybox", "--storage", "small", "--plan")
	if r.code != 1 || !strings.Contains(r.stdout, "problem: pool small") || !strings.Contains(r.stderr, "hint: ") {
		t.Errorf("%s", r)
	}
}

// limitOf is what the kernel limits an instance of the pool "default" to, in MiB: with simple quotas, that is without the
// image.
func (h *host) limitOf(name string) int64 {
	h.t.Helper()
	pool, err := tree.Open(filepath.Join(h.state, "storage-pools/default"))
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = pool.Close() }()
	limit, err := pool.Limit(pool.InstancePath(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return limit >> 20
}

// wantLimit checks that the kernel holds the size that the instance says it has, which is one of those.
func (h *host) wantLimit(name string, sizes ...string) {
	h.t.Helper()
	size := strings.TrimSpace(h.ok("config", "device", "get", name, "root", "size"))
	mib, err := strconv.ParseInt(strings.TrimSuffix(size, "MiB"), 10, 64)
	if err != nil || !slices.Contains(sizes, size) {
		h.t.Fatalf("%s has the size %q, want one of %v", name, size, sizes)
	}
	if limit := h.limitOf(name); limit > mib || limit < mib-8 {
		h.t.Errorf("%s has the size %s, and the kernel holds %d MiB", name, size, limit)
	}
}

func sizeOps() []op {
	sized := func(h *host) {
		ensure1(h)
		h.run("config", "device", "override", "c1", "root") // it may have one of its own already
		h.ok("config", "device", "set", "c1", "root", "size=60MiB")
	}
	verify := func(h *host) {
		works(h, "c1", `^(old|new)\n$`) // the start counts anew
		h.wantLimit("c1", "60MiB", "90MiB")
		h.ok("delete", "c1")
	}
	return []op{
		{name: "init --device", args: []string{"init", "bb", "c1", "-d", "root,size=60MiB"}, prepare: func(*host) {}, verify: func(h *host) {
			if !has1(h) {
				h.ok("init", "bb", "c1", "-d", "root,size=60MiB")
			}
			h.wantLimit("c1", "60MiB") // without a start
			works(h, "c1", "")
			h.ok("delete", "c1")
		}, made: has1},
		{name: "config device set", args: []string{"config", "device", "set", "c1", "root", "size=90MiB"}, prepare: sized, verify: verify},
		{name: "snapshot restore with a size", args: []string{"snapshot", "restore", "c1", "s0"}, prepare: sized, verify: func(h *host) {
			h.wantLimit("c1", "60MiB") // without a start
			verify(h)
		}},
	}
}

// TestFullPool pulls into a pool with more and more room: it is refused until the image fits. One of which only the files
// that are downloaded fit ends with a full pool, which is named. Nothing of an image is left in the pool either way.
func TestFullPool(t *testing.T) {
	h := opHost(t)
	h.ok("pool", "create", "small", "size=128MiB")
	dir := filepath.Join(h.state, "storage-pools/small")
	fill := filepath.Join(dir, "fill")
	if out, err := exec.Command("sh", "-c", "head -c 200000000 /dev/urandom > "+fill+"; sync -f "+fill).CombinedOutput(); !strings.Contains(string(out), "No space") {
		t.Fatalf("not full: %v\n%s", err, out)
	}
	clean := func(r result) {
		t.Helper()
		for _, where := range []string{"images", ".poolctl/images", ".poolctl/staging"} {
			if left, err := os.ReadDir(filepath.Join(dir, where)); err != nil || len(left) > 0 {
				t.Fatalf("left in %s: %v, %v; after %s", where, left, err, r)
			}
		}
	}
	refused, warned := 0, 0
	for range 60 {
		r := h.run("image", "pull", "m:alpine", "--storage", "small")
		if strings.Contains(r.stderr, "may not fit: pool small has ") {
			warned++
		}
		if r.code == 0 {
			break
		}
		if strings.Contains(r.stderr, "pool small has ") {
			refused++
		} else if !strings.Contains(r.stderr, "pool small is full: ") {
			t.Fatalf("%s", r)
		}
		clean(r)
		st, err := os.Stat(fill)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(fill, st.Size()-1<<20); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("sync", "-f", fill).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if refused == 0 {
		t.Error("it was never refused")
	}
	if warned == 0 { // there are some MiB between the size of its files and four times that
		t.Error("there was no warning that it may not fit")
	}
	h.ok("init", "m:alpine", "c1", "-s", "small")
	h.ok("delete", "c1")
	for fp := range h.images() {
		h.run("image", "delete", fp) // also that of the pool "default", which is not needed any more
	}
	if err := os.Remove(fill); err != nil {
		t.Fatal(err)
	}
	r := h.run("image", "pull", "m:big", "--storage", "small")
	h.failed(r, 1, "pool small is full: ")
	clean(r)
}
