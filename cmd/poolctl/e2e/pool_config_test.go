package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"poolctl/btrfs"
)

// TestPoolConfig sets, shows, unsets and edits what a pool has, as with incus.
func TestPoolConfig(t *testing.T) {
	h := newHost(t)
	h.ok("storage", "create", "p", "btrfs", "size=200MB", "--compress", "zstd:2", "volume.size=1GiB", "user.x=a=b c")
	h.matches(`^200MB\n$`, "pool", "get", "p", "size")
	h.matches(`^a=b c\n$`, "pool", "get", "p", "user.x")
	h.matches(`^\n$`, "pool", "get", "p", "user.never")
	h.matches(`size: 199999488`, "pool", "info", "p") // whole blocks of 4096
	h.ok("pool", "set", "p", "compress=lzo", "volume.snapshots.expiry=3d")
	h.ok("storage", "set", "p", "user.old", "form")
	h.matches(`^form\n$`, "storage", "get", "p", "user.old")
	h.ok("pool", "set", "p", "-p", "description=my pool")
	h.matches(`^my pool\n$`, "pool", "get", "p", "-p", "description")
	h.ok("pool", "unset", "p", "user.old")
	h.ok("pool", "unset", "p", "--property", "description")
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{1, `unknown key "sise"`, []string{"pool", "set", "p", "sise=1GiB", "user.y=1"}},
		{1, `unknown key "sise"`, []string{"pool", "get", "p", "sise"}},
		{1, `unknown key "sise"`, []string{"pool", "unset", "p", "sise"}},
		{1, `levels of zstd`, []string{"pool", "set", "p", "user.y=1", "compress=zstd:99"}},
		{1, `source cannot be changed`, []string{"pool", "set", "p", "user.y=1", "source=/x"}},
		{1, `volume.size=much`, []string{"pool", "set", "p", "user.y=1", "volume.size=much"}},
		{1, `together`, []string{"pool", "set", "p", "user.y=1", "size=1GiB"}},
		{2, `property "name"`, []string{"pool", "set", "p", "-p", "name=q"}},
		{2, `key=value`, []string{"pool", "set", "p", "user.y=1", "volume.size"}},
		{2, `too few`, []string{"pool", "set", "p"}},
		{1, `nope.*not found`, []string{"pool", "set", "nope", "user.y=1"}},
	} {
		h.fails(c.code, c.want, c.args...)
	}
	h.matches(`^\n$`, "pool", "get", "p", "user.y")
	shown := h.ok("pool", "show", "p")
	h.okStdin(strings.Replace(shown, "compress: lzo", "compress: none\n  user.new: yes", 1), "pool", "edit", "p")
	h.matches(`^yes\n$`, "pool", "get", "p", "user.new")
	h.failed(h.runStdin("config: {size: 200MB}\n", "pool", "edit", "p"), 1, `source cannot be changed`)
	h.failed(h.runStdin("konfig: {}\n", "pool", "edit", "p"), 1, `konfig`)
	h.failed(h.runStdin("", "pool", "edit", "p"), 1, `empty`)
	h.ok("pool", "volume", "create", "p", "v")
	uuid := h.ok("pool", "volume", "get", "p", "v", "volatile.uuid")
	h.okStdin("config: {user.n: a}\n", "pool", "volume", "edit", "p", "v")
	h.matches("^"+uuid+"$", "pool", "volume", "get", "p", "v", "volatile.uuid")
	h.matches("^a\n$", "pool", "volume", "get", "p", "v", "user.n")
	h.failed(h.runStdin("konfig: {}\n", "pool", "volume", "edit", "p", "v"), 1, `unknown field "konfig": the fields are config, description`)
	h.matches(`^none\n$`, "pool", "get", "p", "compress")
	h.ok("pool", "set", "p", "size=300MiB")
	h.matches(`^300MiB\n$`, "pool", "get", "p", "size")
}

// TestPoolKinds creates pools on a device and in a directory by the command, and
// sees what may not be touched.
func TestPoolKinds(t *testing.T) {
	h := newHost(t)
	disk, owners := h.disk(), h.owners()
	h.sh("mkfs.ext4", "-q", "-F", disk)
	h.fails(1, `not empty: it holds an ext`, "pool", "create", "p", "source="+disk)
	h.fails(1, `to be wiped, but the pool's device is`, "pool", "create", "p", "source="+disk, "--wipe", filepath.Join(h.dir, "owners-disk"))
	h.fails(1, `wants the device named`, "pool", "create", "p", "source="+disk, "source.wipe=true")
	h.sh("fsck.ext4", "-n", "-f", disk) // as it was
	h.fails(1, `in use`, "pool", "create", "p", "source="+filepath.Join(h.dir, "owners-disk"), "--wipe", filepath.Join(h.dir, "owners-disk"))
	h.ok("pool", "create", "p", "source="+disk, "--wipe", disk)
	h.matches(`kind: device`, "pool", "info", "p")
	h.matches(`p.*btrfs.*`+disk, "pool", "list", "-f", "csv")
	h.ok("pool", "delete", "p")
	h.ok("pool", "create", "p", "source="+disk) // which is empty again

	if err := os.WriteFile(filepath.Join(owners, "mine"), []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.fails(1, `not empty`, "pool", "create", "q", "source="+owners)
	h.ok("pool", "create", "q", "source="+filepath.Join(owners, "a pool"))
	h.matches(`kind: directory`, "pool", "info", "q")
	h.fails(1, `not for a pool in a subvolume`, "pool", "set", "q", "compress=zstd")
	h.fails(1, `not for a pool in a subvolume`, "pool", "set", "q", "size=1GiB")
	h.ok("pool", "set", "q", "volume.size=1GiB")
	h.sh("touch", filepath.Join(owners, "a pool/theirs"))
	h.ok("pool", "delete", "q")
	h.holds(owners, "a pool mine")
	h.holds(filepath.Join(owners, "a pool"), "theirs")
	if err := os.Remove(filepath.Join(owners, "a pool/theirs")); err != nil {
		t.Fatal(err)
	}
	if err := btrfs.DeleteSubvolume(filepath.Join(owners, "a pool")); err != nil {
		t.Fatal(err)
	}
	h.ok("pool", "delete", "p") // before its device goes
}

// TestInitOnDevice sets a host up with a block device.
func TestInitOnDevice(t *testing.T) {
	h := newHost(t)
	disk := h.disk()
	h.fails(2, `excludes`, "admin", "init", "--auto", "--storage-create-device", disk, "--storage-create-loop", "5")
	h.ok("admin", "init", "--auto", "--storage-create-device", disk, "--network-bridge", "none")
	h.matches(`kind: device`, "pool", "info", "default")
	h.ok("pool", "delete", "default")
}
