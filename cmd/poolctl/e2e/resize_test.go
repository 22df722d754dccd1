package e2e

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"poolctl/btrfs"
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
		// What comes after the ballast lies beyond the new end.
		h.ok("exec", name, "--", "sh", "-c", "dd if=/dev/zero of=/root/ballast bs=1M count=450 && sync && mkdir /root/d && for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/root/d/$i bs=1M count=6; done; for i in $(seq 1 400); do echo $i > /root/d/s$i; done; sync; rm /root/ballast; sync")
		h.ok("snapshot", "create", name, "s0")
		h.ok("exec", name, "--", "sh", "-c", "echo changed > /root/d/s1; rm /root/d/8; sync")
	}
	mp := filepath.Join(h.state, "storage-pools/big")
	sums := func() map[string]string {
		t.Helper()
		all := map[string]string{}
		for _, dir := range []string{"containers", "containers-snapshots", "images"} {
			if n := manifest(t, all, filepath.Join(mp, dir)); n < 400 && dir != "images" || n < 2 {
				t.Fatalf("%s: %d files", dir, n)
			}
		}
		return all
	}
	before, running := sums(), h.instances()
	beyond, err := btrfs.Beyond(mp, 1, 1<<30)
	if err != nil || beyond < 300<<20 {
		t.Errorf("block groups beyond the new end: %d MiB, %v", beyond>>20, err)
	}
	if moved, err := btrfs.MovedByShrink(mp, 1<<30); err != nil || moved < 80<<20 {
		t.Errorf("the shrink is to move %d MiB, %v", moved>>20, err)
	}
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
	if beyond, err := btrfs.Beyond(mp, 1, 1<<30); err != nil || beyond != 0 {
		t.Errorf("after the shrink %d MiB lie beyond the end, %v", beyond>>20, err)
	}
	after := sums()
	for name, sum := range after {
		if before[name] != sum {
			t.Errorf("%s is %q and was %q", name, sum, before[name])
		}
	}
	if len(after) != len(before) {
		t.Errorf("there are %d files, and there were %d", len(after), len(before))
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

// manifest adds what each file below dir is: its kind, mode, owner, size, time, and the SHA-256 of what is in it or where it
// points. It returns how many there are.
func manifest(t *testing.T, all map[string]string, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("cannot read the owner of %s", path)
		}
		var data []byte
		switch d.Type() {
		case 0:
			data, err = os.ReadFile(path)
		case fs.ModeSymlink:
			var to string
			to, err = os.Readlink(path)
			data = []byte(to)
		}
		n++
		all[path] = fmt.Sprintf("%o %d:%d %d %d %d.%d %x", st.Mode, st.Uid, st.Gid, st.Rdev, st.Size, st.Mtim.Sec, st.Mtim.Nsec, sha256.Sum256(data))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
