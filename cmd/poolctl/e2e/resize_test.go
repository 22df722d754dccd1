package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"poolctl/fixtures"
)

// TestShrinkWithRunningInstances shrinks a pool from 4 GiB to 1 GiB while instances run in it: they go on, every file is as it
// was, and the file takes less of the host once what was deleted is trimmed.
func TestShrinkWithRunningInstances(t *testing.T) {
	h := newHost(t).withRemote(serve(t, smallMirror, fixtures.ServeOptions{}))
	h.ok("pool", "create", "big", "size=4GiB")
	h.ok("image", "pull", "m:busybox", "--alias", "bb")
	names := []string{"c1", "c2"}
	for _, name := range names {
		h.ok("launch", "bb", name)
		h.ok("exec", name, "--", "sh", "-c", "mkdir /root/d && for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/root/d/$i bs=1M count=6; done; for i in $(seq 1 400); do echo $i > /root/d/s$i; done")
		h.ok("snapshot", "create", name, "s0")
		h.ok("exec", name, "--", "sh", "-c", "echo changed > /root/d/s1; rm /root/d/8; sync")
	}
	sums := func() map[string]string {
		all := map[string]string{}
		for _, name := range names {
			all[name] = h.ok("exec", name, "--", "sh", "-c", "cd /root/d && sha256sum *")
			dir := strings.TrimSpace(h.ok("mount", name+"/s0"))
			root := filepath.Join(dir[strings.Index(dir, "/"):], "root/d")
			files, err := os.ReadDir(root)
			if err != nil || len(files) != 408 {
				t.Fatalf("snapshot of %s: %d files, %v", name, len(files), err)
			}
			for _, f := range files {
				data, err := os.ReadFile(filepath.Join(root, f.Name()))
				if err != nil {
					t.Fatal(err)
				}
				all[name+"/s0/"+f.Name()] = string(data)
			}
			h.ok("umount", name+"/s0")
		}
		return all
	}
	before, running := sums(), h.instances()
	img := filepath.Join(h.state, "disks/big.img")

	// Killed in the middle, all is as it was, and the next one does it.
	h.signalAfter(syscall.SIGKILL, 150*time.Millisecond, "pool", "resize", "big", "1GiB")
	h.ok("list")
	if fi, err := os.Stat(img); err != nil || fi.Size() != 4<<30 && fi.Size() != 1<<30 {
		t.Errorf("after a kill: %d bytes, %v", fi.Size(), err)
	}
	h.ok("pool", "resize", "big", "1GiB")
	if fi, err := os.Stat(img); err != nil || fi.Size() != 1<<30 {
		t.Errorf("after the shrink: %d bytes, %v", fi.Size(), err)
	}
	if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, sum := range sums() {
		if before[name] != sum {
			t.Errorf("%s is not what it was", name)
		}
	}
	for name, in := range h.instances() {
		if in.Status != "Running" || in.State.PID != running[name].State.PID {
			t.Errorf("%s did not go on: %+v", name, in)
		}
	}
	h.ok("pool", "scrub", "big")
	h.ok("pool", "check", "big")

	// Deleting and trimming gives the host its space back.
	allocated := func() int64 {
		var st syscall.Stat_t
		if err := syscall.Stat(img, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	full := allocated()
	h.ok("delete", "--force", "c2")
	h.ok("pool", "trim", "big")
	if freed := full - allocated(); freed < 40<<20 {
		t.Errorf("deleting 48 MiB and trimming gave %d MiB back", freed>>20)
	}
	h.ok("exec", "c1", "--", "true")
	h.ok("delete", "--force", "c1")
	h.ok("pool", "delete", "--force", "big")
}
