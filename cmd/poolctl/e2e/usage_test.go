package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"poolctl/fixtures"
)

// count is what pool usage calls a number of bytes.
type count struct{ Total, Data, Metadata uint64 }

// usage is what pool usage writes as JSON, as far as the tests look.
type usage struct {
	File  struct{ Path string }
	Usage struct {
		Data, Metadata struct{ Used uint64 }
	}
	Objects  []object
	Together count
}

type object struct {
	Type, Name string
	Subvolumes []uint64
	Exact      struct {
		Referenced, Exclusive count
		Files                 struct {
			Total, Exclusive uint64
			SetShared        uint64 `json:"set_shared"`
		}
	}
}

func (h *host) usage(args ...string) usage {
	h.t.Helper()
	var u usage
	h.json(&u, append([]string{"pool", "usage", "default"}, args...)...)
	return u
}

// poolPath is where an object of pool usage is in a pool.
func poolPath(kind, name string) string {
	return map[string]string{
		"image": "images/", "container": "containers/", "container (snapshot)": "containers-snapshots/",
	}[kind] + name
}

// tool runs a program of the system.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// TestUsage: 50 instances of a real image and 200 snapshots. What takes their space is told at once, and exactly as btrfs's
// own tools say it; and deleting frees what was said.
func TestUsage(t *testing.T) {
	memory := tmpfs(t)
	h := newHost(t).withRemote(serve(t, realMirror, fixtures.ServeOptions{}))
	h.ok("pool", "create", "default", "size=1GiB", "source="+memory+"/pool.img")
	h.ok("init", "m:alpine", "c1", "--storage", "default")
	populate(t, h.attached(), 50, 4)
	best := time.Hour
	for i := 0; i < 20 && best >= 300*time.Millisecond; i++ { // others use the machine, too
		r := h.run("pool", "usage", "default")
		if best = min(best, r.took); r.code != 0 || strings.Count(r.stdout, "| container (snapshot) |") != 200 {
			t.Fatal(r)
		}
	}
	began := time.Now()
	all := h.usage("--exact")
	t.Logf("pool usage: %s; with --exact: %s", best, time.Since(began))
	if best >= 300*time.Millisecond {
		t.Errorf("pool usage takes %s", best)
	}
	h.ok("pool", "detach", "default")
	asQgroups(t, memory, all)
	asDU(t, h.attached(), h.usage("--exact")) // after the others: it reads directories, which changes their dates
	deletingFrees(t, h, 0, []string{"c1", "c4"}, "delete --now c1 c4")
	// The records of c3, c7 and c8 are written without their snapshots.
	deletingFrees(t, h, 64<<10, []string{"c3/snap0"}, "snapshot delete --now c3 snap0")
	deletingFrees(t, h, 256<<10, []string{"c6", "c7/snap0", "c7/snap1", "c7/snap3", "c8/snap2"},
		"snapshot delete --now c7 snap0", "delete --now c6", "snapshot delete --now c8 snap2", "snapshot delete --now c7 snap3", "snapshot delete --now c7 snap1")
	image, instances := slices.Collect(maps.Keys(h.images())), h.names("list")
	deletingFrees(t, h, 0, slices.Concat(image, instances), "image delete --now "+image[0], "delete --now "+strings.Join(instances, " "))
}

// tmpfs is a directory in memory: each of the many commits would wait for whatever else the disk has to do.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(suite.dir, "memory.")
	if err == nil {
		err = unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1g,mode=0700")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(unix.Unmount(dir, 0), os.Remove(dir)); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// populate makes instances c1 to cN out of c1, each with changes of its own and snapshots, one of them with a subvolume.
func populate(t *testing.T, mnt string, instances, snapshots int) {
	t.Helper()
	write := func(path string, size int) {
		t.Helper()
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(i*size + len(path))
		}
		if err := os.WriteFile(path, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	first := filepath.Join(mnt, "containers/c1")
	for i := range instances {
		name := fmt.Sprintf("c%d", i+1)
		in := filepath.Join(mnt, "containers", name)
		if i > 0 {
			tool(t, "btrfs", "subvolume", "snapshot", first, in)
		}
		if err := os.MkdirAll(filepath.Join(mnt, "containers-snapshots", name), 0o700); err != nil {
			t.Fatal(err)
		}
		for s := range snapshots {
			write(fmt.Sprintf("%s/rootfs/etc/small%d", in, s), 1000+i)
			write(fmt.Sprintf("%s/rootfs/root/large%d", in, s), 100000+5000*i)
			if err := os.Chtimes(in+"/rootfs/bin/busybox", time.Now(), time.Now()); err != nil {
				t.Fatal(err)
			}
			tool(t, "btrfs", "subvolume", "snapshot", "-r", in, fmt.Sprintf("%s/containers-snapshots/%s/snap%d", mnt, name, s))
		}
		write(in+"/rootfs/root/own", 50000)
	}
	tool(t, "cp", "--reflink=always", filepath.Join(mnt, "containers/c3/rootfs/root/own"), first+"/rootfs/root/copy")
	tool(t, "btrfs", "subvolume", "create", first+"/rootfs/root/in side")
	write(first+"/rootfs/root/in side/file", 70000)
}

// asDU compares every object with btrfs filesystem du -s --raw, of which one runs on each core.
func asDU(t *testing.T, mnt string, u usage) {
	t.Helper()
	objects := slices.DeleteFunc(slices.Clone(u.Objects), func(o object) bool { return o.Type == "pool" })
	if len(objects) != 251 {
		t.Errorf("%d objects are compared with btrfs filesystem du", len(objects))
	}
	var du sync.WaitGroup
	for part := range slices.Chunk(objects, 1+len(objects)/runtime.NumCPU()) {
		du.Go(func() {
			args := []string{"filesystem", "du", "-s", "--raw"}
			for _, o := range part {
				args = append(args, filepath.Join(mnt, poolPath(o.Type, o.Name)))
			}
			out, err := exec.Command("btrfs", args...).CombinedOutput()
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")[1:]
			if err != nil || len(lines) != len(part) {
				t.Errorf("%d objects, %v: %s", len(part), err, out)
				return
			}
			for i, line := range lines {
				f := part[i].Exact.Files
				if got := fmt.Sprint(f.Total, f.Exclusive, f.SetShared); got != strings.Join(strings.Fields(line)[:3], " ") {
					t.Errorf("%s: %s, btrfs filesystem du has %s", part[i].Name, got, line)
				}
			}
		})
	}
	du.Wait()
}

// asQgroups compares with the full qgroups of a copy of the pool.
func asQgroups(t *testing.T, dir string, u usage) {
	t.Helper()
	file, mnt := filepath.Join(dir, "copy.img"), filepath.Join(dir, "copy")
	tool(t, "cp", "--sparse=always", u.File.Path, file)
	defer func() { _ = os.Remove(file) }()
	if err := os.Mkdir(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	tool(t, "mount", "-o", "loop", file, mnt)
	defer func() { // the loop device ends just after its mount
		tool(t, "umount", mnt)
		_ = os.Remove(mnt)
		for range 100 {
			if strings.TrimSpace(tool(t, "losetup", "-j", file)) == "" {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Errorf("%s stays attached", file)
	}()
	_ = exec.Command("btrfs", "quota", "disable", mnt).Run() // simple ones, if any
	tool(t, "btrfs", "quota", "enable", mnt)
	for _, o := range u.Objects { // the sum of groups would count twice what they share
		if len(o.Subvolumes) > 1 {
			tool(t, "btrfs", "qgroup", "create", groupOf(o), mnt)
		}
		for _, id := range o.Subvolumes {
			if own := fmt.Sprint("0/", id); own != groupOf(o) {
				tool(t, "btrfs", "qgroup", "assign", "--no-rescan", own, groupOf(o), mnt)
			}
		}
	}
	tool(t, "btrfs", "quota", "rescan", "-w", mnt)
	groups := map[string]string{}
	for _, line := range strings.Split(tool(t, "btrfs", "qgroup", "show", "--raw", "--sync", mnt), "\n") {
		if f := strings.Fields(line); len(f) > 2 {
			groups[f[0]] = f[1] + " " + f[2]
		}
	}
	if len(u.Objects) != 252 {
		t.Errorf("%d objects are compared with qgroups", len(u.Objects))
	}
	for _, o := range u.Objects {
		if got := fmt.Sprint(o.Exact.Referenced.Total, o.Exact.Exclusive.Total); got != groups[groupOf(o)] {
			t.Errorf("%s: %s referenced and exclusive; its qgroup has %s", o.Name, got, groups[groupOf(o)])
		}
	}
}

// groupOf is the qgroup of an object: its subvolume's, or one of its own for several.
func groupOf(o object) string {
	if len(o.Subvolumes) > 1 {
		return fmt.Sprint("1/", o.Subvolumes[0])
	}
	return fmt.Sprint("0/", o.Subvolumes[0])
}

// deletingFrees deletes what was said to free so much. The data is what was said, to the byte but for what the deletion
// itself writes. Of the metadata, what the other trees give up comes on top (checksums, references, free space) and what
// they are changed for goes off: less than 2 MiB here.
func deletingFrees(t *testing.T, h *host, written int64, objects []string, commands ...string) {
	t.Helper()
	const noise = 2 << 20
	h.settle()
	said, before := h.usage(append(objects, "--exact")...), h.usage()
	for _, c := range commands {
		h.ok(strings.Fields(c)...)
	}
	h.settle()
	after := h.usage()
	data := int64(before.Usage.Data.Used-after.Usage.Data.Used) - int64(said.Together.Data)
	metadata := int64(before.Usage.Metadata.Used-after.Usage.Metadata.Used) - int64(said.Together.Metadata)
	if data > 0 || data < -written || metadata > noise || metadata < -noise || said.Together.Total == 0 {
		t.Errorf("%s: %+v were to be freed; data %+d and metadata %+d more are", commands, said.Together, data, metadata)
	}
}

// attached is where the pool is mounted.
func (h *host) attached() string {
	h.t.Helper()
	return strings.TrimSpace(h.ok("pool", "mount", "default"))
}

// settle waits until what was deleted is freed.
func (h *host) settle() {
	h.t.Helper()
	tool(h.t, "btrfs", "filesystem", "sync", h.attached()) // which wakes the cleaner
	tool(h.t, "btrfs", "subvolume", "sync", h.attached())
	tool(h.t, "btrfs", "filesystem", "sync", h.attached())
}
