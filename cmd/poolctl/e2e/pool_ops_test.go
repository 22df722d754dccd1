package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"poolctl/btrfs"
)

// disk gives the host a block device of 128 MiB, which is empty, under the name
// "disk" in its directory, until the (sub)test ends.
func (h *host) disk() string {
	h.t.Helper()
	return h.device("disk", "128M")
}

// device makes a loop device with a name in the host's directory, unless it is there.
func (h *host) device(name, size string) string {
	h.t.Helper()
	link := filepath.Join(h.dir, name)
	if _, err := os.Stat(link); err == nil {
		return link
	}
	h.sh("truncate", "-s", size, link+".raw")
	dev := strings.TrimSpace(h.sh("losetup", "-f", "--show", link+".raw"))
	if err := os.Symlink(dev, link); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		h.sh("losetup", "-d", dev)
		for _, path := range []string{link, link + ".raw"} {
			if err := os.Remove(path); err != nil {
				h.t.Error(err)
			}
		}
	})
	return link
}

// owners gives the host a btrfs file system that is not poolctl's, mounted at
// "owners" in its directory, until the (sub)test ends.
func (h *host) owners() string {
	h.t.Helper()
	mnt := filepath.Join(h.dir, "owners")
	if _, err := os.Stat(mnt); err == nil {
		return mnt
	}
	dev := h.device("owners-disk", "200M")
	h.sh("mkfs.btrfs", "-q", dev)
	if err := os.Mkdir(mnt, 0o755); err != nil {
		h.t.Fatal(err)
	}
	h.sh("mount", dev, mnt)
	h.t.Cleanup(func() {
		h.sh("umount", mnt)
		if err := os.Remove(mnt); err != nil {
			h.t.Error(err)
		}
	})
	return mnt
}

// sh runs another program.
func (h *host) sh(name string, args ...string) string {
	h.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
	return string(out)
}

// poolKindOps create and delete pools that are not in files.
func poolKindOps() []op {
	has := func(name string) func(h *host) bool {
		return func(h *host) bool { return slices.Contains(h.names("pool", "list"), name) }
	}
	kinds := []struct {
		name, source string
		before       func(h *host) // makes what the pool is made on
		after        func(h *host) // checks that the deleted pool left that as it was to be
	}{
		{"device", "disk", func(h *host) { h.disk() }, func(h *host) {
			f, err := os.Open(h.disk())
			if err != nil {
				h.t.Fatal(err)
			}
			if supers, err := btrfs.Supers(f); err != nil || len(supers) > 0 {
				h.t.Errorf("the deleted pool's device has superblocks: %v, %v", supers, err)
			}
			_ = f.Close()
		}},
		{"directory", "owners/plain", func(h *host) {
			plain := filepath.Join(h.owners(), "plain")
			if err := os.Mkdir(plain, 0o750); err != nil && !os.IsExist(err) {
				h.t.Fatal(err)
			}
		}, func(h *host) { h.holds(h.owners(), "") }},
		{"existing", "owners/existing", func(h *host) {
			path := filepath.Join(h.owners(), "existing")
			if _, err := os.Stat(path); err != nil {
				if err := btrfs.CreateSubvolume(path); err != nil {
					h.t.Fatal(err)
				}
			}
		}, func(h *host) {
			h.holds(h.owners(), "existing")
			h.holds(filepath.Join(h.owners(), "existing"), "")
			if err := btrfs.DeleteSubvolume(filepath.Join(h.owners(), "existing")); err != nil {
				h.t.Error(err)
			}
		}},
	}
	var out []op
	for _, k := range kinds {
		name := "p" + k.name
		create := []string{"pool", "create", name, "source=" + k.source}
		ensure := func(h *host) {
			if !has(name)(h) {
				h.ok(create...)
			}
		}
		verify := func(h *host) {
			if k.name == "directory" && !has(name)(h) {
				var st syscall.Stat_t
				if err := syscall.Stat(filepath.Join(h.owners(), "plain"), &st); err == nil && (st.Mode&0o777 != 0o750 || st.Ino == 256) {
					h.t.Errorf("the directory that was there before has mode %o, inode %d", st.Mode, st.Ino)
				} else if err != nil {
					k.before(h) // the pool was deleted
				}
			}
			if k.name == "existing" {
				k.before(h)
			}
			ensure(h)
			h.matches(`attached: true`, "pool", "info", name)
			h.ok("pool", "detach", name)
			h.ok("pool", "delete", name)
			k.after(h)
		}
		out = append(out, op{name: "pool create, " + k.name, args: create, prepare: k.before, verify: verify, made: has(name)})
		if k.name != "existing" { // of which delete does less
			out = append(out, op{name: "pool delete, " + k.name, args: []string{"pool", "delete", name}, prepare: func(h *host) { k.before(h); ensure(h) }, verify: verify})
		}
	}
	return out
}

// holds checks what is in a directory: names separated by spaces.
func (h *host) holds(dir, want string) {
	h.t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		h.t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if strings.Join(got, " ") != want {
		h.t.Errorf("in %s is %q, want %q", dir, got, want)
	}
}

// poolSetOps change the configuration of a pool: all keys or none.
func poolSetOps() []op {
	ensure := func(h *host) {
		if !slices.Contains(h.names("pool", "list"), "p3") {
			h.ok("pool", "create", "p3", "size=200MiB", "user.a=old")
		}
		h.ok("pool", "set", "p3", "user.a=old", "compress=", "volume.size=")
	}
	return []op{{
		name: "pool set", args: []string{"pool", "set", "p3", "user.a=new", "compress=lzo", "volume.size=1GiB"}, prepare: ensure,
		verify: func(h *host) {
			got := strings.Fields(h.ok("pool", "get", "p3", "user.a") + h.ok("pool", "get", "p3", "compress") + h.ok("pool", "get", "p3", "volume.size"))
			if s := strings.Join(got, " "); s != "old" && s != "new lzo 1GiB" {
				h.t.Errorf("half changed: %q", s)
			}
			mounts, err := os.ReadFile("/proc/self/mounts")
			if err != nil {
				h.t.Fatal(err)
			}
			for _, line := range strings.Split(string(mounts), "\n") {
				if strings.Contains(line, h.state+"/storage-pools/p3 ") && strings.Contains(line, "compress=lzo") != (len(got) > 1) {
					h.t.Errorf("the pool has %q, and is mounted so: %s", got, line)
				}
			}
			h.ok("pool", "delete", "p3")
		},
	}}
}
