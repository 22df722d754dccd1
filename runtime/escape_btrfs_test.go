package runtime

import (
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"poolctl/fixtures/testfs"
)

// subvolumeEnv is the id of a subvolume that is somebody else's.
const subvolumeEnv = "RUNTIME_TEST_SUBVOLUME"

// btrfsArgument is a page for the ioctls of btrfs (linux/btrfs.h).
var btrfsArgument [4096]byte

// btrfs is an ioctl on the instance's root, with numbers at offsets of its
// argument.
func btrfs(request uintptr, numbers map[int]uint64) func() error {
	return func() error {
		for at, n := range numbers {
			binary.NativeEndian.PutUint64(btrfsArgument[at:], n)
		}
		return ioctl("/", request, uintptr(unsafe.Pointer(&btrfsArgument[0])))()
	}
}

// escapesByBtrfs are on the file system that all instances of a pool share.
func escapesByBtrfs() []escape {
	other, _ := strconv.ParseUint(os.Getenv(subvolumeEnv), 10, 64)
	return []escape{
		{name: "btrfs-delete", what: "delete a subvolume of another instance by its id (SNAP_DESTROY_V2)", try: btrfs(0x5000943f, map[int]uint64{16: 1 << 4, 56: other})},
		{name: "btrfs-tree-search", what: "read the trees of the file system (TREE_SEARCH)", try: btrfs(0xd0009411, map[int]uint64{0: 1, 16: ^uint64(0), 32: ^uint64(0)}), want: forbidden},
		{name: "btrfs-ino-lookup", what: "find the names of another instance's files (INO_LOOKUP)", try: btrfs(0xd0009412, map[int]uint64{0: other, 8: 257}), want: forbidden},
		{name: "btrfs-default", what: "change what is mounted when the pool is attached (DEFAULT_SUBVOL)", try: btrfs(0x40089413, map[int]uint64{0: other}), want: forbidden},
		{name: "btrfs-resize", what: "make the file system smaller (RESIZE)", try: btrfs(0x50009403, nil), want: forbidden},
		{name: "btrfs-add-device", what: "add a device (ADD_DEV)", try: btrfs(0x5000940a, nil), want: forbidden},
		{name: "btrfs-balance", what: "keep the disks busy (BALANCE_V2)", try: btrfs(0xc4009420, nil), want: forbidden},
		{name: "btrfs-scrub", what: "the same (SCRUB)", try: btrfs(0xc400941b, nil), want: forbidden},
		{name: "btrfs-quota", what: "switch the quotas off (QUOTA_CTL)", try: btrfs(0xc0109428, map[int]uint64{0: 2}), want: forbidden},
		{name: "btrfs-qgroup", what: "raise its own quota (QGROUP_LIMIT)", try: btrfs(0x8030942b, nil), want: forbidden},
		{name: "btrfs-send", what: "read all by a stream (SEND)", try: btrfs(0x40489426, nil), want: forbidden},
		{name: "btrfs-devices", what: "learn where the file system is (DEV_INFO)", try: btrfs(0xd000941e, map[int]uint64{0: 1}), harmless: true}, // anybody may: the name of the device and its size
		{name: "btrfs-label", what: "rename the file system (SET_FSLABEL)", try: btrfs(0x41009432, nil), want: forbidden},
	}
}

// onBtrfs moves a root filesystem into a subvolume, and makes another one beside
// it, of which it returns the id.
func onBtrfs(t *testing.T, root string) (moved, other string) {
	t.Helper()
	image := testfs.Image(t, 256<<20)
	testfs.Run(t, "mkfs.btrfs", "-q", image)
	pool := testfs.Mount(t, image, "")
	other = filepath.Join(pool, "other")
	for _, name := range []string{other, filepath.Join(pool, "c1")} {
		testfs.Run(t, "btrfs", "subvolume", "create", name)
	}
	moved = filepath.Join(pool, "c1/rootfs")
	testfs.Run(t, "cp", "-a", root, moved)
	write(t, filepath.Join(other, "file"), "of another\n", 0o600)
	return moved, other
}

// subvolumeID is the id of a subvolume.
func subvolumeID(t *testing.T, path string) string {
	t.Helper()
	out, err := exec.Command("btrfs", "inspect-internal", "rootid", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// checkOther fails when something has happened to the subvolume of another.
func checkOther(t *testing.T, other string) {
	t.Helper()
	var st unix.Statfs_t
	data, err := os.ReadFile(filepath.Join(other, "file"))
	if err := errors.Join(err, unix.Statfs(other, &st)); err != nil || string(data) != "of another\n" {
		t.Errorf("the subvolume of another: %q, %v", data, err)
	}
}
