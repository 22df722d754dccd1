package e2e

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"poolctl/btrfs"
)

// recountTime is within what time a running instance's size is counted anew, on a machine that has other things to do as well.
const recountTime = 40 * time.Second

// writes writes mb MB into a file in an instance.
func (h *host) writes(name, file string, mb int) result {
	h.t.Helper()
	return h.run("exec", name, "--", "dd", "if=/dev/zero", "of="+file, "bs=1000000", "count="+strconv.Itoa(mb), "conv=fsync")
}

// soonWrites checks that as much can be written before long, with no other command of poolctl's, and that with the rest of size,
// all of which is in dir, it ends.
func (h *host) soonWrites(what, name, dir string, mb, size int) {
	h.t.Helper()
	begin := time.Now()
	for {
		r := h.writes(name, dir+"/a", mb)
		if r.code == 0 {
			h.t.Logf("%s: could write %d MB after %v", what, mb, time.Since(begin).Round(time.Second/10))
			break
		}
		if !strings.Contains(strings.ToLower(r.stderr), "quota exceeded") || time.Since(begin) > recountTime {
			h.t.Errorf("%s: %d MB should fit into %d MB: %s", what, mb, size, r)
			return
		}
		time.Sleep(time.Second / 2)
	}
	if r := h.writes(name, dir+"/b", size-mb); r.code == 0 || !strings.Contains(strings.ToLower(r.stderr), "quota exceeded") {
		h.t.Errorf("%s: more than %d MB could be written: %s", what, size, r)
	}
	h.ok("exec", name, "--", "rm", "-f", dir+"/a", dir+"/b")
}

// soonStops checks that writing into a nested subvolume ends at the size before long, with no other command of poolctl's.
func (h *host) soonStops(what, name, dir string, size int) {
	h.t.Helper()
	begin := time.Now()
	for {
		r := h.writes(name, dir+"/a", size)
		h.ok("exec", name, "--", "rm", "-f", dir+"/a")
		if strings.Contains(strings.ToLower(r.stderr), "quota exceeded") {
			h.t.Logf("%s: held after %v", what, time.Since(begin).Round(time.Second/10))
			return
		}
		if r.code != 0 || time.Since(begin) > recountTime {
			h.t.Errorf("%s: %d MB could be written: %s", what, size, r)
			return
		}
		time.Sleep(time.Second / 2)
	}
}

// nest makes a subvolume in a volume, as a program in the instance does.
func (h *host) nest(path string) {
	h.t.Helper()
	if err := errors.Join(btrfs.CreateSubvolume(path), os.Chmod(path, 0o777)); err != nil {
		h.t.Fatal(err)
	}
}

// TestRecount: what a running instance deletes while a snapshot has it does not count for long, and subvolumes that come up in it
// do, without a command; the same of its volumes. Sizes come and go meanwhile.
func TestRecount(t *testing.T) {
	h := opHost(t)
	for _, quotas := range []string{"simple", "qgroups"} {
		t.Run(quotas, func(t *testing.T) {
			h.in(t)
			h.sizePool(t, quotas)
			pool := filepath.Join(h.state, "storage-pools/q")
			h.ok("launch", "m:busybox", "c1", "-s", "q") // before there is a size
			h.ok("pool", "volume", "create", "q", "v", "size=40MB")
			h.ok("pool", "volume", "attach", "q", "v", "c1", "/v") // to an instance that runs
			h.ok("config", "device", "set", "c1", "root", "size", "50MB")

			h.ok("exec", "c1", "--", "dd", "if=/dev/zero", "of=/root/old", "bs=1000000", "count=35", "conv=fsync")
			h.ok("exec", "c1", "--", "dd", "if=/dev/zero", "of=/v/old", "bs=1000000", "count=30", "conv=fsync")
			h.ok("snapshot", "create", "c1", "s0")
			h.ok("pool", "volume", "snapshot", "create", "q", "v", "s0")
			h.ok("exec", "c1", "--", "rm", "/root/old", "/v/old")
			h.soonWrites("the instance", "c1", "/root", 38, 50)
			h.soonWrites("the volume", "c1", "/v", 35, 40)

			h.ok("config", "device", "set", "c1", "root", "size=70MB")
			h.soonWrites("made larger", "c1", "/root", 55, 70)
			h.nest(pool + "/containers/c1/rootfs/root/a b")
			h.nest(pool + "/custom/default_v/a b")
			h.soonStops("a subvolume in the instance", "c1", "/root/a b", 70)
			h.soonStops("a subvolume in the volume", "c1", "/v/a b", 40)
			h.nest(pool + "/containers/c1/rootfs/root/a b/c d")
			h.soonStops("a subvolume in that one", "c1", "/root/a b/c d", 70)

			h.ok("config", "device", "unset", "c1", "root", "size")
			h.ok("exec", "c1", "--", "dd", "if=/dev/zero", "of=/root/a b/c d/a", "bs=1000000", "count=80", "conv=fsync")
			h.ok("delete", "--force", "c1")
			h.ok("pool", "volume", "delete", "q", "v")
			h.ok("pool", "delete", "q", "--force")
		})
	}
}
