package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"poolctl/fixtures"
)

// TestMachineImage: the image of a virtual machine is listed, pulled and kept as a raw disk with holes, its root can be
// looked into without a byte of it changing, and no instance is made of it.
func TestMachineImage(t *testing.T) {
	m := serve(t, smallMirror, fixtures.ServeOptions{})
	h := newHost(t).withPool().withRemote(m)
	h.matches(`\| vm .*VIRTUAL-MACHINE`, "image", "list", "m:", "type=disk-kvm.img")
	h.leavesNothing(t, func() { h.fails(1, `virtual machine`, "init", "m:vm", "c1") })
	if whole, _ := downloads(m, "disk.qcow2"); whole != 0 {
		t.Error("it was downloaded to be refused")
	}
	h.ok("image", "pull", "m:vm", "--alias", "vm")
	h.matches(`VIRTUAL-MACHINE`, "image", "list", "local:")
	h.matches(`(?s)Type: virtual-machine.*`, "image", "info", "local:vm")
	h.matches(`Virtual size: 64\.00M`, "image", "info", "local:vm")
	h.leavesNothing(t, func() { h.fails(1, `virtual machine`, "init", "vm", "c1") })
	h.leavesNothing(t, func() { h.fails(1, `read-only`, "mount", "--rw", "vm") })

	disk := diskOf(t, h)
	before := sumOf(t, disk)
	qcow2, err := filepath.Glob(filepath.Join(suite.dir, "mirror/images/machine/*/*/*/*/disk.qcow2"))
	if err != nil || len(qcow2) != 1 {
		t.Fatalf("%v %v", qcow2, err)
	}
	raw := filepath.Join(h.dir, "raw")
	if out, err := exec.Command("qemu-img", "convert", "-O", "raw", qcow2[0], raw).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	if sumOf(t, raw) != before {
		t.Error("qemu-img makes another disk of it")
	}
	var st unix.Stat_t
	if err := unix.Stat(disk, &st); err != nil || st.Blocks*512 > st.Size/4 {
		t.Errorf("%d bytes take %d: %v", st.Size, st.Blocks*512, err)
	}
	if out, err := exec.Command("lsattr", disk).CombinedOutput(); err != nil || !strings.Contains(strings.Fields(string(out))[0], "C") {
		t.Errorf("it is copied on write: %s %v", out, err)
	}

	dir := strings.TrimSpace(h.ok("mount", "vm"))
	h.matches(`image vm.*mounted at `+dir, "doctor")
	if got, err := os.ReadFile(filepath.Join(dir, "etc/hostname")); string(got) != "on the disk\n" {
		t.Errorf("%q %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "x"), nil, 0o600); err == nil {
		t.Error("it can be written to")
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Flags&unix.ST_NOSUID == 0 || fs.Flags&unix.ST_NODEV == 0 {
		t.Errorf("flags %#x %v", fs.Flags, err)
	}
	h.fails(1, `mounted`, "image", "delete", "vm")
	h.fails(1, `mounted`, "pool", "detach", "default")
	second := filepath.Join(h.dir, "second")
	if err := os.Mkdir(second, 0o700); err != nil {
		t.Fatal(err)
	}
	h.ok("mount", "local:vm", second)
	h.ok("umount", second)
	h.ok("umount", "vm")
	h.fails(1, `nothing|no instance or image`, "umount", "vm")
	if sumOf(t, disk) != before {
		t.Error("looking at the disk changed it")
	}

	// With the server gone, its qcow2 is made anew, of the same disk.
	h.exported("vm")
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if r := h.run("image", "export", "vm", h.dir+"/anew"); r.code != 0 || !strings.Contains(r.stderr, "is packed anew, which gives it another fingerprint") {
		t.Errorf("%s", r)
	}
	h.ok("image", "delete", "vm")
	h.ok("image", "import", h.dir+"/anew", h.dir+"/anew.root", "--alias", "anew")
	if sumOf(t, diskOf(t, h)) != before {
		t.Error("packed anew, the disk is another")
	}
	h.matches(`Type: virtual-machine`, "image", "info", "anew")
	h.ok("image", "delete", "anew")
}

// diskOf is the only raw disk in a pool.
func diskOf(t *testing.T, h *host) string {
	t.Helper()
	disks, err := filepath.Glob(filepath.Join(h.state, "storage-pools/default/images/*/root.img"))
	if err != nil || len(disks) != 1 {
		t.Fatalf("%v %v", disks, err)
	}
	return disks[0]
}
